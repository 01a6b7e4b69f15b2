"""Data: drawings (synthetic images), image folders and pet photos; transforms; the loader."""

# isort: off
# fmt: off
# ruff: noqa: F401
from minialex.data.cache import ImageCache, keep_decoded
from minialex.data.colour import ColourShift, colour_statistics
from minialex.data.compose import Compose
from minialex.data.drawings import Drawings
from minialex.data.folder import (
    Dataset, ImageFolder, Photos, Samples, Subset, class_names, split)
from minialex.data.image import MAX_PIXELS, PhotoError, open_rgb
from minialex.data.loader import Batch, DataLoader
from minialex.data.pets import download_pets
from minialex.data.sources import Source, open_source
from minialex.data.transforms import (
    IMAGENET_MEAN, IMAGENET_STD, CenterCrop, Normalize, RandomCrop, RandomHorizontalFlip,
    RandomResizedCrop, Resize, ToArray, Transform)
