"""Checks of arguments: one line says what was expected, and what was given."""

import math
from typing import Any

import numpy as np

from minialex.errors import ConfigError


def short(value: object) -> str:
    """`value` as code, in one line of at most 60 characters, for an error message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def check(holds: object, rule: str, got: object, error: type[Exception] = ConfigError) -> None:
    """Raise an error, which says `rule` and what came instead, unless it `holds`."""
    if not holds:
        raise error(f"{rule}, got {short(got)}")


def check_whole(name: str, value: Any, least: int, error: type[Exception] = ConfigError) -> None:
    """Raise an error unless `value` is a whole number of at least `least`."""
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
    check(fits, f"{name} must be a whole number of at least {least}", value, error)


def check_floats(owner: str, x: Any, channels: int) -> None:
    """Raise ConfigError, in the name of `owner`, unless x is a float array (H, W, channels)."""
    is_array = isinstance(x, np.ndarray)
    if not is_array or x.dtype.kind != "f" or x.ndim != 3 or x.shape[2] != channels:
        found = f"{x.dtype} {x.shape}" if is_array else type(x).__name__
        text = f"{owner}: expected a float array (H, W, {channels})"
        raise ConfigError(f"{text}, got {found}")


def is_number(value: object) -> bool:
    """Whether `value` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
