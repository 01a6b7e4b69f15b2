"""Pages as they stand on CuPy, and their twins, against the same pages on NumPy: the same numbers.

Each layer is handed its arrays in three layouts, each kernel also with the indices of large arrays.
"""

import copy
import math

import cupy
import numpy as np
import pytest

from device import on_device, on_host
from minialex.errors import pair
from minialex.gpu import kernel
from minialex.params import zeros_like
from minialex.twin import TWINS

DTYPES = (np.float32, np.float64)
# N, H, W, C, K, S, P; pairs are (down, across)
WINDOWS = [
    (1, 1, 1, 1, 1, 1, 0), (2, 5, 4, 3, 3, 1, 1), (1, 7, 9, 2, 3, 2, 0), (3, 8, 6, 1, 2, 3, 1),
    (2, 6, 7, 5, 4, 2, 2), (1, 13, 12, 3, 11, 4, 2), (1, 5, 5, 2, 3, 5, 1), (2, 3, 11, 4, 2, 2, 0),
    (5, 4, 4, 7, 5, 1, 2), (2, 5, 9, 3, (3, 1), (1, 2), (1, 0)), (2, 6, 7, 8, (4, 2), 2, (2, 1)),
    (1, 9, 6, 4, (2, 5), (3, 1), (0, 2)),
]  # fmt: skip
POOL_WINDOWS = [
    window for window in WINDOWS
    if all(P <= K // 2 for K, P in zip(pair(window[4]), pair(window[6]), strict=True))
]  # fmt: skip
LAYOUTS = ("contiguous", "strided", "reversed")


@pytest.fixture(params=["int", "long long"], autouse=True)
def index(request, monkeypatch):
    """Each test with indices of 32 bits, and with those that arrays above 2^31 numbers get."""
    if request.param == "long long":
        monkeypatch.setattr(kernel, "LARGEST_INT32", 0)
    return request.param


def spread(x, way):
    """x as it is, as every second number, or with its axes in the opposite order in memory."""
    if way == "contiguous":
        return x
    xp = np if isinstance(x, np.ndarray) else cupy
    return xp.stack((x, x), axis=-1)[..., 0] if way == "strided" else x.T.copy().T


def numbers(shape, dtype=np.float32, seed=0, whole=False):
    x = np.random.default_rng(seed).standard_normal(shape)
    return (np.round(x) if whole else x).astype(dtype)


def layouts(*arrays):
    """Copies of the arrays on the device, in each layout."""
    for way in LAYOUTS:
        yield [spread(on_device(a.copy()), way) for a in arrays]


def assert_same(ours, theirs, tolerance=0.0):
    """Of one dtype and shape, on the device, and equal to the last bit or within `tolerance` of the
    largest."""
    assert isinstance(ours, cupy.ndarray)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    ours, theirs = on_host(ours), on_host(theirs)
    if tolerance == 0:
        np.testing.assert_array_equal(ours, theirs)
    else:
        atol = tolerance * abs(theirs).max(initial=0)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


def rounding(dtype, times=8):
    return times * float(np.finfo(dtype).eps)


def forms(layer):
    """`layer` on the device: its page, and its twin where there is one."""
    yield copy.deepcopy(layer).to("gpu")
    if (type(layer), "gpu") in TWINS:
        twin = copy.deepcopy(layer).to("gpu")
        twin.__class__ = TWINS[type(layer), "gpu"]
        yield twin


def strided_grad(params, way):
    """A grad like `params`, of NaN, whose arrays lie in memory as spread(..., way) has them."""
    grad = {key: spread(value, way) for key, value in zeros_like(params).items()}
    for array in grad.values():
        array[...] = math.nan
    return grad


def check(layer, x, dy=None, tolerance=0.0):
    """Forward and backward of every form of `layer` on the device, as its page computes them on
    NumPy."""
    there, place = list(forms(layer)), (getattr(layer, "step", 0), getattr(layer, "first", 0))
    y, cache = layer.forward(x.copy())
    dy, grad = numbers(y.shape, x.dtype, 1) if dy is None else dy, zeros_like(layer.params)
    dx = layer.backward(dy.copy(), cache, grad)
    for form in there:
        for way, (x_there, dy_there) in zip(LAYOUTS, layouts(x, dy), strict=True):
            form.set_step(*place)
            y_there, cache = form.forward(x_there)
            assert_same(y_there, y, tolerance)
            grad_there = strided_grad(form.params, way)
            assert_same(form.backward(dy_there, cache, grad_there), dx, tolerance)
            for key, value in grad.items():
                assert_same(grad_there[key], value, tolerance)
            if not getattr(form, "inplace", False):
                assert_same(x_there, x)
                assert_same(dy_there, dy)


def with_dtype(layer, dtype):
    """`layer` with parameters of this dtype, and a bias, if any, that is not zero."""
    if "bias" in layer.params:
        layer.params["bias"][...] = numbers(layer.params["bias"].shape, seed=7)
    return layer.to(dtype=dtype)
