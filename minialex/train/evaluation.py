"""How good is a network?  Its loss and accuracy over a dataset, by one crop per image or by ten."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from minialex.attach import device_of
from minialex.data import DataLoader, Transform
from minialex.data.folder import Samples
from minialex.data.pixels import decoded_for
from minialex.data.ten_crops import MIDDLE_CROP, ten_crops
from minialex.layers import Layer
from minialex.losses import check, check_labels, log_softmax
from minialex.params import family
from minialex.train.prefetch import device_batches
from minialex.train.screen import Silent
from minialex.xp import Array, to_cpu


class Tally:
    """What a network answered so far, over C classes.

    losses   the sum of the losses of the images
    counts   int64 (C, C): how often it gave the answer of a column to an image of a row's class
    """

    def __init__(self, classes: int):
        self.losses, self.counts = 0.0, np.zeros((classes, classes), dtype=np.int64)

    def add(self, log_p: np.ndarray, labels: np.ndarray) -> None:
        """Count N images with the logarithms of their probabilities, (N, C), and labels, (N,)."""
        self.losses -= float(log_p[np.arange(len(labels)), labels].sum())
        np.add.at(self.counts, (labels, log_p.argmax(axis=1)), 1)

    @property
    def loss(self) -> float:
        """The mean loss of an image."""
        return self.losses / int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return int(self.counts.trace()) / int(self.counts.sum())


@contextlib.contextmanager
def evaluating(model: Layer, training: bool = False) -> Iterator[None]:
    """`model` in evaluation mode; afterwards each layer is in the mode that it was found in.

    With `training`, it is in training mode instead.
    """
    found = [(layer, layer.training) for layer in family(model)]
    model.train(training)
    try:
        yield
    finally:
        model.train(found[0][1])  # a layer of the user's own may do more than to set the flag
        for layer, mode in found:
            layer.training = mode


@contextlib.contextmanager
def watching(model: Layer, note: Callable[[str, Layer, Array, Array], None]) -> Iterator[None]:
    """While `model` runs, also on several threads: note(name, leaf, x, y) of each leaf's forward.

    A leaf that works in place has overwritten its x by then.
    """

    def forward(name: str, leaf: Layer, x: Array, **how: bool) -> tuple[Array, Any]:
        y, cache = type(leaf).forward(leaf, x, **how)
        note(name, leaf, x, y)
        return y, cache

    leaves = list(model.leaves())
    try:
        for name, leaf in leaves:
            vars(leaf)["forward"] = functools.partial(forward, name, leaf)
        yield
    finally:
        for _, leaf in leaves:
            vars(leaf).pop("forward", None)


def images_to_test(dataset: Samples, batch_size: int, transform: Transform, ten_crop: bool,
                   **options: Any) -> DataLoader:  # fmt: skip
    """Batches of a dataset's images, or of the ten crops of each, (N, 10, H, W, 3)."""

    def crops(image: Any, rng: Any) -> np.ndarray:
        return np.stack(ten_crops(image, transform))

    # Of `crops`, no loader knows how large it needs a photo.
    dataset = decoded_for(dataset, transform)
    return DataLoader(dataset, batch_size, crops if ten_crop else transform, **options)


def log_probabilities(model: Layer, loader: DataLoader, device: str, ten_crops: bool = False,
    start: int = 0) -> Generator[tuple[list[np.ndarray], np.ndarray]]:  # fmt: skip
    """What `model` answers to the batches of `loader`, from number `start` on, in evaluation mode.

    Of each the logarithms of the probabilities, float64 (N, C), and the labels, int64 (N,).  With
    `ten_crops`, samples are the ten crops of an image, (N, 10, H, W, 3), and there are two results:
    of the middle crop alone, and of the mean of the ten probabilities (section 4.1 of the paper).
    """
    batches = device_batches(loader, device, 0, start)
    with evaluating(model), contextlib.closing(batches):
        for x, on_device in batches:
            crops = x.reshape(-1, *x.shape[2:]) if ten_crops else x
            logits, labels = model(crops), to_cpu(on_device)
            check(logits, on_device.repeat(10 if ten_crops else 1), label_smoothing=0)
            check_labels(labels, logits.shape[1])
            answers = [to_cpu(log_softmax(logits)).astype(np.float64)]
            if ten_crops:
                log_p = answers[0].reshape(len(x), 10, -1)
                answers = [log_p[:, MIDDLE_CROP], np.log(np.exp(log_p).mean(axis=1))]
            yield answers, labels


def tally(model: Layer, loader: DataLoader, device: str | None = None, screen: Any = None,
          name: str = "validation", ten_crops: bool = False) -> list[Tally]:  # fmt: skip
    """How good the answers of `log_probabilities` are over epoch 0 of `loader`: one or two results.

    `device` None is where the model is; `screen` shows a bar called `name`.
    """
    tallies: list[Tally] = []
    batches = log_probabilities(model, loader, device or device_of(model), ten_crops)
    with (contextlib.closing(batches),
          (screen or Silent()).bar(name, len(loader.dataset)) as bar):  # fmt: skip
        for answers, labels in batches:
            tallies = tallies or [Tally(answer.shape[1]) for answer in answers]
            for one, answer in zip(tallies, answers, strict=True):
                one.add(answer, labels)
            last = tallies[-1]
            bar.update(len(labels), loss=f"{last.loss:.4f}", acc=f"{last.accuracy:.1%}")
    return tallies


def evaluate(model: Layer, loader: DataLoader, device: str | None = None, screen: Any = None,
             name: str = "validation") -> tuple[float, float]:  # fmt: skip
    """Mean loss and accuracy of `model`, in evaluation mode, over epoch 0 of `loader`.

    The model is back in the mode it was found in when this returns or raises.  `device` None is
    where the model is; on a `screen`, if there is one, a bar called `name` shows how far it is.
    """
    (found,) = tally(model, loader, device, screen, name)
    return found.loss, found.accuracy
