"""Softmax cross-entropy against its definition, at extremes, and its errors.  (Gradients: test_gradients.py.)"""

import math

import numpy as np
import pytest

from device import assert_allclose, assert_array_equal, assert_on_device, on_device, on_host
from minialex.losses import log_softmax, softmax_cross_entropy


@pytest.mark.parametrize("smoothing", [0, 0.1, 0.5])
@pytest.mark.parametrize("N, C", [(1, 1), (1, 2), (4, 3), (7, 10)])
def test_by_definition(N, C, smoothing):
    rng = np.random.default_rng([N, C])
    z, labels = rng.standard_normal((N, C)), rng.integers(0, C, N)
    loss, dz = softmax_cross_entropy(on_device(z), on_device(labels), smoothing)
    assert_on_device(loss, dz)
    dz, log_p = on_host(dz), on_host(log_softmax(on_device(z)))
    total = 0.0
    for n in range(N):
        sum_exp = sum(math.exp(z[n, k]) for k in range(C))
        for c in range(C):
            p, t = math.exp(z[n, c]) / sum_exp, (1 - smoothing) * (c == labels[n]) + smoothing / C
            total -= t * math.log(p) / N
            assert dz[n, c] == pytest.approx((p - t) / N, abs=1e-14)
            assert log_p[n, c] == pytest.approx(math.log(p), abs=1e-13)
    assert loss.shape == () and float(loss) == pytest.approx(total, abs=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", [np.int64, np.int32, np.uint8])
def test_dtypes(dtype, labels):
    z = on_device(np.random.default_rng(0).standard_normal((3, 4)).astype(dtype))
    before = z.copy()
    loss, dz = softmax_cross_entropy(z, on_device(np.array([0, 3, 1], dtype=labels)), 0.1)
    assert loss.dtype == dz.dtype == dtype and dz.shape == z.shape and np.array_equal(z, before)


def test_equal_scores_cost_log_C():
    loss, _ = softmax_cross_entropy(on_device(np.zeros((5, 37), dtype=np.float32)), on_device(np.arange(5)))
    assert float(loss) == pytest.approx(math.log(37), rel=1e-6)


def test_large_scores_neither_overflow_nor_lose_the_loss():
    z = on_device(np.array([[1e4, 0, -1e4], [-3e38, 0, 3e37]], dtype=np.float32))
    loss, dz = softmax_cross_entropy(z[:1], on_device(np.array([1])))
    assert float(loss) == 1e4 and np.isfinite(dz).all()
    assert_allclose(dz, [[1, -1, 0]])
    loss, dz = softmax_cross_entropy(z[1:], on_device(np.array([2])))
    assert float(loss) == 0 and not dz.any()


def test_a_constant_changes_nothing():
    z, labels = on_device(np.random.default_rng(0).standard_normal((4, 3))), on_device(np.array([0, 1, 2, 0]))
    for a, b in zip(softmax_cross_entropy(z, labels), softmax_cross_entropy(z + 100, labels), strict=True):
        assert_allclose(a, b, atol=1e-13)


def test_input_that_is_not_contiguous():
    z = on_device(np.random.default_rng(0).standard_normal((4, 6)))
    labels = on_device(np.array([0, 9, 1, 9, 2, 9, 0]))
    for a, b in zip(
        softmax_cross_entropy(z[:, ::2], labels[::2]),
        softmax_cross_entropy(z[:, ::2].copy(), labels[::2].copy()),
        strict=True,
    ):
        assert_array_equal(a, b)


@pytest.mark.parametrize(
    "z, labels, smoothing, error, words",
    [
        (np.zeros(3), np.zeros(3, int), 0, ValueError, r"logits \(N, C\).* got \(3,\)"),
        (np.zeros((2, 3)), np.zeros(3, int), 0, ValueError, r"\(2, 3\) and \(3,\)"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), 0, ValueError, r"labels \(N,\)"),
        (np.zeros((2, 3)), np.array([0, 3]), 0, ValueError, r"0\.\.2, got 0\.\.3"),
        (np.zeros((2, 3)), np.array([-1, 0]), 0, ValueError, r"0\.\.2, got -1\.\.0"),
        (np.zeros((2, 3)), np.array([0, 1]), 1, ValueError, r"label_smoothing must be .* got 1"),
        (np.zeros((2, 3)), np.array([0, 1]), -0.1, ValueError, "label_smoothing"),
        (np.zeros((2, 3), int), np.array([0, 1]), 0, TypeError, "got int64 and int64"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), 0, TypeError, "got float64 and float64"),
    ],
)
def test_bad_arguments(z, labels, smoothing, error, words):
    with pytest.raises(error, match=words) as caught:
        softmax_cross_entropy(z, labels, smoothing)
    assert str(caught.value).startswith("softmax_cross_entropy:") and "\n" not in str(caught.value)
