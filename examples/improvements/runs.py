"""One training run of an experiment: a small AlexNet, images held in memory, and a curve of errors.

What is measured here is the training loop of `minialex/train/loop.py` itself.  `Measurement`
only keeps no checkpoints, and evaluates the training images a second time, without dropout and
without augmentation.  It has to, because the error of the running epoch could not be compared with
the test error: the network makes it with half of its units dropped, on images that were shifted.

A small network spends its time in Python, which two threads cannot share.  So the runs of an
experiment go on side by side, each a process with one thread.  No result depends on how many run at
once: a run depends on its settings and its seed alone.
"""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from claims import ARMS, SHARED
from minialex.data import Compose, DataLoader, Drawings, Source, open_source
from minialex.data.folder import Dataset
from minialex.data.sources import DRAWN
from minialex.fast.threads import limit_threads, warm_up_products
from minialex.models.alexnet import VARIANTS
from minialex.train.config import Config
from minialex.train.evaluation import evaluate
from minialex.train.loop import Training
from minialex.train.progress import TrainingError
from minialex.train.recipes import make_optimizer
from minialex.train.saving import Saved
from minialex.train.screen import Bar, Silent
from minialex.train.setup import (
    fit_options,
    make_loaders,
    make_model,
    measure_colours,
    square,
    square_side,
)
from plan import CHECKED, Design, Plan, Speed

_stop: Path | None = None  # in a process of the pool: a file that ends its run once it is there


@dataclass(frozen=True)
class Pixels:
    """A dataset in memory: uint8 (N, S, S, 3), labels (N,)."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels[index]), int(self.labels[index])


def side_of(design: Design) -> int:
    """The side of the network's images, in pixels."""
    return design.side or VARIANTS[SHARED["variant"]][-1]


def prepare(data: str, seed: int, design: Design, file: Path) -> tuple[int, int, str]:
    """Read the images of a seed, make them small, and write them to `file`.

    Returns how many there are to train on and to be tested on, and a line that says what they are.
    Drawings are drawn at the size that is needed; photos are reduced to their middle square.  Each
    seed has training images of its own, and drawings of its own to be tested on.  Photos have one
    set of test photos, or a seeded part of it where it has more than `design.images`.
    """
    crop = Compose(square(side_of(design)))
    if data == "drawings":
        size, tests = square_side(side_of(design)), design.test_images
        parts: list[Dataset] = [
            Drawings(n, seed, size, at) for n, at in ((design.images, 0), (tests, DRAWN["test"][1]))
        ]
        text = (
            f"drawings, {size} x {size} pixels, per seed: {design.images:,} for training,"
            f" {tests:,} for testing"
        )
    else:
        source = open_source(data, seed=seed, limit=design.images, progress=None)
        parts = [source.train, source.test]
        text = (
            f"photos in {data!r}: {len(source.train):,} for training per seed,"
            f" {len(source.test):,} for testing"
        )
    arrays = {}
    for name, part in zip(("train", "test"), parts, strict=True):
        images = (part[i] for i in range(len(part)))
        samples = [(np.asarray(crop(image)), label) for image, label in images]
        arrays[name] = np.stack([pixels for pixels, _ in samples])
        arrays[f"{name}_labels"] = np.array([label for _, label in samples])
    save_file(arrays, file)
    return len(parts[0]), len(parts[1]), text


def load(file: Path, images: int, test_images: int) -> Source:
    """The images that `prepare` wrote, at most `images` and `test_images` of them.

    Each class keeps its proportion.
    """
    arrays = load_file(file)
    classes = [f"class {label}" for label in range(int(arrays["train_labels"].max()) + 1)]
    train, test = (Pixels(arrays[n], arrays[f"{n}_labels"], classes) for n in ("train", "test"))
    train, test = first(train, images), first(test, test_images)
    return Source(train, test, test, classes, "")


def first(dataset: Any, count: int) -> Pixels:
    """The first `count` of `Pixels`, in an order in which the classes take turns."""
    chosen = mixed(dataset.labels)[:count]
    return Pixels(dataset.pixels[chosen], dataset.labels[chosen], dataset.classes)


def mixed(labels: np.ndarray) -> np.ndarray:
    """An order in which the classes take turns, so that its first n are as balanced as all."""
    turn = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members)) / len(members)
    return np.argsort(turn, kind="stable")


def config_of(arm: str, seed: int, design: Design, epochs: int) -> Config:
    """The settings of a run."""
    settings = {**SHARED, **ARMS[arm], "width": design.width, "image_size": side_of(design)}
    return Config(**settings, epochs=epochs, seed=seed, cache=False)


