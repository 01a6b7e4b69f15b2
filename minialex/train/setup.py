"""From the options of a run to what it trains, how, and how well: network, loaders, scores."""

from typing import Any

from minialex.attach import device_of
from minialex.data import DataLoader, Source
from minialex.errors import ConfigError
from minialex.models import AlexNet
from minialex.train import memory
from minialex.train.config import Config
from minialex.train.evaluation import images_to_test, tally
from minialex.train.preprocessing import evaluation_transform, training_transform
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
