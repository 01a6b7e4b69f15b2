"""Data: drawings (synthetic images), image folders and pet photos; transforms; the loader."""

# isort: off
# fmt: off
# ruff: noqa: F401
from minialex.data.cache import ImageCache, keep_decoded
from minialex.data.colour import ColourShift, colour_statistics
from minialex.data.compose import Compose
from minialex.data.drawings import Drawings
from minialex.data.folder import Dataset, ImageFolder, Photos, Subset, split
from minialex.data.image import PhotoError, open_rgb
from minialex.data.loader import DataLoader
from minialex.data.pets import download_pets
from minialex.data.sources import Source, open_source
from minialex.data.transforms import (
    IMAGENET_MEAN, IMAGENET_STD, CenterCrop, Normalize, RandomCrop, RandomHorizontalFlip,
    RandomResizedCrop, Resize, ToArray, Transform)