class Clock(Silent, Bar):
    """A screen and its bar in one, which shows nothing, and looks at the clock after each step."""

    run: Training

    def __init__(self, deadline: float):
        self.deadline = deadline

    def bar(self, name: str, images: int, done: int = 0) -> Bar:
        """Itself."""
        return self

    def update(self, n: int, **values: str) -> None:
        """Give up where time is over."""
        over = time.time() > self.deadline or (_stop is not None and _stop.exists())
        self.run.stop.asked = self.run.stop.asked or over


class Unsaved(Saved):
    """Keeps nothing: no checkpoints, and not the best weights either."""

    def best(self, to_disk: bool = True) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


class Measurement(Training):
    """A training run that keeps nothing but its curve: errors and losses at epochs 0, 1, 2 ...

    `deadline` is when it gives up, on time.time(), with KeyboardInterrupt.
    """

    def __init__(self, config: Config, source: Source, deadline: float):
        clock, model = Clock(deadline), make_model(config, len(source.classes))
        config = measure_colours(config, source.train, model.image_size)
        loader, val, _ = make_loaders(config, source, model)
        optimizer = make_optimizer(config.optimizer, model, config.lr, config.weight_decay)
        options = {**fit_options(config), "device": "cpu"}
        super().__init__(model, loader, optimizer, val=val, screen=clock, **options)
        clock.run, self.saved = self, Unsaved(self)
        self.check_loader = DataLoader(
            first(source.train, CHECKED), config.batch_size, val.transform
        )
        self.curve: list[dict[str, float]] = []

    def train(self) -> list[dict[str, float]]:
        assert self.val is not None
        self.add_point(*evaluate(self.model, self.val))
        return super().train()

    def end_epoch(self) -> None:
        super().end_epoch()
        self.add_point(self.history[-1]["val_loss"], self.history[-1]["val_acc"])

    def add_point(self, test_loss: float, test_acc: float) -> None:
        """Add the test error as given, and the training error as measured now, to the curve."""
        loss, acc = evaluate(self.model, self.check_loader)
        point = {"train_error": 1 - acc, "test_error": 1 - test_acc}
        self.curve.append(point | {"train_loss": loss, "test_loss": test_loss})


def train(
    arm: str, seed: int, file: Path, design: Design, plan: Plan, deadline: float
) -> dict[str, Any]:
    """Train an arm with a seed: {"arm", "seed", "steps_per_epoch", "curve", "seconds"}.

    "failed", one line, stands in for the last two where time was over or the loss became infinite.
    """
    began = time.perf_counter()
    source = load(file, plan.images, plan.test_images)
    run = Measurement(config_of(arm, seed, design, plan.epochs), source, deadline)
    result: dict[str, Any] = {"arm": arm, "seed": seed, "steps_per_epoch": len(run.loader)}
    try:
        run.train()
    except KeyboardInterrupt:
        reason = f"stopped in epoch {run.progress.epoch + 1} of {plan.epochs}, out of time"
        return result | {"failed": reason}
    except TrainingError as error:
        return result | {"failed": str(error)}
    return result | {"curve": run.curve, "seconds": time.perf_counter() - began}


def measure_speed(arm: str, file: Path, design: Design, seconds: float) -> Speed:
    """What an image costs in an arm, in training and in evaluation.

    Training is measured for about `seconds`, evaluation for a quarter of that.
    """
    source = load(file, 4 * SHARED["batch_size"], SHARED["batch_size"])
    run = Measurement(config_of(arm, 0, design, 10**6), source, 1e18)

    def steps() -> Iterator[int]:
        for epoch in range(10**6):
            for x, labels in run.loader.epoch(epoch):
                run.step(x, labels)
                run.meter.read_back(run.progress)
                yield len(x)

    def looks() -> Iterator[int]:
        while True:
            evaluate(run.model, run.check_loader)
            yield len(run.check_loader.dataset)

    return Speed(_seconds_each(steps(), seconds), _seconds_each(looks(), seconds / 4))


def _seconds_each(work: Iterator[int], seconds: float) -> float:
    """Seconds per image of endless `work`, which yields how many images it has done each time."""
    next(work)  # the first time is slower: memory is touched, buffers are made
    began, images = time.perf_counter(), next(work)
    while time.perf_counter() - began < seconds:
        images += next(work)
    return (time.perf_counter() - began) / images


def begin_process(threads: int, stop: Path) -> None:
    """What each process of the pool does first: take its share of the cores, and ignore Ctrl-C.

    The parent handles Ctrl-C for all of them.  If it is killed, each of them ends, and removes the
    folder with the images, in which `stop` would be.
    """
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, args=(stop.parent,), daemon=True).start()
    if threads:
        limit_threads(threads)
    warm_up_products()


def end_with_parent(folder: Path) -> None:
    """Wait until the parent process is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
