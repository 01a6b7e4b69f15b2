"""A run: the settings of a training run, and the folder that keeps all that comes out of it.

What the folder holds:

    config.json         the settings, as given
    history.csv         a line per epoch: epoch, train_loss, train_acc, val_loss, val_acc,
                        images_per_s
    last.safetensors    everything needed to resume the run, bit for bit
    best.safetensors    the weights of the epoch with the best validation accuracy, in PyTorch's
                        form
    result.json         at the end: test_loss, test_acc, seconds, images_per_s, val_acc, best_epoch;
                        with ten_crop also ten_crop_loss, ten_crop_acc
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

from minialex.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    ColourShift,
    Compose,
    Dataset,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToArray,
    colour_statistics,
)  # fmt: skip
from minialex.errors import CheckpointError, ConfigError
from minialex.train.checkpoint import write_text
from minialex.train.recipes import RECIPES, recipe_for

AUGMENTATIONS = ("none", "crop", "full")
COLUMNS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "images_per_s")


@dataclass(frozen=True)
class Config:
    """The settings of a training run; `configure` fills in what a recipe says.

    Raises ConfigError for values that cannot work.
    """

    data: str = "drawings"
    recipe: str = "drawings"
    device: str = "auto"
    variant: str = "ungrouped"
    lrn: bool | None = None  # None: the variant's
    width: float = 1.0
    image_size: int | None = None  # None: the variant's
    dropout: float = 0.5
    init: str = "he"
    activation: str = "relu"
    pooling: str = "max"
    batch_size: int = 32
    epochs: int = 2
    optimizer: str = "adam"
    lr: float = 2e-4
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warm_up: int = 100  # steps; at most a tenth of all
    patience: int = 5  # epochs without a new best that end a plateau
    label_smoothing: float = 0.0
    augment: str = "none"
    crop_scale: float = 0.35  # the smallest part of a photo's area that augment "full" crops
    colour_shift: float = 0.0
    normalize: str = "imagenet"
    colours: dict | None = None  # of the training photos, where colour_shift or normalize need them
    ten_crop: bool = False
    seed: int = 0
    workers: int = 2
    log_interval: int = 20
    limit: int | None = None
    cache: bool = True
    memory_limit: int | None = None  # bytes of a training step; not for plain pages
    threads: int | None = None  # cores to use; None: all
    tf32: bool = False
    algorithm: str = "auto"
    plain: bool = False  # pages alone, without their twins

    def __post_init__(self) -> None:
        for name in (
            "batch_size", "epochs", "patience", "log_interval", "image_size", "memory_limit",
            "threads",
        ):  # fmt: skip
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{_flag(name)} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "weight_decay", "colour_shift"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{_flag(name)} must be a number of 0 or more, got {getattr(self, name)}"
                )
        for name in ("seed", "workers", "warm_up"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{_flag(name)} must not be negative, got {getattr(self, name)}")
        for name in ("label_smoothing", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{_flag(name)} must be in [0, 1), got {getattr(self, name)}")
        if not 0 < self.width <= 4:
            raise ConfigError(f"--width must be above 0 and at most 4, got {self.width}")
        if not 0 < self.crop_scale <= 1:
            raise ConfigError(f"--crop-scale must be above 0 and at most 1, got {self.crop_scale}")
        if self.augment not in AUGMENTATIONS:
            raise ConfigError(
                f"unknown augmentation '{self.augment}'; choose {', '.join(AUGMENTATIONS)}"
            )
        if self.normalize not in ("imagenet", "mean"):
            raise ConfigError(f"unknown --normalize '{self.normalize}'; choose imagenet or mean")
        if self.plain and self.memory_limit is not None:
            raise ConfigError("--plain pages keep to no --memory-limit; leave one of them out")

    @property
    def needs_colours(self) -> bool:
        """Whether the colours of the training photos have to be measured."""
        return self.colour_shift > 0 or self.normalize == "mean"


def configure(options: dict[str, Any]) -> Config:
    """The settings from `options`, and from their recipe what they leave open.

    Raises ConfigError for an unknown recipe, and for values that cannot work.
    """
    name = options.get("recipe") or recipe_for(options.get("data", "drawings"))
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe '{name}'; choose {', '.join(RECIPES)}")
    settings = {**RECIPES[name], **options, "recipe": name}
    sgd = settings["optimizer"] == "sgd"
    if "lr" not in options and sgd != (RECIPES[name]["optimizer"] == "sgd"):
        settings["lr"] = 0.01 if sgd else 1e-4  # a recipe's rate only suits its own optimizer
    return Config(**settings)


def measure_colours(config: Config, dataset: Dataset, side: int) -> Config:
    """`config` with the colours of a training set, where it needs them and has none yet.

    They go into config.json, so that a resumed run adds the very same colours again.
    """
    if not config.needs_colours or config.colours is not None:
        return config
    to_pixels = Compose((*square(side), ToArray()))
    return dataclasses.replace(config, colours=colour_statistics(dataset, to_pixels, config.seed))


def evaluation_transform(side: int, config: Config) -> Compose:
    """The middle of the photo: the paper's 256 pixels for the shorter side when `side` is 227.

    `config.augment` "crop" first takes the paper's middle square, because the paper's ten crops lie
    in its corners.
    """
    before = square(side) if config.augment == "crop" else square(side)[:1]
    return Compose((*before, CenterCrop(side), ToArray(), _normalize(config)))


def training_transform(side: int, config: Config) -> Compose:
    """What a training photo goes through.

    augment "none": as in evaluation.  "crop": the paper's random crops and mirror images.  "full":
    crops of config.crop_scale to all of the photo's area, scaled, and mirror images (Szegedy et
    al. 2014, section 6).
    """
    crops: tuple[Any, ...]
    if config.augment == "none":
        crops = (*square(side)[:1], CenterCrop(side))
    elif config.augment == "crop":
        crops = (*square(side), RandomCrop(side), RandomHorizontalFlip())
    else:
        crops = (RandomResizedCrop(side, scale=(config.crop_scale, 1.0)), RandomHorizontalFlip())
    shift: tuple[Any, ...] = ()
    if config.colour_shift:
        shift = (ColourShift(_measured(config, "components"), config.colour_shift),)
    return Compose((*crops, ToArray(), *shift, _normalize(config)))


def square_side(side: int) -> int:
    """The paper's 256 pixels, in proportion to the `side` of the network's images."""
    return round(side * 256 / 227)


def square(side: int) -> tuple[Resize, CenterCrop]:
    """Steps that scale a photo's shorter side to `square_side(side)` and cut the middle square."""
    return Resize(square_side(side)), CenterCrop(square_side(side))


def _normalize(config: Config) -> Normalize:
    if config.normalize == "imagenet":
        return Normalize(IMAGENET_MEAN, IMAGENET_STD)
    # The paper's: pixels in 0..255, less their mean.
    return Normalize(_measured(config, "mean"), (1 / 255,) * 3)


def _measured(config: Config, name: str) -> Any:
    if config.colours is None or name not in config.colours:
        raise ConfigError(f"the settings lack colours.{name}; start a new run")
    return config.colours[name]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_types(settings: Any) -> None:
    """Raise TypeError unless `settings`, from a JSON file, is a dict with the types of `Config`."""
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
                f"{str(path)!r} holds a run already;"
                f" continue it with --resume {path}, or choose another --out"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the run folder {str(path)!r}: {error.strerror}"
            ) from None
        write_text(path / "config.json", json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", Config]:
        """The folder of an earlier run and its settings.

        Raises CheckpointError where there is none.
        """
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

    def read_history(self) -> list[dict[str, float]]:
        """The rows of history.csv.

        Raises CheckpointError where there are none, or they cannot be read.
        """
        try:
            with open(self.path / "history.csv", encoding="utf-8", newline="") as file:
                rows = [
                    {name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(file)
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
