"""Config -- the options of a training run.  Each is defined here, and nowhere else.

A field says all that there is to know of its option: default, type, group, help, what it may be.
The checks below, the command line with its --help (`commands/train.py`) and the page
docs/options.md (`docs/options_page.py`) are made from that.  A new option is one more field.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from minialex.data.drawings import Drawings
from minialex.errors import ConfigError, choose
from minialex.fast.conv import ALGORITHMS
from minialex.models.alexnet import ACTIVATIONS, POOLINGS, VARIANTS
from minialex.train.memory import parse_bytes
from minialex.train.recipes import OPTIMIZERS, RECIPES, recipe_for

AUGMENTATIONS = ("none", "crop", "full")
INITS = ("he", "glorot", "paper", "program")
SCHEDULES = ("constant", "step", "cosine", "plateau", "program")
FREE = ("machine", "run")  # groups of options that make no run another one
GROUPS = ("data", "network", "training", "augmentation", *FREE)

Limits = tuple[str, Callable[[Any], bool]]  # "--lr must be <words>", and whether a value is that
ONE_OR_MORE: Limits = ("at least 1", lambda value: value >= 1)
TWO_OR_MORE: Limits = ("at least 2", lambda value: value >= 2)
ZERO_OR_MORE: Limits = ("0 or more", lambda value: value >= 0)
FINITE: Limits = ("a number of 0 or more", lambda value: 0 <= value < math.inf)
SHARE: Limits = ("in [0, 1)", lambda value: 0 <= value < 1)


def up_to(most: int) -> Limits:
    """Above 0 and at most `most`."""
    return f"above 0 and at most {most}", lambda value: 0 < value <= most


def option(
    default: Any, group: str, text: str, limits: Limits | None = None, *,
    choices: Iterable[str] = (), shown: str = "", metavar: str | None = None,
    parse: Callable[[str], Any] | None = None, may_change: bool = False,
) -> Any:  # fmt: skip
    """A field of Config.

    text, group    what --help says, and where
    limits         what a number must be
    choices        what a text may be
    shown          how --help calls a default that does not speak for itself, such as None
    metavar        how --help calls the value, by default after its type
    parse          makes the value of a text, by default its type
    may_change     whether a run that is resumed may have another value, as all of the groups
                   "machine" and "run" may.  It may move to another device, be watched more closely
                   or go on for longer; another learning rate, say, would make it another run.
    """
    about = dict(group=group, text=text, limits=limits, choices=tuple(choices), shown=shown,
        metavar=metavar, parse=parse, may_change=may_change or group in FREE)  # fmt: skip
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Config:
    """The options of a training run; `configure` fills in what a recipe says.

    Raises ConfigError for values that cannot work.
    """

    # fmt: off
    data: str = option("drawings", "data",
        "drawings; pets, photos that are downloaded once (about 800 MB); or a folder with"
        " train/<class>/ and test/<class>/, perhaps val/<class>/, or with <class>/ alone",
        shown="data/ where that has train/ and test/, else drawings")
    limit: int | None = option(None, "data",
        "the most images to use of each folder, before parts are split off; of drawings, of each"
        " part", TWO_OR_MORE, shown="all")
    skip_damaged: bool = option(False, "data", "go on without photos that cannot be read",
        may_change=True)
    workers: int = option(2, "data", "threads that load images", ZERO_OR_MORE, may_change=True)
    cache: bool = option(True, "data", "keep decoded images on GPU or disk while the run lasts",
        may_change=True)
    variant: str = option("ungrouped", "network", "which AlexNet", choices=VARIANTS)
    lrn: bool | None = option(None, "network", "local response normalization",
        shown="yes with 2012, 2012-program and owt2014, else no")
    width: float = option(1.0, "network", "scales the number of filters and hidden units", up_to(4))
    image_size: int | None = option(None, "network", "side of the images in pixels", ONE_OR_MORE,
        metavar="PIXELS", shown="227; 224 with owt, owt2014 and 2012-program")
    dropout: float = option(0.5, "network", "share of the hidden units that is dropped in training",
        SHARE)
    init: str = option("he", "network",
        "initial weights: he; glorot, for tanh and sigmoid; paper; or program, see program_2012.py",
        choices=INITS)
    activation: str = option("relu", "network", "the nonlinearity", choices=ACTIVATIONS)
    pooling: str = option("max", "network",
        "max or average, of windows of 3 x 3; or max2, of 2 x 2", choices=POOLINGS)
    weights: str | None = option(None, "network",
        "begin with the weights of a run, whose network is then the default; or in a .safetensors"
        " or .pth file, of the same network. The last layer may have other classes. torchvision:"
        " those of its AlexNet, trained on ImageNet, which are downloaded once (244 MB)",
        shown="drawn by --init", metavar="FILE")
    freeze: str | None = option(None, "network",
        "parameters that keep the values they begin with: names, where * stands for anything, with"
        " commas between, such as 'features.*'", shown="none", metavar="NAMES")
    recipe: str = option("drawings", "training",
        "settings that belong together, defaults of other options",
        choices=RECIPES, shown="drawings for drawings, modern for photos")
    epochs: int = option(2, "training", "passes over the training images", ONE_OR_MORE,
        may_change=True)
    patience: int | None = option(None, "training",
        "end the run after so many epochs without a new best validation accuracy", ONE_OR_MORE,
        shown="never", metavar="EPOCHS", may_change=True)
    batch_size: int = option(32, "training", "images per step", ONE_OR_MORE, metavar="IMAGES")
    optimizer: str = option("adam", "training", "how steps are made", choices=OPTIMIZERS)
    lr: float = option(2e-4, "training", "learning rate", FINITE)
    weight_decay: float = option(0.0, "training", "how strongly weights are drawn to 0", FINITE)
    bias_rate: float = option(1.0, "training", "the biases' rate, in parts of --lr", FINITE)
    bias_decay: bool = option(True, "training", "let --weight-decay act on the biases as well")
    schedule: str = option("cosine", "training", "how the learning rate changes", choices=SCHEDULES)
    warm_up: int = option(100, "training", "steps of rising learning rate, at most a tenth of all",
        ZERO_OR_MORE, metavar="STEPS")
    plateau_patience: int = option(5, "training",
        "epochs without a new best before --schedule plateau divides the rate by 10", ONE_OR_MORE,
        metavar="EPOCHS")
    label_smoothing: float = option(0.0, "training", "share of the certainty that labels give up",
        SHARE)
    seed: int = option(0, "training", "of all random numbers", ZERO_OR_MORE)
    augment: str = option("none", "augmentation",
        "none; crop, the paper's random crops and mirror images; or full, with crops of random"
        " size and shape", choices=AUGMENTATIONS)
    crop_scale: float = option(0.35, "augmentation",
        "the smallest part of a photo's area that --augment full crops", up_to(1))
    colour_shift: float = option(0.0, "augmentation",
        "strength of the paper's random colours, 0.1 there; 0 with --augment none", FINITE)
    colour_form: str = option("paper", "augmentation",
        "random colours in proportion to variances, as in the paper, or to standard deviations, as"
        " in the program of 2012", choices=("paper", "program"))
    same_crop: int = option(1, "augmentation",
        "so many images in a row are cropped and mirrored alike; 32 in the program of 2012",
        ONE_OR_MORE, metavar="IMAGES")
    normalize: str = option("imagenet", "augmentation",
        "by the mean and deviation of imagenet, or only by the mean colour or the mean image of the"
        " training photos", choices=("imagenet", "mean", "mean-image"))
    colours: dict | None = None  # of the training photos, where colour_shift or normalize need them
    edition: int = Drawings.edition
    device: str = option("auto", "machine",
        "where to compute: cpu, gpu (or cuda), or auto, a GPU where one works",
        choices=("cpu", "gpu", "auto"))
    threads: int | None = option(None, "machine", "cores to use", ONE_OR_MORE, shown="all")
    memory_limit: int | None = option(None, "machine",
        "most memory of the program, like 2GB; the batch is split to fit", ONE_OR_MORE,
        parse=parse_bytes, metavar="BYTES", shown="none")
    algorithm: str = option("auto", "machine",
        "of convolutions: im2col, winograd (CPU), implicit (GPU), or auto, the fastest",
        choices=ALGORITHMS)
    tf32: bool = option(False, "machine",
        "products with 10 bits of precision on a GPU since 2020: faster, less exact")
    plain: bool = option(False, "machine",
        "run the pages as they stand, without their fast twins: far slower")
    ten_crop: bool = option(False, "run", "test on ten crops of each image as well")
    keep_last: bool = option(False, "run",
        "keep last.safetensors at the end, so that more --epochs go on from there to the bit")
    log_interval: int = option(20, "run",
        "steps between updates of the loss shown in a log file or from a GPU", ONE_OR_MORE,
        metavar="STEPS")
    # fmt: on

    def __post_init__(self) -> None:
        if self.device == "cuda":
            object.__setattr__(self, "device", "gpu")
        for field in options():
            name, value = flag(field.name), getattr(self, field.name)
            limits, choices = field.metadata["limits"], field.metadata["choices"]
            if choices:
                choose(name, value, choices)
            if limits and value is not None and not limits[1](value):
                raise ConfigError(f"{name} must be {limits[0]}, got {value}")
        if self.plain and self.memory_limit is not None:
            raise ConfigError("--plain pages keep to no --memory-limit; leave one of them out")
        if self.colour_shift and (self.colour_form, self.normalize) == ("program", "imagenet"):
            text = "--colour-form program needs --normalize mean or mean-image"
            raise ConfigError(f"{text}; with imagenet, --colour-form paper")


def options() -> list[dataclasses.Field]:
    """The fields of Config that are options, in order."""
    return [field for field in dataclasses.fields(Config) if field.metadata]


def value_type(field: dataclasses.Field) -> type:
    """The type of an option's values: int, float, bool or str."""
    kinds = [kind for kind in typing.get_args(field.type) if kind is not type(None)]
    return kinds[0] if kinds else typing.cast(type, field.type)


