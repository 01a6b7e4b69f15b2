"""Compose -- a pipeline of transforms, and how a checkpoint writes it down.

A network only works with the preprocessing that it was trained with, so a checkpoint carries its
own.  Every transform is a dataclass; therefore a pipeline is a list of names and arguments, which
JSON can hold.
"""

import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from minialex.data import transforms as steps
from minialex.data.colour import ColourNoise, ColourShift
from minialex.data.mean_image import MeanImage
from minialex.data.transforms import CenterCrop, Resize, Transform
from minialex.errors import ConfigError, check, choose, pair, short
from minialex.files import reason

CROPS = (Resize, CenterCrop, steps.RandomCrop, steps.RandomResizedCrop, steps.RandomHorizontalFlip)
_OTHERS = (steps.ToArray, ColourShift, ColourNoise, steps.Normalize, MeanImage)
_BY_NAME: dict[str, type] = {step.__name__: step for step in (*CROPS, *_OTHERS)}


@dataclass(frozen=True)
class Compose:
    """The transforms one after the other.

    Raises ConfigError for a member that cannot be called as member(image, rng).
    """

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        is_list = isinstance(self.transforms, Sequence)
        check(is_list, "Compose: expected a list of transforms", self.transforms)
        for transform in self.transforms:
            _check_transform(transform)
        object.__setattr__(self, "transforms", tuple(self.transforms))

    def __call__(self, image: Any, rng: np.random.Generator | None = None, shared: Any = None
    ) -> Any:  # fmt: skip
        """What comes out of the last step; crops and mirror images draw from `shared`, if given."""
        for step, after in itertools.zip_longest(self.transforms, self.transforms[1:]):
            if isinstance(step, Resize) and isinstance(after, CenterCrop):
                image = _resize_middle(image, step, after)
            else:
                image = step(image, shared if shared and isinstance(step, CROPS) else rng)
        return image

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"

    def to_config(self) -> list[dict[str, Any]]:
        """The pipeline as JSON-ready data: [{"name": "Resize", "size": 256}, ...].

        Raises ConfigError where a member is not one of the transforms of minialex.data.
        """
        config = []
        for transform in self.transforms:
            if type(transform) not in _BY_NAME.values():
                text = f"Compose: cannot write down {transform!r}"
                raise ConfigError(f"{text}; use the transforms of minialex.data")
            plain = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(transform).items()}
            config.append({"name": type(transform).__name__, **plain})
        return config

    @classmethod
    def from_config(cls, config: list[dict[str, Any]]) -> "Compose":
        """The pipeline that `to_config` wrote.

        Raises ConfigError for an unknown name or argument.
        """
        check(isinstance(config, list), "preprocessing: expected a list of transforms", config)
        return cls(tuple(_from_entry(entry) for entry in config))


def _resize_middle(image: Image.Image, resize: Resize, crop: CenterCrop) -> Image.Image:
    """What `resize` makes of `image`, or of one that is long and thin the part that `crop` leaves.

    The pixels of that part are the same but for their rounding; the rest would take gigabytes.
    """
    (h, w), (width, height) = pair(crop.size), resize.new_size(image)
    if width * height < 16 * w * h or width < w or height < h:
        return resize(image)
    x, y = image.width / width, image.height / height
    left, top = round((width - w) / 2) * x, round((height - h) / 2) * y
    box = (left, top, min(left + w * x, image.width), min(top + h * y, image.height))
    return image.resize((w, h), Image.Resampling.BILINEAR, box=box)


def _check_transform(transform: Any) -> None:
    try:
        inspect.signature(transform).bind(None, None)
    except TypeError:
        text = f"a transform is called as transform(image, rng), and {short(transform)} cannot be"
        fix = "for a function f of the image alone lambda image, rng: f(image)"
        raise ConfigError(f"{text}; for a list write Compose([...]), {fix}") from None
    except ValueError:  # something built in, which does not tell
        return


def _from_entry(entry: dict[str, Any]) -> Transform:
    try:
        given: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
        return choose("transform", given.pop("name", None), _BY_NAME)(**given)
    except (AttributeError, TypeError) as error:
        text = f"preprocessing: {short(entry)} makes no transform of minialex.data"
        raise ConfigError(f"{text}: {reason(error)}") from None
