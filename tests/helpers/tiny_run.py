"""A training run small enough for tests: twelve drawings, a sixteenth of AlexNet's width.

As a program, `python tests/helpers/tiny_run.py --out RUN` or `... --resume RUN`, it behaves like
examples/train_catdog.py with the drawings reduced to 64 x 64 pixels.
"""

import sys
from functools import partial
from pathlib import Path
from unittest import mock

from device import DEVICE
from minialex import cli
from minialex.data import Drawings, Source
from minialex.train.run import Config, RunFolder
from minialex.train.trainer import Trainer

OPTIONS = {
    "width": 1 / 16, "image_size": 67, "batch_size": 4, "epochs": 3, "workers": 2,
    "augment": "crop", "lr": 1e-3, "device": DEVICE, "log_interval": 1,
}  # fmt: skip


def source(length=12):
    sizes = ((length, 0), (4, 1000), (4, 2000))
    parts = [Drawings(n, seed=3, size=80, start=start) for n, start in sizes]
    return Source(*parts, parts[0].classes, "tiny drawings")


class Bar:
    """A progress bar that calls `after(step)` after each step."""

    def __init__(self, after, *_):
        self.after, self.steps = after, 0

    def update(self, n):
        self.steps += 1
        self.after(self.steps)

    def set_postfix(self, **values):
        pass

    def close(self):
        pass


def trainer(folder: Path, after=lambda step: None, lines=None, length=12, **options) -> Trainer:
    config = Config(**{**OPTIONS, **options})
    begun = (folder / "config.json").exists()
    run = RunFolder(folder) if begun else RunFolder.create(folder, config)
    report = (lambda line: None) if lines is None else lines.append
    return Trainer(config, source(length), run, DEVICE, report, partial(Bar, after))


def main(arguments):
    options = OPTIONS if "--out" in arguments else {}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with mock.patch.object(cli, "open_source", lambda *_, **__: source()):
        return cli.train(vars(cli.training_parser().parse_args(arguments + flags)))


if __name__ == "__main__":
    cli.run_main(lambda: main(sys.argv[1:]))
