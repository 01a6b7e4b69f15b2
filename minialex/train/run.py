"""The folder of a training run: all that comes out of it.

What the folder holds:

    config.json         the options, as given; or what `fit` was told in a program of your own
    history.csv         a line per epoch: epoch, train_loss, train_acc, val_loss, val_acc,
                        images_per_s
    last.safetensors    everything needed to resume the run, bit for bit; gone at the end, unless
                        it is to be kept
    best.safetensors    the weights of the epoch with the best validation accuracy, in PyTorch's
                        form
    result.json         at the end: test_loss, test_acc, seconds, images_per_s, val_acc, best_epoch;
                        with ten_crop also ten_crop_loss, ten_crop_acc
    curves.png          the history as a picture, where matplotlib is installed
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from minialex.errors import CheckpointError, ConfigError
from minialex.train.checkpoint import write_text
from minialex.train.config import Config, from_settings

COLUMNS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "images_per_s")


def free_path(config: Config) -> Path:
    """The first runs/<data>-<variant>-<number> that does not exist."""
    name = f"{Path(config.data).name or 'photos'}-{config.variant}"
    numbers = (n for n in range(1, 10**6) if not Path(f"runs/{name}-{n}").exists())
    return Path(f"runs/{name}-{next(numbers)}")


class RunFolder:
    """The folder of a run, and what is written to it (each file whole or not at all)."""

    def __init__(self, path: Path):
        self.path = path
        self.best, self.last = path / "best.safetensors", path / "last.safetensors"
        self.result_file = path / "result.json"

    @classmethod
    def create(cls, path: Path, settings: dict[str, Any]) -> "RunFolder":
        """A new folder, with its config.json.

        Raises ConfigError where there is a run already, or the folder cannot be made.
        """
        run = cls(path)
        run.check_new()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the run folder {str(path)!r}: {error.strerror}"
            ) from None
        run.write_settings(settings)
        return run

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", Config]:
        """The folder of an earlier run of the command `train`, and its options.

        Raises CheckpointError where there is none.
        """
        run = cls(path)
        settings = run.settings()
        if isinstance(settings, dict) and "fit" in settings:
            raise CheckpointError(
                f"{str(path)!r} was made by a program of your own; run your program again to"
                " resume it"
            )
        try:
            return run, from_settings(settings)
        except TypeError as error:
            raise run.damaged(error) from None

    def check_new(self) -> None:
        """Raise ConfigError where the folder holds a run."""
        if (self.path / "config.json").exists():
            raise ConfigError(
                f"{str(self.path)!r} holds a run already;"
                f" continue it with --resume {self.path}, or choose another --out"
            )

    def settings(self) -> Any:
        """What config.json holds.  Raises CheckpointError where there is none."""
        try:
            return json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(
                f"{str(self.path)!r} holds no run: it has no config.json"
            ) from None
        except (OSError, ValueError) as error:
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> CheckpointError:
        """What to raise where config.json does not hold what it should."""
        file = str(self.path / "config.json")
        return CheckpointError(f"{file!r} is damaged ({error}); start a new run")

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Write config.json."""
        write_text(self.path / "config.json", json.dumps(settings, indent=2) + "\n")

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write history.csv anew: `rows` have the keys COLUMNS, or lack those of validation."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "history.csv", text.getvalue())

    def read_history(self) -> list[dict[str, float]]:
        """The rows of history.csv; without validation, they lack the keys of it.

        Raises CheckpointError where there are none, or they cannot be read.
        """
        try:
            with open(self.path / "history.csv", encoding="utf-8", newline="") as file:
                rows = [
                    {name: float(row[name]) for name in COLUMNS if row[name] != ""}
                    for row in csv.DictReader(file)
                ]
        except (OSError, UnicodeError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise CheckpointError(
                f"{str(self.path)!r} has no history.csv that can be read ({error})"
            ) from None
        if not rows:
            raise CheckpointError(f"{str(self.path)!r} has not finished an epoch yet")
        return rows

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json."""
        write_text(self.result_file, json.dumps(result, indent=2) + "\n")
