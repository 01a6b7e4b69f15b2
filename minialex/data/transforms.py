"""Transforms -- from a photo of any size to the array that the network sees.

You call a transform as `transform(image, rng)`, and it returns what it made; `image` is a Pillow
image until `ToArray` turns it into an array.  A function of your own with these two arguments is a
transform as well, and works on whatever the step before it, or the dataset, gives.  Every random
choice comes from `rng`, a NumPy Generator, which the deterministic ones ignore.  Nothing is kept
between calls, so threads may share a transform.  Names and meaning are torchvision's, with two
differences: arrays are channels-last, (H, W, 3), and CenterCrop refuses an image that is smaller
than the crop instead of adding a black border.

`compose.py` chains transforms, and writes the chain down for a checkpoint.  To see what random
crops and mirror images are worth, run `examples/improvements/improvements.py augmentation`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image

from minialex.data.convert import MAX_BYTES
from minialex.data.image import check_floats, pixels_of, refusal
from minialex.errors import ConfigError, check, is_number, pair

# Per-channel mean and standard deviation (R, G, B, of values in [0, 1]) of the ImageNet training
# photos, as published with torchvision's pretrained models
# (docs.pytorch.org/vision/stable/models.html).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Transform = Callable[[Any, Any], Any]  # (image or array, np.random.Generator) -> image or array
Size = int | tuple[int, int]  # one number, or (height, width)
Box = tuple[int, int, int, int]  # (left, top, right, bottom), in pixels of an image

# Draws of RandomResizedCrop before it falls back on a central crop; torchvision's number.
_ATTEMPTS = 10
# Up to here we know which axis Pillow scales first, see `rows_to_cut`.
_KNOWN = tuple(map(int, PIL.__version__.split(".")[:2])) <= (13, 0)


def rows_to_cut(width: int, height: int, box: Box, size: tuple[int, int]) -> range | None:
    """Which rows of an image `scaled` cuts out before it scales the part `box` to `size`, if any.

    Between the two axes pixels are rounded to bytes, so the order shows.  Ours is: along the rows
    first, then along the columns.  Pillow's is the same, but for images a hundred times as high as
    wide; and version 13 begins with the columns where it thinks that faster.  There, and where a
    later version may have ideas of its own, we scale one axis at a time.
    """
    (_, top, _, bottom), (h, w) = box, size
    columns_first = h < height and (2 * (width - w) < height - h or height > 100 * width)
    if _KNOWN and not columns_first:
        return None
    reach = math.ceil(max(1, (bottom - top) / h))  # of the filter, beyond the part
    return range(max(0, top - reach), min(height, bottom + reach))


def scaled(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """The part `box` of an image, scaled to `size` (height, width): bilinear, with antialiasing.

    The pixels are the same in all versions of Pillow, and on a GPU (gpu/photos.py).
    """
    (left, top, right, bottom), (h, w) = box, size
    if (rows := rows_to_cut(*image.size, box, size)) is not None:
        image = image.crop((0, rows.start, image.width, rows.stop))
        part = (left, 0, right, len(rows))
        image = image.resize((w, len(rows)), Image.Resampling.BILINEAR, box=part)
        box = (0, top - rows.start, w, bottom - rows.start)
    return image.resize((w, h), Image.Resampling.BILINEAR, box=box)


class _Step:
    """What the transforms of images share: each refuses in its own name."""

    size: Size

    def __post_init__(self) -> None:
        sides = tuple(self.size) if isinstance(self.size, list | tuple) else (self.size,)
        fit = len(sides) in (1, 2) and all(type(side) is int and side > 0 for side in sides)
        self.check(fit, "size must be a positive whole number or (height, width)", self.size)
        # The only way to normalise a field: a frozen dataclass refuses assignment.
        object.__setattr__(self, "size", sides if len(sides) == 2 else sides[0])

    def check(self, holds: object, rule: str, got: object) -> None:
        """Raise ConfigError unless a rule about an argument holds."""
        check(holds, f"{type(self).__name__}: {rule}", got)

    def size_of(self, image: Any) -> tuple[int, int]:
        """(width, height) of a Pillow image; ConfigError for anything else."""
        if not isinstance(image, Image.Image):
            text = f"{type(self).__name__}: expected a Pillow image, got {type(image).__name__}"
            raise ConfigError(f"{text}; Image.fromarray makes one of an array")
        return image.size

    def room(self, image: Image.Image, padding: int = 0) -> tuple[int, int]:
        """(height, width) of a crop, which must fit the image and its border."""
        (h, w), (width, height) = pair(self.size), self.size_of(image)
        if height + 2 * padding < h or width + 2 * padding < w:
            text = f"cannot cut {w}x{h} pixels from an image of {width}x{height}"
            border = f" with a border of {padding}" if padding else ""
            text = f"{type(self).__name__}: {text}{border}; put a Resize before it"
            raise refusal(image, text)
        return h, w


@dataclass(frozen=True)
class Resize(_Step):
    """Scale: an int `size` is the new shorter side; (height, width) is the new size, of any shape.

    Bilinear; Pillow widens the filter when it shrinks (antialiasing).  The longer side rounds
    down.  Raises ConfigError for a size that is not positive, and DataError for an image so long
    and thin that it would take more than MAX_BYTES of memory.
    """

    size: Size

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> Image.Image:
        width, height = self.new_size(image)
        if (width, height) == image.size:
            return image
        # Pillow scales along the rows first, which takes another image of that width.
        need = 4 * (image.width * image.height + width * (image.height + height))
        if need > MAX_BYTES:
            raise refusal(image, f"Resize would take {need / 1e6:,.0f} MB of memory for it")
        return image.resize((width, height), Image.Resampling.BILINEAR)

    def new_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) of the scaled image."""
        width, height = self.size_of(image)
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        if width < height:
            return self.size, int(self.size * height / width)
        return int(self.size * width / height), self.size


