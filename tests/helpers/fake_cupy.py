"""A stand-in for CuPy, to try what is asked of it on machines that have none, or a broken one."""

from types import ModuleType, SimpleNamespace

import numpy as np


class OnGpu:
    """An array of the stand-in for CuPy: NumPy's numbers, behind CuPy's type name and methods."""

    def __init__(self, numbers):
        self.numbers = np.asarray(numbers)
        self.dtype = self.numbers.dtype

    def get(self):
        return self.numbers.copy()

    def sum(self):
        return self.numbers.sum()

    def __add__(self, other):
        return OnGpu(self.numbers + other.numbers)

    def __matmul__(self, other):
        return OnGpu(self.numbers @ other.numbers)


OnGpu.__module__ = "cupy"


def raising(error):
    def function(*_, **__):
        raise error

    return function


def fake_cupy(driver=12_040, built_for=12_090, count=1, **changed):
    """A stand-in for CuPy on a machine with one working GPU, except for what is `changed`."""
    cupy = ModuleType("cupy")
    runtime = SimpleNamespace(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: built_for,
        getDeviceCount=count if callable(count) else lambda: count,
        getDeviceProperties=lambda index: {"name": b"Test GPU"},
    )
    attributes = {
        "__version__": "14.0.0",
        "cuda": SimpleNamespace(runtime=runtime),
        "ones": lambda shape, dtype: OnGpu(np.ones(shape, dtype=dtype)),
        "asarray": OnGpu,
    }
    cupy.__dict__.update(attributes | changed)
    return cupy
