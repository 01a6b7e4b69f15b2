"""From the options of a run to what it trains, how, and how well: network, loaders, scores.

And what an image goes through on its way to the network, in training and in evaluation.
"""

import dataclasses
from typing import Any

from minialex.attach import device_of
from minialex.data import Compose, DataLoader, Dataset, Source, colour_statistics
from minialex.data import transforms as steps
from minialex.data.colour import ColourShift
from minialex.data.pixels import decoded_for, square_side
from minialex.errors import ConfigError
from minialex.models import AlexNet
from minialex.train import memory
from minialex.train.config import Config
from minialex.train.evaluation import images_to_test, tally
from minialex.train.screen import Screen


def make_model(config: Config, classes: int) -> AlexNet:
    """The network, with initial weights."""
    return AlexNet(classes, config.variant, lrn=config.lrn, dropout=config.dropout,
        width=config.width, image_size=config.image_size, init=config.init,
        activation=config.activation, pooling=config.pooling, seed=config.seed)  # fmt: skip


def make_loaders(config: Config, source: Source, model: AlexNet
) -> tuple[DataLoader, DataLoader, DataLoader]:  # fmt: skip
    """Batches of training, validation and test images; the latter are ten crops each on request."""
    side, N = model.image_size, config.batch_size
    middle = evaluation_transform(side, config)
    how: Any = {"seed": config.seed, "workers": config.workers}
    train = DataLoader(source.train, N, training_transform(side, config), shuffle=True, **how)
    test = images_to_test(source.test, N, middle, config.ten_crop, **how)
    return train, DataLoader(source.val, N, middle, **how), test


def fit_options(config: Config) -> dict[str, Any]:
    """What the options tell `fit`."""
    same = ("epochs", "device", "schedule", "warm_up", "label_smoothing", "memory_limit",
            "patience", "plain", "algorithm", "log_interval", "keep_last", "cache")  # fmt: skip
    return {"plateau": config.plateau_patience, **{name: getattr(config, name) for name in same}}


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
