"""Transforms -- from a photo of any size to the array that the network sees.

A transform is called as `transform(image, rng)` and returns what it made; `image` is an RGB Pillow image
until `ToArray` turns it into an array.  Nothing is kept between calls, so threads may share a transform;
every random choice comes from `rng`, a NumPy Generator, which the deterministic ones ignore.  Names and
meaning are torchvision's, with two differences: arrays are channels-last, (H, W, 3), and CenterCrop refuses
an image that is smaller than the crop instead of adding a black border.

Each transform is a dataclass, so that `Compose.to_config` can write a pipeline down as JSON and
`Compose.from_config` can build it again: a checkpoint carries its own preprocessing.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from minialex.data.colour import ColourShift
from minialex.errors import ConfigError, DataError

# Per-channel mean and standard deviation (R, G, B, of values in [0, 1]) of the ImageNet training photos, as
# published with torchvision's pretrained models (docs.pytorch.org/vision/stable/models.html).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Transform = Callable[[Any, Any], Any]  # (image or array, np.random.Generator) -> image or array
Size = int | tuple[int, int]  # one number, or (height, width)

_ATTEMPTS = 10  # draws of RandomResizedCrop before it falls back on a central crop; torchvision's number


@dataclass(frozen=True)
class Resize:
    """Scale: an int `size` is the new shorter side, (height, width) is the new size whatever the shape was.

    Bilinear; Pillow widens the filter when it shrinks (antialiasing).  The longer side rounds down.
    Raises ConfigError for a size that is not positive.
    """

    size: Size

    def __post_init__(self) -> None:
        _set(self, "size", _size("Resize", self.size))

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> Image.Image:
        width, height = image.size
        if isinstance(self.size, tuple):
            new = (self.size[1], self.size[0])
        elif width < height:
            new = (self.size, int(self.size * height / width))
        else:
            new = (int(self.size * width / height), self.size)
        return image if new == image.size else image.resize(new, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class CenterCrop:
    """The middle `size` pixels, an int for a square or (height, width).

    Raises ConfigError for a size that is not positive, and DataError for an image smaller than the crop.
    """

    size: Size

    def __post_init__(self) -> None:
        _set(self, "size", _size("CenterCrop", self.size))

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> Image.Image:
        h, w = _room("CenterCrop", self.size, image)
        top, left = round((image.height - h) / 2), round((image.width - w) / 2)
        return image.crop((left, top, left + w, top + h))


@dataclass(frozen=True)
class RandomCrop:
    """A window of `size` pixels at a uniformly random place, after a black border of `padding` pixels.

    Raises ConfigError for a size that is not positive or a negative padding, and DataError for an image that
    is, with its border, smaller than the crop.
    """

    size: Size
    padding: int = 0

    def __post_init__(self) -> None:
        _set(self, "size", _size("RandomCrop", self.size))
        if type(self.padding) is not int or self.padding < 0:
            raise ConfigError(f"RandomCrop: padding must be a whole number of 0 or more, got {self.padding!r}")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        pad = self.padding
        h, w = _room("RandomCrop", self.size, image, pad)
        top = int(rng.integers(image.height + 2 * pad - h + 1)) - pad
        left = int(rng.integers(image.width + 2 * pad - w + 1)) - pad
        return image.crop((left, top, left + w, top + h))  # Pillow fills what lies outside with black


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the image, scaled to `size`: the crop of GoogLeNet (Szegedy et al. 2014, section 6).

    The part covers a uniform share `scale` of the image's area; the logarithm of its width over its height is
    uniform within `ratio`.  Crop and resize are one pass, so at its edges the filter also weighs in the
    pixels just outside the part, as if the whole image had been resized first.

    Raises ConfigError for a size that is not positive, or a scale or ratio that is not low <= high, both
    positive (scale at most 1).
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        _set(self, "size", _size("RandomResizedCrop", self.size))
        _set(self, "scale", _range("RandomResizedCrop", "scale", self.scale, 1.0))
        _set(self, "ratio", _range("RandomResizedCrop", "ratio", self.ratio, math.inf))

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        h, w = _pair(self.size)
        box = self.draw_box(image.width, image.height, rng)
        return image.resize((w, h), Image.Resampling.BILINEAR, box=box)

    def draw_box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the part, in pixels of an image of width x height."""
        low, high = self.ratio
        for _ in range(_ATTEMPTS):
            area = width * height * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        # The image is too long and thin: the largest central part of an allowed shape.
        w = min(width, max(1, round(height * high)))
        h = min(height, max(1, round(width / low)))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror left and right with probability `p`.  Raises ConfigError for p outside [0, 1]."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not _is_number(self.p) or not 0 <= self.p <= 1:
            raise ConfigError(f"RandomHorizontalFlip: p must lie within 0 and 1, got {self.p!r}")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < self.p else image


