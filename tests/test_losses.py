"""Softmax cross-entropy, the page and its fast form, against its definition, and at extremes.

Gradients: layers/test_gradients.py.
"""

import math

import numpy as np
import pytest

from bad_input import refused
from device import (
    DEVICE,
    assert_allclose,
    assert_array_equal,
    assert_on_device,
    on_device,
    on_host,
)
from minialex.attach import loss_function
from minialex.losses import log_softmax, softmax_cross_entropy
from minialex.numerical_gradient import numerical_gradient

LOSSES = {"page": softmax_cross_entropy, "fast": loss_function(DEVICE)}
if LOSSES["fast"] is softmax_cross_entropy:
    del LOSSES["fast"]  # on the CPU there is no other


@pytest.fixture(params=LOSSES)
def loss_form(request):
    return LOSSES[request.param]


@pytest.mark.parametrize("smoothing", [0, 0.1, 0.5])
@pytest.mark.parametrize("N, C", [(1, 1), (1, 2), (4, 3), (7, 10)])
def test_by_definition(N, C, smoothing, loss_form):
    rng = np.random.default_rng([N, C])
    z, labels = rng.standard_normal((N, C)), rng.integers(0, C, N)
    loss, dz = loss_form(on_device(z), on_device(labels), smoothing)
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
def test_dtypes(dtype, labels, loss_form):
    z = on_device(np.random.default_rng(0).standard_normal((3, 4)).astype(dtype))
    before = z.copy()
    loss, dz = loss_form(z, on_device(np.array([0, 3, 1], dtype=labels)), 0.1)
    assert loss.dtype == dz.dtype == dtype and dz.shape == z.shape and np.array_equal(z, before)


def test_equal_scores_cost_log_C(loss_form):
    z = on_device(np.zeros((5, 37), dtype=np.float32))
    loss, _ = loss_form(z, on_device(np.arange(5)))
    assert float(loss) == pytest.approx(math.log(37), rel=1e-6)


def test_large_scores_neither_overflow_nor_lose_the_loss(loss_form):
    z = on_device(np.array([[1e4, 0, -1e4], [-3e38, 0, 3e37]], dtype=np.float32))
    loss, dz = loss_form(z[:1], on_device(np.array([1])))
    assert float(loss) == 1e4 and np.isfinite(dz).all()
    assert_allclose(dz, [[1, -1, 0]])
    loss, dz = loss_form(z[1:], on_device(np.array([2])))
    assert float(loss) == 0 and not dz.any()


def test_a_constant_changes_nothing(loss_form):
    z = on_device(np.random.default_rng(0).standard_normal((4, 3)))
    labels = on_device(np.array([0, 1, 2, 0]))
    for a, b in zip(loss_form(z, labels), loss_form(z + 100, labels), strict=True):
        assert_allclose(a, b, atol=1e-13)


def test_input_that_is_not_contiguous(loss_form):
    z = on_device(np.random.default_rng(0).standard_normal((4, 6)))
    labels = on_device(np.array([0, 9, 1, 9, 2, 9, 0]))
    for a, b in zip(
        loss_form(z[:, ::2], labels[::2]),
        loss_form(z[:, ::2].copy(), labels[::2].copy()),
        strict=True,
    ):
        assert_array_equal(a, b)