@dataclass(frozen=True)
class CenterCrop(_Step):
    """The middle `size` pixels, an int for a square or (height, width).

    Raises ConfigError for a size that is not positive, and DataError for an image smaller than the
    crop.
    """

    size: Size

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> Image.Image:
        h, w = self.room(image)
        top, left = round((image.height - h) / 2), round((image.width - w) / 2)
        return image.crop((left, top, left + w, top + h))


@dataclass(frozen=True)
class RandomCrop(_Step):
    """A window of `size` pixels at a uniformly random position, cut anew each time.

    The network then cannot rely on where in the photo a thing stands.  A black border of `padding`
    pixels is added first.  Raises ConfigError for a size that is not positive or a negative
    padding, and DataError for an image that is, with its border, smaller than the crop.
    """

    size: Size
    padding: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = type(self.padding) is int and self.padding >= 0
        self.check(fits, "padding must be a whole number of 0 or more", self.padding)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        self.room(image, self.padding)
        # Pillow fills what lies outside the image with black: that is the border.
        return image.crop(self.draw_box(*image.size, rng))

    def draw_box(self, width: int, height: int, rng: np.random.Generator) -> Box:
        """The window in an image of width x height; it may reach into the border."""
        (h, w), pad = pair(self.size), self.padding
        top = int(rng.integers(height + 2 * pad - h + 1)) - pad
        left = int(rng.integers(width + 2 * pad - w + 1)) - pad
        return left, top, left + w, top + h


@dataclass(frozen=True)
class RandomResizedCrop(_Step):
    """A random part of the image, scaled to `size`: GoogLeNet's crop (Szegedy et al. 2014, sec. 6).

    The part covers a share of the image's area that is uniform within `scale`; the logarithm of
    its width over its height is uniform within that of `ratio`.  Crop and resize are one pass, so
    at its edges the filter also weighs in the pixels just outside the part, as if the whole image
    had been resized first.

    Raises ConfigError for a size that is not positive, or a scale or ratio that is not
    low <= high, both positive (scale at most 1).
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most, limit in (("scale", 1, " <= 1"), ("ratio", math.inf, "")):
            value = getattr(self, name)
            is_pair = isinstance(value, list | tuple) and len(value) == 2
            fits = is_pair and all(map(is_number, value)) and 0 < value[0] <= value[1] <= most
            self.check(fits, f"{name} must be (low, high) with 0 < low <= high{limit}", value)
            object.__setattr__(self, name, tuple(value))

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return scaled(image, self.draw_box(*self.size_of(image), rng), pair(self.size))

    def draw_box(self, width: int, height: int, rng: np.random.Generator) -> Box:
        """The part of an image of width x height."""
        (least, most), (low, high) = self.scale, self.ratio
        wide, wider = math.log(low), math.log(high)
        for _ in range(_ATTEMPTS):
            area = width * height * (least + (most - least) * rng.random())
            aspect = math.exp(wide + (wider - wide) * rng.random())
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                break
        else:  # the image is too long and thin: the largest central part of an allowed shape
            w = min(width, max(1, round(height * high)))
            h = min(height, max(1, round(width / low)))
            left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@dataclass(frozen=True)
class RandomHorizontalFlip(_Step):
    """Mirror left and right with probability `p`.  Raises ConfigError for p outside [0, 1]."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self.check(is_number(self.p) and self.p <= 1, "p must lie within 0 and 1", self.p)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        self.size_of(image)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.draw(rng) else image

    def draw(self, rng: np.random.Generator) -> bool:
        """Whether to mirror."""
        return bool(rng.random() < self.p)


@dataclass(frozen=True)
class ToArray:
    """An image or an array to float32 (H, W, C): torchvision's ToTensor, channels last.

    C is 3 for an RGB image and 1 for a grey one; an array keeps its shape, but (H, W) becomes
    (H, W, 1).  Bytes, those of an image and of a uint8 array, are divided by 255, so that they lie
    in 0..1; floats keep their values.  Raises ConfigError for anything else.
    """

    def __call__(self, image: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        x = pixels_of(image)
        if x.dtype == np.uint8:
            return np.divide(x, np.float32(255), dtype=np.float32)
        return x.astype(np.float32)


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std per channel; x (H, W, C) of a floating dtype, which the result keeps.

    `mean` and `std` are C numbers each, in units of x.  Raises ConfigError where they do not fit
    each other or x, or a std is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            fits = isinstance(value, Sequence) and len(value) > 0
            fits = fits and all(is_number(number, -math.inf) for number in value)
            check(fits, f"Normalize: {name} must be one number for each channel", value)
            object.__setattr__(self, name, tuple(map(float, value)))
        fits = len(self.mean) == len(self.std) and min(self.std) > 0
        check(fits, "Normalize: needs as many std as mean, all std positive", (self.mean, self.std))

    def __call__(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        check_floats("Normalize", x, len(self.mean))
        # Rows of W * C numbers, because NumPy is slow where the innermost axis is only 3 long.
        H, W, C = x.shape
        y = x.reshape(H, W * C) - np.tile(np.asarray(self.mean, x.dtype), W)
        y /= np.tile(np.asarray(self.std, x.dtype), W)
        return y.reshape(H, W, C)
