"""What an image goes through on its way to the network, in training and in evaluation."""

import dataclasses
from typing import Any

from minialex.data import Compose, Dataset, colour_statistics
from minialex.data import transforms as steps
from minialex.data.colour import ColourShift
from minialex.data.pixels import decoded_for, square_side
from minialex.errors import ConfigError
from minialex.train.config import Config


def measure_colours(config: Config, dataset: Dataset, side: int) -> Config:
    """`config` with the colours of a training set, where it needs them and has none yet.

    They go into config.json, so that a resumed run adds the very same colours again.
    """
    needed = config.colour_shift > 0 or config.normalize == "mean"
    if not needed or config.colours is not None:
        return config
    to_pixels = Compose((*square(side), steps.ToArray()))
    photos = decoded_for(dataset, to_pixels)
    return dataclasses.replace(config, colours=colour_statistics(photos, to_pixels, config.seed))


def evaluation_transform(side: int, config: Config) -> Compose:
    """The middle of the photo: the paper's 256 pixels for the shorter side when `side` is 227.

    `config.augment` "crop" first takes the paper's middle square, because the paper's ten crops lie
    in its corners.
    """
    before = square(side) if config.augment == "crop" else square(side)[:1]
    return Compose((*before, steps.CenterCrop(side), steps.ToArray(), _normalize(config)))


def training_transform(side: int, config: Config) -> Compose:
    """What a training photo goes through.

    augment "none": as in evaluation.  "crop": the paper's random crops and mirror images.  "full":
    crops of config.crop_scale to all of the photo's area, scaled, and mirror images (Szegedy et
    al. 2014, section 6).
    """
    if config.augment == "none":
        crops: tuple[Any, ...] = (*square(side)[:1], steps.CenterCrop(side))
    elif config.augment == "crop":
        crops = (*square(side), steps.RandomCrop(side), steps.RandomHorizontalFlip())
    else:
        area = (config.crop_scale, 1.0)
        crops = (steps.RandomResizedCrop(side, scale=area), steps.RandomHorizontalFlip())
    std = config.colour_shift
    shift = [ColourShift(_measured(config, "components"), std)] if std else []
    return Compose((*crops, steps.ToArray(), *shift, _normalize(config)))


def square(side: int) -> tuple[steps.Resize, steps.CenterCrop]:
    """Steps that scale a photo's shorter side to `square_side(side)` and cut the middle square."""
    return steps.Resize(square_side(side)), steps.CenterCrop(square_side(side))


def _normalize(config: Config) -> steps.Normalize:
    if config.normalize == "imagenet":
        return steps.Normalize(steps.IMAGENET_MEAN, steps.IMAGENET_STD)
    # The paper's: pixels in 0..255, less their mean.
    return steps.Normalize(_measured(config, "mean"), (1 / 255,) * 3)


def _measured(config: Config, name: str) -> Any:
    if config.colours is None or name not in config.colours:
        raise ConfigError(f"the settings lack colours.{name}; start a new run")
    return config.colours[name]
