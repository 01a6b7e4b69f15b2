"""The device that the tests run on, and how arrays come to it and back.

`pytest --device` chooses it: see conftest.py. A test draws its numbers on the host, hands them to
`on_device`, and looks at results through `on_host` or the two assertions below.  Arrays of the host
alone (images, checkpoints, schedules) never pass through here.
"""

import ctypes
import functools
import os

import numpy as np

DEVICE = os.environ.get("MINIALEX_TEST_DEVICE", "cpu")  # for programs that a test starts as well


def has_gpu():
    """Whether there is a driver with a GPU; without importing cupy, which must come after the
    emulator."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


def emulate():
    """Without a GPU, put the emulated one in its place.  Raises cupyemu.CannotEmulate.

    Emulated tensor cores are slow: there the kernels multiply without them, except where a test
    asks for them (test_implicit.py).
    """
    import cupyemu

    if not has_gpu():
        cupyemu.install()
        from minialex.gpu import implicit

        plain = functools.wraps(implicit.arithmetic)(lambda: implicit.FLOAT32)
        implicit.arithmetic = plain


if DEVICE == "gpu":
    emulate()

from minialex.layers import Layer  # noqa: E402
from minialex.xp import get_xp, to_cpu, to_device  # noqa: E402 -- not before the emulator


def on_device(x):
    """An array of the host, or a layer with its parameters, on the device of the tests."""
    return x.to(DEVICE) if isinstance(x, Layer) else to_device(x, DEVICE)


def on_host(x):
    """An array of either kind as a NumPy array; anything else as it is."""
    return to_cpu(x) if hasattr(x, "__cuda_array_interface__") else x


def assert_on_device(*arrays):
    """No array came back from the device, or was left on the host, unasked."""
    for x in arrays:
        assert (get_xp(x) is np) == (DEVICE == "cpu"), type(x)


def assert_allclose(actual, desired, **tolerances):
    """NumPy's, for arrays of either device."""
    np.testing.assert_allclose(on_host(actual), on_host(desired), **tolerances)


def assert_array_equal(actual, desired):
    """NumPy's, for arrays of either device."""
    np.testing.assert_array_equal(on_host(actual), on_host(desired))
