"""A training run small enough for tests: twelve drawings, a sixteenth of AlexNet's width.

As a program, `python tests/helpers/tiny_run.py --out RUN` or `... --resume RUN`, it behaves like
`minialex train` with the drawings reduced to 64 x 64 pixels.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from unittest import mock

from device import DEVICE
from minialex.commands import train as command
from minialex.commands.main import run_main
from minialex.data import Drawings, Source
from minialex.train.config import Config
from minialex.train.loop import Training
from minialex.train.recipes import make_optimizer
from minialex.train.screen import Bar, Silent
from minialex.train.setup import fit_options, make_loaders, make_model, measure_colours
from minialex.xp import to_cpu

OPTIONS = {
    "width": 1 / 16, "image_size": 67, "batch_size": 4, "epochs": 3, "workers": 2,
    "augment": "crop", "lr": 1e-3, "device": DEVICE, "log_interval": 1,
}  # fmt: skip


class Pictures(list):
    """Drawings that a process draws only once."""

    classes = ("cat", "dog")


@functools.cache
def source(length=12):
    sizes = ((length, 0), (4, 1000), (4, 2000))
    parts = [Pictures(Drawings(n, seed=3, size=80, start=start)) for n, start in sizes]
    return Source(*parts, list(Pictures.classes), "tiny drawings")


class Watch(Silent):
    """A screen that calls `after(step)` after each step of an epoch, and keeps the lines."""

    def __init__(self, after=lambda step: None, lines=None):
        self.after, self.lines = after, [] if lines is None else lines

    def line(self, text):
        self.lines.append(text)

    def bar(self, name, images, done=0):
        return Steps(self.after if name.startswith("epoch") else lambda step: None)


class Steps(Bar):
    def __init__(self, after):
        self.after, self.steps = after, 0

    def update(self, n, **values):
        self.steps += 1
        self.after(self.steps)


def training(folder: Path, after=lambda step: None, lines=None, length=12, **options) -> Training:
    """What `minialex train` makes of these options, begun or resumed in `folder`."""
    config, data = Config(**{**OPTIONS, **options}), source(length)
    model = make_model(config, len(data.classes))
    numbers = config.lr, config.weight_decay, config.freeze, config.bias_rate, config.bias_decay
    optimizer = make_optimizer(config.optimizer, model, *numbers)
    config = measure_colours(config, data.train, model.image_size)
    loader, val, _ = make_loaders(config, data, model)
    return Training(
        model, loader, optimizer, val=val, run=folder, screen=Watch(after, lines),
        settings=dataclasses.asdict(config), **fit_options(config),
    )  # fmt: skip


def watched(run):
    """A list to which each step of `run` appends (x, labels, loss); losses are read after each."""
    steps, real = [], run.step

    def step(x, labels):
        x, labels = x.copy(), labels.copy()
        real(x, labels)
        rows = zip(to_cpu(run.meter.log)[:, 0].tolist(), run.meter.images, strict=False)
        loss = sum(loss * n for loss, n in rows) / len(x)
        steps.append((to_cpu(x), to_cpu(labels), loss))

    run.step = step
    return steps


def last_weights(run):
    """Train `run` to its end; the weights of the last epoch, which need not be the best."""
    found, last = [], run.saved.last
    run.saved.last = lambda: (found.append(to_cpu(run.optimizer.theta).copy()), last())
    run.train()
    return found[-1]


def main(arguments):
    options = OPTIONS if "--out" in arguments else {}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    flags += ["--keep-last"] if "--out" in arguments else []
    with mock.patch.object(command, "open_images", lambda *_: (source(), None)):
        return command.main(command.parser().parse_args(flags + arguments))


def program(arguments):
    run_main(lambda: main(arguments))


if __name__ == "__main__":
    program(sys.argv[1:])
