"""Operations of CuPy against NumPy: the same values and dtypes."""

import cupy as cp
import numpy as np
import pytest

from cupyemu import device

rng = np.random.default_rng(0)
A = rng.standard_normal((4, 5)).astype(np.float32)
B = rng.standard_normal((5, 6)).astype(np.float32)
X = rng.standard_normal((3, 4, 7, 6)).astype(np.float32)
L = rng.integers(0, 5, 4)


def assigned(a, index, value):
    a = a.copy()
    a[index] = value
    return a


def added_at(xp, a, index, values):
    xp.add.at(a, index, values)
    return a


# name -> f(xp, put): `put` takes a NumPy array to xp
OPERATIONS = {
    "add": lambda xp, put: put(A) + put(A),
    "power": lambda xp, put: abs(put(X)) ** 0.75,
    "square root": lambda xp, put: xp.sqrt(abs(put(X))),
    "exp and log": lambda xp, put: xp.log(xp.exp(put(A)) + 1),
    "tanh": lambda xp, put: xp.tanh(put(X)),
    "maximum": lambda xp, put: xp.maximum(put(A), 0),
    "maximum into": lambda xp, put: xp.maximum(put(A), 0, out=xp.empty((4, 5), np.float32)),
    "clip": lambda xp, put: put(A).clip(-1, 1),
    "where": lambda xp, put: xp.where(put(A) > 0, put(A), 0),
    "compare": lambda xp, put: put(A) > 0,
    "integers": lambda xp, put: put(L) * 7 % 3,
    "unsigned words": lambda xp, put: (
        (put(L).astype(xp.uint64) * xp.uint64(0xD2511F53)) >> xp.uint64(32)
    ),
    "bytes to floats": lambda xp, put: put(np.arange(6, dtype=np.uint8)) / np.float32(255),
    "sum": lambda xp, put: put(X).sum(),
    "sum over axes": lambda xp, put: put(X).sum(axis=(0, 1, 2)),
    "sum over the last axis": lambda xp, put: put(X).sum(axis=-1),
    "sum of many": lambda xp, put: put(np.resize(X, (2000, 33))).sum(axis=0),
    "sum of integers": lambda xp, put: put(L).sum(),
    "count": lambda xp, put: (put(A) > 0).sum(),
    "mean": lambda xp, put: put(X).mean(axis=(0, 2, 3)),
    "variance": lambda xp, put: put(X).var(axis=1),
    "max": lambda xp, put: put(A).max(axis=1, keepdims=True),
    "argmax": lambda xp, put: put(A).argmax(axis=1),
    "argmax of all": lambda xp, put: put(X).argmax(),
    "any": lambda xp, put: (put(A) > 9).any(),
    "all": lambda xp, put: xp.isfinite(put(A)).all(),
    "vdot": lambda xp, put: xp.vdot(put(A), put(A)),
    "cumsum": lambda xp, put: xp.cumsum(put(A), axis=1),
    "bincount": lambda xp, put: xp.bincount(put(L), minlength=6),
    "slice": lambda xp, put: put(X)[:, 1:, ::2, ::-1],
    "slice assign": lambda xp, put: assigned(put(X), (slice(None), 1, slice(1, 4)), 7),
    "slice add": lambda xp, put: assigned(put(X), (slice(None), slice(0, 4, 2)), put(X[:, :2]) + 1),
    "by an array": lambda xp, put: put(A)[put(L)[:2] % 4],
    "by two arrays": lambda xp, put: put(A)[xp.arange(4), put(L)],
    "by a mask": lambda xp, put: put(A)[put(A) > 0],
    "assigned by a mask": lambda xp, put: assigned(put(A), put(A) > 0, 0),
    "add at": lambda xp, put: added_at(
        xp, put(np.zeros(5, "f")), put(np.array([1, 1, 3])), put(np.ones(3, "f"))
    ),
    "take along": lambda xp, put: xp.take_along_axis(put(A), put(L)[:, None], axis=1),
    "one-hot": lambda xp, put: (put(L)[:, None] == xp.arange(5)).astype(np.float32),
    "nonzero": lambda xp, put: xp.nonzero(put(A) > 0)[0],
    "transpose": lambda xp, put: put(X).transpose(0, 2, 3, 1).copy(),
    "reshape of a transpose": lambda xp, put: put(X).transpose(1, 0, 2, 3).reshape(4, -1),
    "roll": lambda xp, put: xp.roll(put(A), 1, axis=1),
    "pad": lambda xp, put: xp.pad(put(X), ((0, 0), (0, 0), (2, 1), (1, 2)), constant_values=-3),
    "concatenate": lambda xp, put: xp.concatenate([put(A), put(A)], axis=1),
    "stack": lambda xp, put: xp.stack([put(A), put(A)], axis=2),
    "repeat": lambda xp, put: put(A).repeat(3, axis=1),
    "windows": lambda xp, put: xp.lib.stride_tricks.sliding_window_view(
        put(X), (3, 2), axis=(2, 3)
    ).max(axis=5),
    "patches": lambda xp, put: (
        xp.lib.stride_tricks.as_strided(put(X), (3, 4, 3, 3, 2), (672, 168, 48, 24, 4)) + 0
    ),
    "a number to a type": lambda xp, put: put(A).astype(np.int32),
    "empty": lambda xp, put: put(A[:0]).sum(axis=0),
}


