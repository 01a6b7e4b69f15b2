"""From the options of a run to what it trains, how, and how well: network, loaders, scores."""

from typing import Any

import numpy as np
from PIL import Image

from minialex.data import DataLoader, Source
from minialex.data.pixels import decoded_for
from minialex.data.ten_crops import ten_crops
from minialex.models import AlexNet
from minialex.train.config import Config
from minialex.train.evaluation import evaluate, evaluate_ten_crops
from minialex.train.memory import largest_chunk
from minialex.train.preprocessing import evaluation_transform, training_transform
from minialex.train.screen import Screen


def make_model(config: Config, classes: int) -> AlexNet:
    """The network, with initial weights."""
    return AlexNet(
        classes, config.variant, lrn=config.lrn, dropout=config.dropout, width=config.width,
        image_size=config.image_size, init=config.init, activation=config.activation,
        pooling=config.pooling, seed=config.seed,
    )  # fmt: skip


def make_loaders(
    config: Config, source: Source, model: AlexNet
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Batches of training, validation and test images; the latter are ten crops each on request."""
    side = model.image_size
    middle = evaluation_transform(side, config)

    def load(dataset: Any, transform: Any, batch: int, shuffle: bool = False) -> DataLoader:
        return DataLoader(
            dataset, batch, transform, shuffle=shuffle, seed=config.seed, workers=config.workers
        )

    def all_crops(image: Image.Image, rng: Any) -> np.ndarray:
        return np.stack(ten_crops(image, middle))

    N = config.batch_size
    test = decoded_for(source.test, middle)  # of `all_crops` no loader knows what it needs
    train = load(source.train, training_transform(side, config), N, shuffle=True)
    return (
        train,
        load(source.val, middle, N),
        load(test, all_crops if config.ten_crop else middle, N),
    )


def fit_options(config: Config) -> dict[str, Any]:
    """What the options tell `fit`."""
    return {
        "epochs": config.epochs, "device": config.device, "schedule": config.schedule,
        "warm_up": config.warm_up, "label_smoothing": config.label_smoothing,
        "memory_limit": config.memory_limit, "patience": config.patience,
        "plateau": config.plateau_patience, "plain": config.plain, "algorithm": config.algorithm,
        "log_interval": config.log_interval, "keep_last": config.keep_last, "cache": config.cache,
    }  # fmt: skip


def final_scores(
    config: Config, model: Any, loader: DataLoader, screen: Screen | None = None
) -> dict[str, float]:
    """ "test_loss" and "test_acc" over the test images; of ten crops as well, if asked for.

    As many images are evaluated at a time as the memory limit allows.
    """
    N = largest_chunk(model, model.input_shape, config.batch_size, config.memory_limit)
    loader.batch_size = max(1, N // 10) if config.ten_crop else N
    if config.ten_crop:
        return evaluate_ten_crops(model, loader, screen=screen)
    loss, accuracy = evaluate(model, loader, screen=screen, name="test")
    return {"test_loss": loss, "test_acc": accuracy}
