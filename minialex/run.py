"""A run: the settings of a training, and the folder that keeps all that comes out of it.

What the folder holds:

    config.json         the settings, as given
    history.csv         a line per epoch: epoch, train_loss, train_acc, val_loss, val_acc, images_per_s
    last.safetensors    everything needed to go on, to the bit
    best.safetensors    the weights of the epoch with the best validation accuracy, in PyTorch's form
    result.json         at the end: test_loss, test_acc, seconds, images_per_s, val_acc, best_epoch
    curves.png          the history as a picture, where matplotlib is installed
"""

import csv
import dataclasses
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minialex.checkpoint import write_text
from minialex.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToArray,
)  # fmt: skip
from minialex.errors import CheckpointError, ConfigError

AUGMENTATIONS = ("none", "crop", "full")
COLUMNS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "images_per_s")


@dataclass(frozen=True)
class Config:
    """The settings of a training run; `None` means a default that depends on the other settings.

    Raises ConfigError for values that cannot work.
    """

    data: str = "drawings"
    device: str = "auto"
    variant: str = "ungrouped"
    lrn: bool | None = None
    width: float = 1.0
    image_size: int | None = None
    batch_size: int = 32
    epochs: int | None = None  # 2 for the drawings, 20 for photos
    lr: float | None = None  # 1e-4 with adam and adamw (2e-4 for the drawings), 0.01 with sgd
    optimizer: str = "adam"
    schedule: str = "cosine"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    augment: str | None = None  # none for the drawings, which never repeat a pose; full for photos
    seed: int = 0
    workers: int = 2
    log_interval: int = 20
    limit: int | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        drawings = self.data == "drawings"
        defaults = {
            "epochs": 2 if drawings else 20,
            "lr": 0.01 if self.optimizer == "sgd" else 2e-4 if drawings else 1e-4,
            "augment": "none" if drawings else "full",
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("batch_size", "epochs", "log_interval", "image_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"--{name.replace('_', '-')} must be a number of 0 or more, got {getattr(self, name)}"
                )
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"--label-smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.augment not in AUGMENTATIONS:
            raise ConfigError(f"unknown augmentation '{self.augment}'; choose {', '.join(AUGMENTATIONS)}")


def evaluation_transform(side: int) -> Compose:
    """The middle of the photo: the paper's 256 pixels for the shorter side when `side` is 227."""
    return Compose((Resize(round(side * 256 / 227)), CenterCrop(side), *_to_numbers()))


def training_transform(side: int, augment: str) -> Compose:
    """What a training photo goes through.

    "none": as in evaluation.  "crop": the paper's random crops and mirror images.  "full": crops of 35 % to
    100 % of the photo's area, scaled, and mirror images (Szegedy et al. 2015, section 6).
    """
    if augment == "none":
        return evaluation_transform(side)
    if augment == "crop":
        crops: tuple[Any, ...] = (Resize(round(side * 256 / 227)), RandomCrop(side))
    else:
        crops = (RandomResizedCrop(side, scale=(0.35, 1.0)),)
    return Compose((*crops, RandomHorizontalFlip(), *_to_numbers()))


def _to_numbers() -> tuple[Any, ...]:
    return ToArray(), Normalize(IMAGENET_MEAN, IMAGENET_STD)


def check_types(settings: Any) -> None:
    """Raise TypeError unless `settings`, from a JSON file, is a dictionary whose values have `Config`'s types."""
    if not isinstance(settings, dict):
        raise TypeError("it is no dictionary")
    types = {field.name: field.type for field in dataclasses.fields(Config)}
    for name, value in settings.items():
        kind: Any = types.get(name, object)
        if not isinstance(value, kind) and not (type(value) is int and isinstance(0.0, kind)):
            raise TypeError(f"{name} is {value!r}")


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
    def create(cls, path: Path | None, config: Config) -> "RunFolder":
        """A new folder at `path`, or at the first free runs/<data>-<variant>-<number>.

        Raises ConfigError where there is a run already, or the folder cannot be made.
        """
        path = path or free_path(config)
        run = cls(path)
        if (path / "config.json").exists():
            raise ConfigError(
                f"{str(path)!r} holds a run already; continue it with --resume {path}, or choose another --out"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the run folder {str(path)!r}: {error.strerror}") from None
        write_text(path / "config.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", Config]:
        """The folder of an earlier run and its settings.  Raises CheckpointError where there is none."""
        file = path / "config.json"
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
            check_types(settings)
            return cls(path), Config(**settings)
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(f"{str(path)!r} holds no run: it has no config.json") from None
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{str(file)!r} is damaged ({error}); start a new run") from None

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write history.csv anew: `rows` have the keys COLUMNS."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "history.csv", text.getvalue())

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json."""
        write_text(self.result_file, json.dumps(result, indent=2) + "\n")
