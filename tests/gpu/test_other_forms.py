"""Dropout, loss, optimizers, pixels: the page on CuPy and the twin, against the page on NumPy."""

import math

import cupy
import numpy as np
import pytest

from device import on_device, on_host
from forms import (  # noqa: F401
    DTYPES,
    WINDOWS,
    assert_same,
    check,
    forms,
    index,
    layouts,
    numbers,
    rounding,
    spread,
    strided_grad,
    with_dtype,
)
from minialex import losses, numerical_gradient, optim
from minialex.data.pixels import Finish
from minialex.gpu import dropout as gpu_dropout
from minialex.gpu import kernel
from minialex.gpu import losses as gpu_losses
from minialex.gpu.pixels import finish
from minialex.layers import (
    Dropout,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
)
from minialex.philox import random_uint16
from minialex.twin import OPTIMIZER_TWINS, Sealed

# ---------------------------------------------------------------------------------- dropout

NUMBERS = kernel.Kernel(
    "dropout.cu", "numbers", gpu_dropout.PLACE, "uint16 n",
    "n = philox(first + i, step0, step1, stream, key0, key1)",
)  # fmt: skip
LOW = 0xFFFFFFFF


@pytest.mark.parametrize(
    "first, size",
    [(0, 0), (0, 1), (0, 1003), (5, 3), (7, 100), (8, 9), ((1 << 32) - 3, 9)],
)
@pytest.mark.parametrize("step", [0, (1 << 40) + 5])
def test_random_numbers(first, size, step):
    x, seed, stream = np.zeros(size, np.float32), 3 << 33 | 7, 2
    here = random_uint16(x, seed, stream, step, first)
    assert_same(random_uint16(on_device(x), seed, stream, step, first), here)
    there = cupy.empty(size, np.uint16)
    NUMBERS(first, step & LOW, step >> 32, stream, seed & LOW, seed >> 32, there)
    assert_same(there, here)


def dropout(p, step=3, first=0):
    layer = Dropout(p, seed=1)
    layer.stream = 2
    layer.set_step(step, first)
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0, 1, 19661, 32768, 65535, None])
def test_dropout(threshold, dtype):
    x = numbers((3, 5, 7), dtype)
    if threshold is None:  # a number that lies on the threshold stays
        threshold = int(random_uint16(x, seed=1, stream=2, step=3).flat[50])
    check(dropout(threshold / 65536), x)


@pytest.mark.parametrize("step, first", [(0, 0), (1 << 40, 0), (5, 7), ((1 << 33) + 1, 1 << 20)])
def test_dropout_of_any_step_and_place(step, first):
    check(dropout(0.3, step, first), numbers((4, 3, 5)))


def test_dropout_counts_its_steps_on_every_device():
    x = np.ones((4, 9), np.float32)
    layer = dropout(0.5)
    there = list(forms(layer))
    masks = [layer(x) for _ in range(3)]
    assert not np.array_equal(masks[0], masks[1])
    for form in there:
        for mask in masks:
            assert_same(form(on_device(x)), mask)


def test_dropout_in_evaluation_changes_nothing():
    x = numbers((3, 4))
    check(dropout(0.5).train(False), x)
    check(dropout(0.0), x)
    for form in forms(dropout(0.5)):
        assert_same(form.train(False)(on_device(x)), x)


# --------------------------------------------------------------------- loss, optimizers, pixels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, C", [(1, 2), (5, 1), (3, 10), (7, 33)])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(N, C, smoothing, dtype):
    logits, labels = 30 * numbers((N, C), dtype), np.arange(N) * 5 % C
    loss, dlogits = losses.softmax_cross_entropy(logits, labels, smoothing)
    for kind in (np.int64, np.int32, np.uint8):
        for (there,) in layouts(logits):
            for form in (losses.softmax_cross_entropy, gpu_losses.softmax_cross_entropy):
                ours = form(there, on_device(labels.astype(kind)), smoothing)
                assert_same(ours[0], loss, rounding(dtype))
                assert_same(ours[1], dlogits, rounding(dtype))


def test_a_label_outside_counts_as_no_class():
    logits = on_device(numbers((2, 3)))
    for label in (-1, 3, 1 << 40):
        labels = on_device(np.array([1, label]))
        pair = [
            form(logits, labels, 0.1)
            for form in (losses.softmax_cross_entropy, gpu_losses.softmax_cross_entropy)
        ]
        for ours, theirs in zip(*pair, strict=True):
            assert_same(ours, theirs, rounding(np.float32))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_class_that_is_ruled_out_costs_all_where_it_is_right_and_nothing_elsewhere(smoothing):
    for scores in ([[0, -math.inf, 1]], [[-math.inf, 0, 1], [0, 1, -math.inf]]):
        logits, labels = np.array(scores, np.float32), np.array([1, 1][: len(scores)])
        loss, dlogits = losses.softmax_cross_entropy(logits, labels, smoothing)
        assert math.isinf(loss) == (smoothing > 0 or len(scores) == 1)
        assert np.isfinite(dlogits).all()
        for form in (losses.softmax_cross_entropy, gpu_losses.softmax_cross_entropy):
            ours = form(on_device(logits), on_device(labels), smoothing)
            assert_same(ours[0], loss, 0.0 if math.isinf(loss) else rounding(np.float32))
            assert_same(ours[1], dlogits, rounding(np.float32))