def flag(name: str) -> str:
    """The option of a field, such as "--batch-size"."""
    return f"--{name.replace('_', '-')}"


def configure(given: dict[str, Any]) -> Config:
    """The settings from the options `given`, and from their recipe what they leave open.

    Raises ConfigError for an unknown recipe, and for values that cannot work.
    """
    _check_together(given)
    name = given.get("recipe") or recipe_for(given.get("data", "drawings"))
    recipe = RECIPES.get(name, {})  # Config refuses a name that is unknown
    settings = {**recipe, **given, "recipe": name}
    sgd = settings.get("optimizer") == "sgd"
    if "lr" not in given and sgd != (recipe.get("optimizer") == "sgd"):
        settings["lr"] = 0.01 if sgd else 1e-4  # a recipe's rate only suits its own optimizer
    if settings.get("augment") == "none":  # then photos stay the same, unless told otherwise
        settings["colour_shift"] = given.get("colour_shift", 0.0)
    return Config(**settings)


def change(config: Config, given: dict[str, Any]) -> Config:
    """`config` of a run that is resumed, with the options `given`.

    Raises ConfigError for an option that may not change.
    """
    _check_together(given)
    may_change = {field.name for field in options() if field.metadata["may_change"]}
    if fixed := [flag(name) for name in given.keys() - may_change]:
        raise ConfigError(f"{min(fixed)} cannot be changed when a run is resumed; leave it out")
    return dataclasses.replace(config, **given)


def from_settings(settings: Any) -> Config:
    """The Config that was written to a JSON file, by this or an earlier version.

    Raises TypeError where it has keys or types that are not those of Config, ConfigError where a
    value cannot work.
    """
    if not isinstance(settings, dict):
        raise TypeError("it is no dictionary")
    settings = {"edition": 1, **settings}  # before version 0.6.0
    types = {field.name: field.type for field in dataclasses.fields(Config)}
    for name, value in settings.items():
        kind: Any = types.get(name, object)
        if not isinstance(value, kind) and not (type(value) is int and isinstance(0.0, kind)):
            raise TypeError(f"{name} is {value!r}")
    return Config(**settings)


def _check_together(given: dict[str, Any]) -> None:
    if given.get("plain") and "algorithm" in given:
        raise ConfigError("--plain has no --algorithm to choose; leave one of them out")