@dataclass(frozen=True)
class ToArray:
    """An RGB image (H, W) to a float32 array (H, W, 3) in [0, 1]: torchvision's ToTensor, channels last.

    Raises ConfigError for anything but an RGB image.
    """

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> np.ndarray:
        if not isinstance(image, Image.Image) or image.mode != "RGB":
            found = f"mode {image.mode}" if isinstance(image, Image.Image) else type(image).__name__
            raise ConfigError(f"ToArray: expected an RGB Pillow image, got {found}")
        return np.divide(np.asarray(image), np.float32(255), dtype=np.float32)


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std per channel; x (H, W, C) of a floating dtype, which the result keeps.

    `mean` and `std` are C numbers each, in units of x.  Raises ConfigError where they do not fit each other
    or x, or a std is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if not isinstance(value, Sequence) or not value or not all(_is_number(v) for v in value):
                raise ConfigError(f"Normalize: {name} must be one number for each channel, got {value!r}")
            _set(self, name, tuple(float(v) for v in value))
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ConfigError(
                f"Normalize: needs as many std as mean, all std positive, got {self.mean} and {self.std}"
            )

    def __call__(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        if not isinstance(x, np.ndarray) or x.ndim != 3 or x.shape[2] != len(self.mean) or x.dtype.kind != "f":
            found = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise ConfigError(f"Normalize: expected a float array (H, W, {len(self.mean)}), got {found}")
        # One row of W * C numbers at a time: NumPy is slow where the innermost axis is only 3 long.
        H, W, C = x.shape
        y = x.reshape(H, W * C) - np.tile(np.asarray(self.mean, x.dtype), W)
        y /= np.tile(np.asarray(self.std, x.dtype), W)
        return y.reshape(H, W, C)


@dataclass(frozen=True)
class Compose:
    """The transforms one after the other.  Raises ConfigError for a member that cannot be called."""

    transforms: tuple[Transform, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.transforms, Sequence) or not all(callable(t) for t in self.transforms):
            raise ConfigError(f"Compose: expected a list of transforms, got {self.transforms!r}")
        _set(self, "transforms", tuple(self.transforms))

    def __call__(self, image: Any, rng: np.random.Generator | None = None) -> Any:
        for transform in self.transforms:
            image = transform(image, rng)
        return image

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"

    def to_config(self) -> list[dict[str, Any]]:
        """The pipeline as JSON-ready data: [{"name": "Resize", "size": 256}, ...].

        Raises ConfigError where a member is not one of the transforms of this page.
        """
        config = []
        for transform in self.transforms:
            if type(transform) not in _BY_NAME.values():
                raise ConfigError(f"Compose: cannot write down {transform!r}; use the transforms of minialex.data")
            plain = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(transform).items()}
            config.append({"name": type(transform).__name__, **plain})
        return config

    @classmethod
    def from_config(cls, config: list[dict[str, Any]]) -> "Compose":
        """The pipeline that `to_config` wrote.  Raises ConfigError for an unknown name or argument."""
        if not isinstance(config, list) or not all(isinstance(entry, dict) for entry in config):
            raise ConfigError(f"preprocessing: expected a list of transforms, got {_short(config)}")
        return cls(tuple(_from_entry(entry) for entry in config))


_CROPS = (Resize, CenterCrop, RandomCrop, RandomResizedCrop, RandomHorizontalFlip)
_BY_NAME: dict[str, type] = {cls.__name__: cls for cls in (*_CROPS, ToArray, ColourShift, Normalize)}


def _from_entry(entry: dict[str, Any]) -> Transform:
    name = entry.get("name")
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigError(f"preprocessing: unknown transform {_short(name)}; known are {', '.join(_BY_NAME)}")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k != "name"}
    known = dataclasses.fields(kind)
    unknown = sorted(map(str, given.keys() - {f.name for f in known}))
    missing = [f.name for f in known if f.default is dataclasses.MISSING and f.name not in given]
    if unknown or missing:
        what = f"unknown argument {_short(unknown[0])}" if unknown else f"argument '{missing[0]}' is missing"
        raise ConfigError(f"preprocessing: {name}: {what}")
    return kind(**given)


# ------------------------------------------------------------------------------------- checks of arguments


def _set(transform: Any, name: str, value: Any) -> None:
    object.__setattr__(transform, name, value)  # the one way to normalise a field of a frozen dataclass


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _size(owner: str, size: Any) -> Size:
    sides = tuple(size) if isinstance(size, list | tuple) else (size,)
    if len(sides) > 2 or not sides or any(type(side) is not int or side <= 0 for side in sides):
        raise ConfigError(f"{owner}: size must be a positive whole number or (height, width), got {_short(size)}")
    return sides if len(sides) == 2 else sides[0]


def _range(owner: str, name: str, value: Any, most: float) -> tuple[float, float]:
    if isinstance(value, list | tuple) and len(value) == 2 and all(_is_number(v) for v in value):
        low, high = value
        if 0 < low <= high <= most:
            return low, high
    limit = "" if most == math.inf else f" <= {most:g}"
    raise ConfigError(f"{owner}: {name} must be (low, high) with 0 < low <= high{limit}, got {_short(value)}")


def _pair(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _room(owner: str, size: Size, image: Image.Image, padding: int = 0) -> tuple[int, int]:
    """(height, width) of the crop, which must fit the image and its border."""
    h, w = _pair(size)
    if image.height + 2 * padding < h or image.width + 2 * padding < w:
        border = f" with a border of {padding}" if padding else ""
        raise DataError(
            f"{owner}: cannot cut {w}x{h} pixels from an image of {image.width}x{image.height}{border};"
            " put a Resize before it"
        )
    return h, w