def test_a_score_of_nan_or_infinity_shows_in_loss_and_gradient():
    for score in (math.nan, math.inf):
        logits = on_device(np.array([[0, score, 1], [0, 1, 2]], np.float32))
        labels = on_device(np.array([0, 2]))
        for form in (losses.softmax_cross_entropy, gpu_losses.softmax_cross_entropy):
            loss, dlogits = form(logits, labels)
            assert math.isnan(float(loss))
            assert cupy.isnan(dlogits).tolist() == [[True] * 3, [False] * 3]


OPTIMIZERS = [
    (optim.SGD, {}), (optim.SGD, {"momentum": 0.5, "weight_decay": 0.1}),
    (optim.Adam, {}), (optim.Adam, {"weight_decay": 0.1}),
    (optim.Adam, {"weight_decay": 0.1, "decoupled": True}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, options", OPTIMIZERS)
def test_optimizers(kind, options, dtype):
    theta, gradients = numbers(1001, dtype), [numbers(1001, dtype, seed) for seed in (1, 2, 3)]
    here = kind(theta.copy(), lr=0.01, **options)
    twin = OPTIMIZER_TWINS[kind, "gpu"]
    there = [form(on_device(theta.copy()), lr=0.01, **options) for form in (kind, twin)]
    for g in gradients:
        here.step(g)
        for optimizer in there:
            optimizer.step(on_device(g))
    for optimizer in there:
        assert_same(optimizer.theta, here.theta, rounding(dtype))
        for name, vector in here.state.items():
            assert_same(optimizer.state[name], vector, rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_runs_where_the_gradient_is(dtype):
    for length in (0.5, 1e9):
        g = numbers(1001, dtype)
        there = on_device(g.copy())
        norm = optim.clip_gradient_norm(g, length)
        ours = optim.clip_gradient_norm(there, length)
        assert_same(ours, norm, rounding(dtype))
        assert_same(there, g, rounding(dtype))


@pytest.mark.parametrize("with_colours", [False, True])
def test_bytes_become_floats_to_the_bit(with_colours):
    form = Finish((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pixels = np.arange(2 * 9 * 17 * 3).reshape(2, 9, 17, 3).astype(np.uint8)
    colours = numbers((2, 3)) if with_colours else None
    here = form(pixels, colours)
    for (there,) in layouts(pixels):
        colours_there = None if colours is None else on_device(colours)
        assert_same(form(there, colours_there), here)
        assert_same(finish(form, there, colours_there), here)


def test_the_definition_of_a_gradient_runs_on_the_device():
    x = on_device(numbers((2, 3), np.float64))
    found = numerical_gradient.numerical_gradient(lambda: (x**3).sum(), x)
    np.testing.assert_allclose(found, on_host(3 * x**2), rtol=1e-8)


@pytest.mark.parametrize(
    "layer, shape, tolerance",
    [
        (MaxPool2d(3, 2, 1), (2, 5, 6, 3), 0.0),
        (ReLU(), (3, 5), 0.0),
        (dropout(0.3), (7, 9), 0.0),
        (LocalResponseNorm(3, alpha=0.7), (2, 3, 3, 5), rounding(np.float16)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kernels_take_half_precision(layer, shape, tolerance):
    check(layer, numbers(shape, np.float16), tolerance=tolerance)


def test_the_loss_of_a_large_batch_takes_half_precision():
    logits = numbers((70_000, 3), np.float16)
    labels = np.arange(70_000) % 3
    loss, dlogits = losses.softmax_cross_entropy(logits, labels)
    ours = gpu_losses.softmax_cross_entropy(on_device(logits), on_device(labels))
    assert_same(ours[0], loss, rounding(np.float16))
    assert_same(ours[1], dlogits, rounding(np.float16))
    assert abs(dlogits).max() > 0


# ------------------------------------------------------------------------------ twins themselves


def test_a_cache_of_the_page_is_refused_by_the_twin_and_back():
    x = on_device(numbers((1, 4, 4, 2)))
    page, twin = forms(MaxPool2d(2))
    _, of_page = page.forward(x)
    y, of_twin = twin.forward(x)
    assert type(of_twin) is Sealed
    for form, cache in ((page, of_twin), (twin, of_page)):
        with pytest.raises(ValueError, match="this cache was made by another form of the layer"):
            form.backward(y, cache, {})