@pytest.mark.parametrize(
    "z, labels, smoothing, error, words",
    [
        (np.zeros(3), np.zeros(3, int), 0, ValueError, r"logits \(N, C\).* got \(3,\)"),
        (np.zeros((2, 3)), np.zeros(3, int), 0, ValueError, r"\(2, 3\) and \(3,\)"),
        (np.zeros((2, 3)), np.zeros((2, 4)), 0, ValueError, r"labels \(N,\) or \(N, C\)"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), 0, TypeError, "floats \\(N, C\\), got float64"),
        (
            np.zeros((2, 3)),
            np.full((2, 3), 0.5),
            0,
            ValueError,
            "must be probabilities, with sum 1",
        ),
        (np.zeros((1, 3)), np.array([[2.0, -1, 0]]), 0, ValueError, "must be probabilities"),
        (np.zeros((1, 3)), np.array([[np.nan, 1, 0]]), 0, ValueError, "must be probabilities"),
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
    assert str(caught.value).startswith("softmax_cross_entropy:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_the_fast_form_is_its_page(dtype, bound):
    for i in range(20):
        rng = np.random.default_rng(i)
        N, C = int(rng.integers(1, 70)), int(rng.integers(1, 1001))
        z = on_device((10.0 ** rng.uniform(-2, 1) * rng.standard_normal((N, C))).astype(np.float32))
        labels, smoothing = on_device(rng.integers(0, C, N)), (0, 0.1, 0.9)[i % 3]
        want = softmax_cross_entropy(z.astype(np.float64), labels, smoothing)
        got = loss_function(DEVICE)(z.astype(dtype), labels, smoothing)
        for a, b in zip(got, want, strict=True):
            a, b = on_host(a), on_host(b)
            assert a.dtype == dtype and abs(a - b).max() <= bound * max(1e-3, abs(b).max())


def test_loss_function_is_the_page_where_it_is_asked_for():
    assert loss_function("cpu") is softmax_cross_entropy
    assert loss_function("gpu", fused=False) is softmax_cross_entropy
    assert loss_function("gpu") is not softmax_cross_entropy


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_class_that_is_ruled_out_costs_nothing(loss_form, dtype):
    digits = {np.float16: 2e-3, np.float32: 1e-6, np.float64: 1e-9}[dtype]
    logits, label = on_device(np.array([[0, -np.inf, 1]], dtype)), on_device(np.array([0]))
    loss, dlogits = loss_form(logits, label)
    assert_allclose(loss, 1.3132616875182228, rtol=digits)
    assert_allclose(dlogits, [[-0.7310585786, 0, 0.7310585786]], rtol=digits)
    smoothed, _ = loss_form(logits, label, 0.1)
    assert float(smoothed) == np.inf  # 0.1/3 of the target stands where the network says never
    ruled_out, dlogits = loss_form(logits, on_device(np.array([1])))
    assert float(ruled_out) == np.inf and np.isfinite(dlogits).all()


def test_a_large_batch_in_float16(loss_form):
    logits, labels = on_device(np.zeros((70_000, 3), np.float16)), on_device(np.zeros(70_000, int))
    loss, dlogits = loss_form(logits, labels)
    assert abs(float(loss) - np.log(3)) < 2e-3
    assert abs(float(abs(dlogits).max()) * 70_000 - 2 / 3) < 0.01


def test_many_classes_in_float16(loss_form):
    z = (3 * np.random.default_rng(0).standard_normal((50, 3000))).astype(np.float16)
    labels = on_device(np.arange(50))
    want, _ = softmax_cross_entropy(on_device(z.astype(np.float64)), labels)
    assert abs(float(loss_form(on_device(z), labels)[0]) / float(want) - 1) < 1e-3


@pytest.mark.parametrize("logits, labels, words", [
    ([[0.0, 1.0]], np.array([0]), "logits in an array, got list"),
    (np.zeros((1, 2)), [0], "labels in an array, got list"),
    (None, None, "logits in an array, got NoneType"),
])  # fmt: skip
def test_what_is_no_array_is_refused_by_name(logits, labels, words, loss_form):
    logits, labels = (on_device(a) if isinstance(a, np.ndarray) else a for a in (logits, labels))
    with refused(TypeError, "softmax_cross_entropy: expected ", words):
        loss_form(logits, labels)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_score_is_refused(shape, loss_form):
    with refused(ValueError, "softmax_cross_entropy: there is nothing to score", shape):
        loss_form(on_device(np.zeros(shape)), on_device(np.zeros(shape[0], int)))
    with refused(ValueError, "label_smoothing", "nan"):
        loss_form(on_device(np.zeros((1, 2))), on_device(np.zeros(1, int)), np.nan)


def by_hand(z, t, w, smoothing):
    """The loss, term by term, for t (N, C) or labels, as PyTorch defines it."""
    total = weights = 0.0
    for n, row in enumerate(z):
        hard = np.ndim(t[n]) == 0
        target = np.arange(len(row)) == t[n] if hard else t[n]
        sum_exp = sum(math.exp(score) for score in row)
        for c, score in enumerate(row):
            smoothed = (1 - smoothing) * target[c] + smoothing / len(row)
            total -= w[c] * smoothed * math.log(math.exp(score) / sum_exp)
        weights += w[t[n]] if hard else 1
    return total / weights


@pytest.mark.parametrize("smoothing", [0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_soft_targets_and_class_weights_by_definition(soft, weighted, smoothing, loss_form):
    rng = np.random.default_rng([soft, weighted])
    z, w = rng.standard_normal((5, 4)), rng.uniform(0, 3, 4) if weighted else None
    t = rng.dirichlet(np.ones(4), 5) if soft else rng.integers(0, 4, 5)
    weight = on_device(w) if weighted else None
    loss, dz = loss_form(on_device(z), on_device(t), smoothing, weight)
    assert_on_device(loss, dz)
    w = np.ones(4) if w is None else w
    assert float(loss) == pytest.approx(by_hand(z, t, w, smoothing), rel=1e-12)
    slope = numerical_gradient(lambda: by_hand(z, t, w, smoothing), z)
    assert_allclose(dz, slope, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equal_weights_and_one_hot_rows_are_the_labels(loss_form, dtype):
    digits = 1e-2 if dtype is np.float16 else 1e-6
    z = on_device(np.random.default_rng(0).standard_normal((6, 3)).astype(dtype))
    labels = np.arange(6) % 3
    want = loss_form(z, on_device(labels), 0.1)
    same = on_device(np.full(3, 7.0))
    one_hot = on_device(np.eye(3)[labels])
    for got in (
        loss_form(z, on_device(labels), 0.1, same),
        loss_form(z, one_hot, 0.1),
        loss_form(z, one_hot, 0.1, same / 7),
    ):
        for a, b in zip(got, want, strict=True):
            assert a.dtype == dtype
            assert_allclose(a, b, rtol=digits, atol=digits)


@pytest.mark.parametrize("weight", [[1.0, 2.0], np.ones(2), np.ones((1, 3)), 2.0])
def test_weights_that_are_not_one_per_class_are_refused(weight, loss_form):
    weight = on_device(weight) if isinstance(weight, np.ndarray) else weight
    with refused(ValueError, "softmax_cross_entropy: expected a weight per class"):
        loss_form(on_device(np.zeros((2, 3))), on_device(np.array([0, 1])), 0, weight)


@pytest.mark.parametrize("bad", [-1, np.nan, np.inf])
def test_weights_that_are_no_weights_are_refused(bad):
    with refused(ValueError, "weights must be numbers of 0 or more"):
        softmax_cross_entropy(np.zeros((2, 3)), np.array([0, 1]), weight=np.array([1, bad, 1]))
