"""xp -- one source for NumPy and CuPy: the array itself says where it lives.

CuPy has NumPy's functions under NumPy's names, so a page asks an array for its module and writes
each line once:

    xp = get_xp(x)              numpy for an array in the computer's memory, cupy for one on a GPU
    y = xp.maximum(x, 0)        runs where x is

A *device* is the string "cpu" or "gpu".
"""

from types import ModuleType
from typing import Any

import numpy as np

# A NumPy or a CuPy array.  The two share their methods, but no class that a type checker could use.
Array = Any


def get_xp(x: Array) -> ModuleType:
    """The module, numpy or cupy, of the array x.  Raises TypeError for anything else."""
    if isinstance(x, np.ndarray | np.generic):
        return np
    if type(x).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    raise TypeError(f"expected a NumPy or CuPy array, got {type(x).__name__}")


def where_is(x: Array) -> str:
    """The device of the array x, "cpu" or "gpu"."""
    return "cpu" if get_xp(x) is np else "gpu"


def to_device(x: Array, device: str | None = None, dtype: Any = None) -> Array:
    """x on "cpu" or "gpu", and floats as `dtype`; x itself, uncopied, where that is so already."""
    place = where_is(x)
    if device == "cpu" and place == "gpu":
        x = x.get()
    elif device == "gpu" and place == "cpu":
        import cupy

        x = cupy.asarray(x)
    return x.astype(dtype, copy=False) if dtype and x.dtype.kind == "f" else x


def to_cpu(x: Array) -> np.ndarray:
    """x as a NumPy array."""
    return to_device(x, "cpu")
