"""The transforms of images by one name, `mx.transforms`; see minialex/data/transforms.py."""

from minialex.data.colour import ColourShift
from minialex.data.compose import Compose

# isort: off
from minialex.data.transforms import (
    IMAGENET_MEAN, IMAGENET_STD, CenterCrop, Normalize, RandomCrop, RandomHorizontalFlip,
    RandomResizedCrop, Resize, ToArray)  # fmt: skip

__all__ = [
    "IMAGENET_MEAN", "IMAGENET_STD", "CenterCrop", "ColourShift", "Compose", "Normalize",
    "RandomCrop", "RandomHorizontalFlip", "RandomResizedCrop", "Resize", "ToArray"]  # fmt: skip