def at(xp):
    return lambda a: xp.asarray(a)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
def test_operation(name, backwards):
    device.take_turns(backwards)
    try:
        ours = OPERATIONS[name](cp, at(cp))
    finally:
        device.take_turns(False)
    theirs = OPERATIONS[name](np, at(np))
    assert type(ours) is cp.ndarray and ours.dtype == theirs.dtype and ours.shape == theirs.shape
    np.testing.assert_allclose(ours.get(), theirs, rtol=2e-5, atol=1e-5)


# ----------------------------------------------------------------------------------------- products

PRODUCTS = {
    "matrix": (lambda put: put(A) @ put(B), 1),
    "transposed left": (lambda put: put(A).T @ put(A), 1),
    "transposed right": (lambda put: put(B) @ put(B).T, 1),
    "columns of a matrix": (lambda put: put(A) @ put(B)[:, 1:4], 1),
    "rows of a matrix": (lambda put: put(A)[::2] @ put(B), 1),
    "a vector": (lambda put: put(A) @ put(B)[:, 0], 1),
    "stacks": (lambda put: put(X) @ put(X).swapaxes(2, 3), 1),
    "one with a stack": (lambda put: put(A[:, :4]) @ put(X).reshape(3, 4, 42), 1),
    "nothing to sum": (lambda put: put(A)[:, :0] @ put(B)[:0], 0),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_product(name, dtype):
    function, gemms = PRODUCTS[name]
    before = device.counters()
    ours = function(lambda a: cp.asarray(a, dtype=dtype))
    assert device.counters()["gemms"] - before["gemms"] == gemms
    theirs = function(lambda a: np.asarray(a, dtype=dtype))
    assert ours.dtype == theirs.dtype == dtype
    np.testing.assert_allclose(ours.get(), theirs, rtol=1e-4, atol=1e-5)


def test_a_transposed_view_is_not_copied_for_a_product():
    a, b = cp.asarray(A), cp.asarray(B)
    out = cp.empty((5, 5), np.float32)
    before = device.counters()
    cp.matmul(a.T, a, out=out)
    cp.matmul(b, b.T, out=out)
    found = device.counters()
    assert found["launches"] == before["launches"] and found["allocations"] == before["allocations"]
    np.testing.assert_allclose(out.get(), B @ B.T, rtol=1e-5)


def test_flops_are_counted():
    before = device.counters()["gemm_flops"]
    cp.asarray(A) @ cp.asarray(B)
    assert device.counters()["gemm_flops"] - before == 2 * 4 * 5 * 6


def test_complex_products_are_refused():
    with pytest.raises(NotImplementedError, match="are not emulated"):
        cp.asarray(A).astype(np.complex64) @ cp.asarray(B).astype(np.complex64)
