"""The folder of a training run: all that comes out of it.

What the folder holds:

    config.json         the options, as given; or what fit was told in a program of your own
    photos.json         the photos, file by file, see photos.py
    history.csv         a line per epoch: epoch, train_loss, train_acc, val_loss, val_acc,
                        images_per_s
    last.safetensors    everything needed to resume the run, bit for bit; gone at the end, unless
                        it is to be kept
    last-1.safetensors  the one before it, for the day when last is damaged
    best.safetensors    the weights of the epoch with the best validation accuracy, in PyTorch's
                        form
    result.json         at the end: test_loss, test_acc, seconds, images_per_s, val_acc, best_epoch;
                        with ten_crop also ten_crop_loss, ten_crop_acc
    curves.svg          at the end: the history as a picture
"""

import csv
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from minialex.errors import CheckpointError, ConfigError
from minialex.files import csv_text, read_json, read_text, reason, write_json, write_text
from minialex.train.config import Config, from_settings
from minialex.train.ranks import HERE

COLUMNS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "images_per_s")
NAMES = {"config": "config.json", "history": "history.csv", "last": "last.safetensors",
         "before": "last-1.safetensors", "best": "best.safetensors", "result": "result.json",
         "curves": "curves.svg", "photos": "photos.json"}  # fmt: skip


def free_paths(config: Config) -> Iterator[Path]:
    """Those of runs/<data>-<variant>-<number> that do not exist."""
    name = f"runs/{Path(config.data).name[:80] or 'photos'}-{config.variant}"
    return itertools.filterfalse(os.path.lexists, (Path(f"{name}-{n}") for n in itertools.count(1)))


class RunFolder:
    """The folder of a run, and what is written to it (each file whole or not at all).

    Where it is `new`, and another program makes it first, the next of `others` is taken.  Raises
    ConfigError for a path that names no folder of its own.
    """

    def __init__(self, path: str | Path, new: bool = False, others: Iterable[Path] = ()):
        if not str(path).strip() or Path(path).absolute() == Path(path).absolute().parent:
            raise ConfigError(f"{str(path)!r} cannot be the folder of a run; name another one")
        self.path, self.new, self.others = Path(path), new, iter(others)

    def __getattr__(self, name: str) -> Path:
        """The paths of the files of NAMES, such as `folder.best`."""
        if name not in NAMES:
            raise AttributeError(f"a RunFolder has no {name!r}")
        return self.path / NAMES[name]

    def __reduce__(self) -> Any:
        """What another process needs to know of it."""
        return RunFolder, (self.path, self.new)

    def claim(self) -> None:
        """Make the folder, or take one that is there and has none of our files.

        Raises ConfigError where it has, or cannot be made.
        """
        while True:
            try:
                return self.path.mkdir(parents=True)
            except OSError as error:
                line = f"cannot make the run folder {str(self.path)!r}: {reason(error)}"
                if not self.path.is_dir():  # else another program may have made it just now
                    raise ConfigError(line) from None
                if not (other := next(self.others, None)):
                    return self.check_new()
                self.path = other

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", Config]:
        """The folder of an earlier run of the command `train`, and its options.

        Raises CheckpointError where there is none.
        """
        run = cls(path)
        settings = run.settings()
        if isinstance(settings, dict) and "fit" in settings:
            raise CheckpointError(f"{str(path)!r} is of a program of your own: run that again")
        try:
            return run, from_settings(settings)
        except TypeError as error:
            raise CheckpointError(f"{str(run.config)!r} is damaged ({error}); start anew") from None

    def check_new(self) -> None:
        """Raise ConfigError where the folder holds a run, or other files of our names."""
        if self.config.exists():
            line = f"holds a run already; continue it with --resume {self.path}"
            raise ConfigError(f"{str(self.path)!r} {line}, or choose another --out")
        if there := [name for name in NAMES.values() if os.path.lexists(self.path / name)]:
            raise ConfigError(f"{str(self.path)!r} holds a {there[0]}, which a run would overwrite")

    def settings(self) -> Any:
        """What config.json holds.  Raises CheckpointError where there is none."""
        try:
            return read_json(self.config)
        except FileNotFoundError:
            raise CheckpointError(f"{str(self.path)!r} holds no run: no config.json") from None

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write history.csv anew: `rows` have the keys COLUMNS, or lack those of validation."""
        lines = [[row.get(name, "") for name in COLUMNS] for row in rows]
        write_text(self.history, csv_text([COLUMNS, *lines]))

    def read_history(self) -> list[dict[str, float]]:
        """The rows of history.csv; without validation, they lack the keys of it.

        Raises CheckpointError where there are none, or they cannot be read.
        """
        try:
            found = csv.DictReader(io.StringIO(read_text(self.history)))
            rows = [{name: float(row[name]) for name in COLUMNS if row[name]} for row in found]
            rows = [{**row, "epoch": int(row["epoch"])} for row in rows]
        except (OSError, ValueError, OverflowError, KeyError, TypeError, csv.Error) as error:
            raise CheckpointError(f"{str(self.history)!r}: {reason(error)}") from None
        if not rows:
            raise CheckpointError(f"{str(self.path)!r} has not finished an epoch yet")
        return rows

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json; of several ranks, the first does."""
        if HERE.index == 0:
            write_json(self.result, result)
