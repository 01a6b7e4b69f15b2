"""Errors that a user can fix: each message is one line that says what is wrong and what to do."""

import math
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


def check_sizes(name: str, least: int = 1, **sizes: object) -> None:
    """Raise ValueError unless all `sizes` are whole numbers of at least `least`."""
    for what, size in sizes.items():
        if isinstance(size, bool) or not hasattr(size, "__index__") or size.__index__() < least:
            raise ValueError(f"{name}: {what} must be a whole number from {least} on, got {size!r}")


def is_number(value: Any, least: float = 0, below: float = math.inf) -> bool:
    """Whether `value` is a finite number from `least` on and below `below`; no text, no array."""
    try:
        return bool(hasattr(value, "__float__") and math.isfinite(value) and least <= value < below)
    except (TypeError, ValueError, OverflowError):  # an array of several, 10**400
        return False
