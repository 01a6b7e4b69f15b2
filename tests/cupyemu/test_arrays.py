"""CuPy's arrays behave under the emulator as CuPy documents them: a bug of a port shows here as on
a GPU."""

import math

import cupy as cp
import numpy as np
import pytest

from cupyemu import device

N = np.arange(20, dtype=np.float32).reshape(4, 5)
LABELS = np.array([0, 3, 1, 4])


def counted(function):
    """What one call costs, after a first one."""
    function()
    before = device.counters()
    function()
    found = device.counters()
    found.subtract(before)
    return {
        name: found[name] for name in ("launches", "synchronizations", "copies_h2d", "copies_d2h")
    }


# ------------------------------------------------------------------------ NumPy and CuPy keep apart

MIXED = {
    "an operand": lambda a: a + N,
    "an operand on the left": lambda a: N * a,
    "an argument of a ufunc": lambda a: cp.maximum(a, N),
    "in a list of arrays": lambda a: cp.concatenate([a, N]),
    "assigned into": lambda a: a.__setitem__(0, N[0]),
    "padded": lambda a: cp.pad(N, 1),
    "an operand of a product": lambda a: a @ N.T,
}


@pytest.mark.parametrize("what", MIXED)
def test_numpy_arrays_are_refused(what):
    with pytest.raises((TypeError, ValueError), match=r"numpy\.ndarray|Unsupported type"):
        MIXED[what](cp.asarray(N))


@pytest.mark.parametrize("convert", [np.asarray, lambda a: np.zeros((4, 5)).__setitem__(..., a)])
def test_implicit_conversion_is_refused(convert):
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        convert(cp.asarray(N))


def test_some_mixtures_are_accepted_with_a_hidden_copy():
    a = cp.asarray(N)
    assert counted(lambda: a[LABELS])["copies_h2d"] >= 1
    assert counted(lambda: a[cp.asarray([0, 3])])["copies_h2d"] >= 1


def test_numpy_functions_that_cupy_has_are_dispatched():
    a = cp.asarray(N)
    assert type(np.maximum(a, 3)) is type(np.concatenate([a, a])) is cp.ndarray


# ------------------------------------------------------------------------ what waits for the device


@pytest.mark.parametrize(
    "read",
    [float, bool, lambda a: a.item(), lambda a: f"{a:.3f}", lambda a: a.get(), lambda a: max(a, 0)],
)
def test_reading_a_number_copies_it_and_waits(read):
    a = cp.asarray(N).sum()
    cost = counted(lambda: read(a))
    assert cost["copies_d2h"] == 1 and cost["synchronizations"] >= 1


def test_computing_does_not_wait():
    a = cp.asarray(N)
    assert counted(lambda: (a * 2 + 1).sum(axis=0)) == {
        "launches": 3, "synchronizations": 0, "copies_h2d": 0, "copies_d2h": 0
    }  # fmt: skip
    chosen = counted(lambda: a[a > 3])
    assert chosen["synchronizations"] >= 1  # the size of the result is not known before
    view = counted(lambda: cp.lib.stride_tricks.as_strided(a, (3, 2, 5), (20, 20, 4)))
    assert view["launches"] == 0


@pytest.mark.parametrize("use", [range, lambda n: [1, 2, 3, 4][n]])
def test_a_device_number_is_no_index(use):
    with pytest.raises(TypeError):
        use(cp.asarray(3.0))


# ------------------------------------------------------------------------------------------- dtypes


def test_float64_comes_in_by_numpy_scalars_and_defaults():
    a = cp.asarray(N)
    assert (a * np.sqrt(2 / 3)).dtype == np.float64 and (a * math.sqrt(2 / 3)).dtype == np.float32
    assert (a / cp.arange(1, 6)).dtype == np.float64
    assert cp.zeros(2).dtype == np.float64 and cp.zeros(2, np.float32).dtype == np.float32


def test_launches_of_float64_kernels_are_counted():
    before = device.counters()["float64"]
    cp.asarray(N) * 2
    assert device.counters()["float64"] == before
    cp.asarray(N) * np.float64(2)
    assert device.counters()["float64"] > before


# ------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_nobody_wrote_is_nan(dtype):
    assert (
        cp.isnan(cp.empty((3, 5), dtype)).all() and cp.isnan(cp.empty_like(cp.ones(7, dtype))).all()
    )
    b = cp.empty(4, dtype)
    b[1:3] = 0
    assert cp.isnan(b).tolist() == [True, False, False, True]


def test_memory_is_counted_exactly():
    device.reset_peak()
    before, allocations = device.value("live_bytes"), device.value("allocations")
    a = cp.empty((1000, 10), np.float32)
    assert device.value("live_bytes") == before + 40_000 == device.value("peak_bytes")
    assert device.value("allocations") == allocations + 1
    b = a[::2]  # a view
    assert device.value("allocations") == allocations + 1
    del a, b
    assert device.value("live_bytes") == before and device.value("peak_bytes") == before + 40_000


def test_as_strided_is_a_view():
    a = cp.arange(6, dtype=np.float32)
    windows = cp.lib.stride_tricks.as_strided(a, (4, 3), (4, 4))
    assert windows.tolist() == [[i, i + 1, i + 2] for i in range(4)]
    windows[0] = 9
    assert a.tolist() == [9, 9, 9, 3, 4, 5]


def test_indices_outside_wrap_silently():
    a = cp.arange(5)
    assert a[cp.asarray([0, 7])].tolist() == [0, 2]
    with pytest.raises(IndexError):
        a[7]


# ------------------------------------------------------------------------------------- not emulated


@pytest.mark.parametrize(
    "call",
    [
        lambda: cp.sort(cp.arange(3)),
        lambda: cp.argsort(cp.arange(3)),
        lambda: cp.random.default_rng(0),
        lambda: cp.random.RandomState(0).uniform(size=3),
        lambda: cp.linalg.svd(cp.eye(3)),
        lambda: cp.fft.fft(cp.arange(4)),
    ],
)
def test_what_is_not_emulated_raises(call):
    # By many kinds of exception, but never a wrong result.
    with pytest.raises(Exception):  # noqa: B017
        call()
