"""Errors that a user can fix: each message is one line that says what is wrong and what to do."""

import math
from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any


class MinialexError(Exception):
    """Base of all errors below; the commands print it as one line and exit with status 2."""


class DataError(MinialexError):
    """A folder, an image or a download is missing, damaged or of the wrong form."""


class DeviceError(MinialexError):
    """The requested device cannot be used."""


class CheckpointError(MinialexError):
    """A checkpoint is missing, damaged, or belongs to another model or run."""


class ConfigError(MinialexError):
    """An option has a value that cannot work."""


def short(value: object) -> str:
    """`value` as code, in one line of at most 60 characters, for an error message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def check(holds: object, rule: str, got: object, error: type[Exception] = ConfigError) -> None:
    """Raise an error, which says `rule` and what came instead, unless it `holds`."""
    if not holds:
        raise error(f"{rule}, got {short(got)}")


def choose(what: str, name: str, known: Collection[str]) -> Any:
    """known[name], or of a list the name itself.

    Raises ConfigError, which says what there is, where it is not there.
    """
    if name not in known:
        raise ConfigError(f"unknown {what} {short(name)}; choose {', '.join(known)}")
    return known[name] if isinstance(known, Mapping) else name


def check_whole(name: str, n: Any, least: int, error: type[Exception] = ConfigError) -> None:
    """Raise an error unless `n` is a whole number of at least `least`."""
    # NumPy's whole numbers are Integral as well.
    fits = isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= least
    check(fits, f"{name} must be a whole number from {least} on", n, error)


def check_sizes(name: str, least: int = 1, **sizes: object) -> None:
    """Raise ValueError unless all `sizes` are whole numbers of at least `least`."""
    for what, size in sizes.items():
        check_whole(f"{name}: {what}", size, least, ValueError)


def check_pair(name: str, least: int = 1, **sizes: Any) -> Any:
    """One size, a whole number of at least `least` or a pair of them (down, across), to be kept.

    A pair of equal numbers is kept as the number.  Raises ValueError for anything else.
    """
    ((what, size),) = sizes.items()
    both = tuple(size) if isinstance(size, tuple | list) and len(size) == 2 else (size, size)
    for one in both:
        check_sizes(name, least, **{what: one})
    return both[0] if both[0] == both[1] else both


def pair(size: Any) -> Any:
    """(down, across) of a size; a number stands for both."""
    return size if isinstance(size, tuple) else (size, size)


def check_window(name: str, kernel_size: Any, stride: Any, padding: Any) -> list[Any]:
    """The three as `check_pair` has them, which raises ValueError; padding may be 0."""
    sizes = check_pair(name, kernel_size=kernel_size), check_pair(name, stride=stride)
    return [*sizes, check_pair(name, 0, padding=padding)]


def check_response(name: str, size: Any, alpha: Any, beta: Any, k: Any) -> None:
    """Raise ValueError for an even size, and for numbers that would let k + alpha * ... be 0."""
    check_sizes(name, size=size)
    check(size % 2, f"{name}: size must be odd", size, ValueError)
    if not (is_number(k) and k > 0 and is_number(alpha) and is_number(beta, -math.inf)):
        found = f"k={k}, alpha={alpha}, beta={beta}"
        raise ValueError(f"{name}: k must be positive, alpha not negative: {found}")


def is_number(value: Any, least: float = 0, below: float = math.inf) -> bool:
    """Whether `value` is a finite number from `least` on and below `below`; no text, no array."""
    try:
        fits = hasattr(value, "__float__") and not isinstance(value, bool)
        return bool(fits and math.isfinite(value) and least <= value < below)
    except (TypeError, ValueError, OverflowError):  # an array of several, 10**400
        return False


def check_labels(labels: Any, C: int, weight: Any = None) -> None:
    """Raise ValueError unless NumPy's labels (N,) lie in 0..C-1, or (N, C) hold probabilities.

    The weights of the classes, if given, must be numbers of 0 or more.
    """
    name = "softmax_cross_entropy"
    soft = labels.ndim == 2
    if soft and not (labels.min() >= 0 and (abs(labels.sum(axis=1) - 1) < 0.01).all()):
        raise ValueError(f"{name}: each row of labels (N, C) must be probabilities, with sum 1")
    if not soft and len(labels) and not 0 <= labels.min() <= labels.max() < C:
        what = f"labels must lie in 0..{C - 1}, got {labels.min()}..{labels.max()}"
        raise ValueError(f"{name}: {what}")
    if weight is not None and not (0 <= weight.min() <= weight.max() < math.inf):
        raise ValueError(f"{name}: weights must be numbers of 0 or more, got {weight}")
