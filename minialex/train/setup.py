"""From the options of a run to what it trains, how, and how well: network, loaders, scores.

And what an image goes through on its way to the network, in training and in evaluation.
"""

import dataclasses
from typing import Any

from minialex.attach import device_of
from minialex.data import Compose, DataLoader, Dataset, Source, colour_statistics
from minialex.data import transforms as steps
from minialex.data.colour import ColourNoise, ColourShift, deviations
from minialex.data.mean_image import MeanImage, mean_image
from minialex.data.pixels import decoded_for, square_side
from minialex.errors import ConfigError
from minialex.models import AlexNet, program_2012
from minialex.train import memory
from minialex.train.config import Config
from minialex.train.evaluation import images_to_test, tally
from minialex.train.recipes import TABLES
from minialex.train.screen import Screen


def make_model(config: Config, classes: int) -> AlexNet:
    """The network, with initial weights."""
    same = "lrn", "dropout", "width", "image_size", "init", "activation", "pooling", "seed"
    return AlexNet(classes, config.variant, **{name: getattr(config, name) for name in same})


def make_loaders(config: Config, source: Source, model: AlexNet
) -> tuple[DataLoader, DataLoader, DataLoader]:  # fmt: skip
    """Batches of training, validation and test images; the latter are ten crops each on request."""
    side, N = model.image_size, config.batch_size
    middle = evaluation_transform(side, config)
    how: Any = {"seed": config.seed, "workers": config.workers}
    train = DataLoader(source.train, N, training_transform(side, config), shuffle=True,
        same_crop=config.same_crop, **how)  # fmt: skip
    test = images_to_test(source.test, N, middle, config.ten_crop, **how)
    return train, DataLoader(source.val, N, middle, **how), test


def fit_options(config: Config) -> dict[str, Any]:
    """What the options tell `fit`."""
    same = ("epochs", "device", "warm_up", "label_smoothing", "memory_limit",
            "patience", "plain", "algorithm", "log_interval", "keep_last", "cache")  # fmt: skip
    how = {name: getattr(config, name) for name in same}
    schedule = TABLES.get(config.schedule, config.schedule)
    return {**how, "schedule": schedule, "plateau": config.plateau_patience}


def final_scores(config: Config, model: Any, loader: DataLoader,
                 screen: Screen | None = None) -> dict[str, float]:  # fmt: skip
    """ "test_loss" and "test_acc" over the test images; if asked for, "ten_crop_loss" and
    "ten_crop_acc" as well.

    As many images are evaluated at a time as the memory limit allows.
    """
    N, shape = config.batch_size, model.input_shape
    if config.memory_limit:
        outside = memory.outside_bytes(model, shape, N, device_of(model))
        try:
            N = memory.largest_chunk(model, shape, N, config.memory_limit, outside=outside)
        except ConfigError:  # it was enough for training, which needs no dx of the images
            N = 1
    loader.batch_size = max(1, N // 10) if config.ten_crop else N
    scores: dict[str, float] = {}
    found = tally(model, loader, None, screen, "test", config.ten_crop)
    for name, one in zip(("test", "ten_crop"), found, strict=False):
        scores |= {f"{name}_loss": one.loss, f"{name}_acc": one.accuracy}
    return scores


# --------------------------------------------------------------------------------- preprocessing


def measure_colours(config: Config, dataset: Dataset, side: int) -> Config:
    """`config` with the colours of a training set, where it needs them and has none yet.

    They go into config.json, so that a resumed run adds the very same colours again.
    """
    needed = config.colour_shift > 0 or config.normalize != "imagenet"
    if not needed or config.colours is not None:
        return config
    to_pixels = Compose((*square(side, config), steps.ToArray()))
    photos = decoded_for(dataset, to_pixels)
    colours = colour_statistics(photos, to_pixels, config.seed)
    if config.normalize == "mean-image":
        middle = Compose((*square(side, config), steps.CenterCrop(side), steps.ToArray()))
        colours["image"] = mean_image(photos, middle, config.seed)
    return dataclasses.replace(config, colours=colours)


def evaluation_transform(side: int, config: Config) -> Compose:
    """The middle of the photo: the paper's 256 pixels for the shorter side when `side` is 227.

    `config.augment` "crop" first takes the paper's middle square, because the paper's ten crops lie
    in its corners.
    """
    before = square(side, config) if config.augment == "crop" else square(side, config)[:1]
    return Compose((*before, steps.CenterCrop(side), steps.ToArray(), _normalize(config)))


def training_transform(side: int, config: Config) -> Compose:
    """What a training photo goes through.

    augment "none": as in evaluation.  "crop": the paper's random crops and mirror images.  "full":
    crops of config.crop_scale to all of the photo's area, scaled, and mirror images (Szegedy et
    al. 2014, section 6).
    """
    if config.augment == "none":
        crops: tuple[Any, ...] = (*square(side, config)[:1], steps.CenterCrop(side))
    elif config.augment == "crop":
        crops = (*square(side, config), steps.RandomCrop(side), steps.RandomHorizontalFlip())
    else:
        area = (config.crop_scale, 1.0)
        crops = (steps.RandomResizedCrop(side, scale=area), steps.RandomHorizontalFlip())
    std, last = config.colour_shift, _normalize(config)
    if not std:
        return Compose((*crops, steps.ToArray(), last))
    colours = _measured(config, "components")
    if config.colour_form == "program":
        return Compose((*crops, steps.ToArray(), last, ColourNoise(deviations(colours), std)))
    return Compose((*crops, steps.ToArray(), ColourShift(colours, std), last))


def square(side: int, config: Config | None = None) -> tuple[steps.Resize, steps.CenterCrop]:
    """Steps that scale a photo's shorter side to `square_side(side)` and cut the middle square.

    The programs of 2012 and 2014 have 256 pixels for 224, and so 33 x 33 places for a crop; so do
    their variants where `config.augment` is "crop".
    """
    variant = config.variant if config and config.augment == "crop" else None
    of_program = variant in program_2012.VARIANTS
    size = round(side * 256 / 224) if of_program else square_side(side)
    return steps.Resize(size), steps.CenterCrop(size)


def _normalize(config: Config) -> Any:
    if config.normalize == "imagenet":
        return steps.Normalize(steps.IMAGENET_MEAN, steps.IMAGENET_STD)
    if config.normalize == "mean-image":
        return MeanImage(_measured(config, "image"))
    # The paper's: pixels in 0..255, less their mean.
    return steps.Normalize(_measured(config, "mean"), (1 / 255,) * 3)


def _measured(config: Config, name: str) -> Any:
    if config.colours is None or name not in config.colours:
        raise ConfigError(f"the settings lack colours.{name}; start a new run")
    return config.colours[name]
