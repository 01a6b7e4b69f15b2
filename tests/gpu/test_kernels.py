"""Every kernel of our own against the plain form on its page, which runs here on both devices."""

import re

import cupy
import numpy as np
import pytest

from device import on_device, on_host
from minialex import backend, losses, optim, philox
from minialex.gpu.kernel import Kernel
from minialex.layers import Dropout, LocalResponseNorm, MaxPool2d, ReLU, activations, conv, dropout, lrn, pool
from minialex.layers.conv import col2im, im2col
from minialex.layers.dropout import silence
from minialex.losses import loss_and_gradient
from minialex.optim import SGD, Adam
from minialex.philox import plain_uint16, random_uint16

DTYPES = (np.float32, np.float64)
# N, H, W, C, K, S, P
WINDOWS = [
    (1, 1, 1, 1, 1, 1, 0), (2, 5, 4, 3, 3, 1, 1), (1, 7, 9, 2, 3, 2, 0), (3, 8, 6, 1, 2, 3, 1),
    (2, 6, 7, 5, 4, 2, 2), (1, 13, 12, 3, 11, 4, 2), (1, 5, 5, 2, 3, 5, 1), (2, 3, 11, 4, 2, 2, 0),
    (5, 4, 4, 7, 5, 1, 2),
]  # fmt: skip


@pytest.fixture(params=["int", "long long"], autouse=True)
def index(request, monkeypatch):
    """Each test with indices of 32 bits, and with those that arrays above 2^31 numbers get."""
    if request.param == "long long":
        monkeypatch.setattr(backend, "LARGEST_INT32", 0)
    return request.param


def spread(x, way):
    """x as it is, as every second number, or with its axes in the opposite order in memory."""
    if way == "contiguous":
        return x
    if way == "strided":
        return (
            np.stack((x, x), axis=-1)[..., 0] if isinstance(x, np.ndarray) else cupy.stack((x, x), axis=-1)[..., 0]
        )
    return x.T.copy().T


def numbers(shape, dtype=np.float32, seed=0, whole=False):
    x = np.random.default_rng(seed).standard_normal(shape)
    return (np.round(x) if whole else x).astype(dtype)


def layouts(*arrays):
    """The arrays on the device, in each layout."""
    for way in ("contiguous", "strided", "reversed"):
        yield [spread(on_device(a), way) for a in arrays]


def assert_same(ours, theirs, tolerance=0.0):
    """Of one dtype and shape, on the device, and equal to the last bit or within `tolerance` of the largest."""
    assert isinstance(ours, cupy.ndarray) and ours.dtype == theirs.dtype and ours.shape == theirs.shape
    ours, theirs = on_host(ours), on_host(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * abs(theirs).max(initial=0))


def rounding(dtype):
    return 8 * float(np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, H, W, C, K, S, P", WINDOWS)
def test_im2col_and_col2im(N, H, W, C, K, S, P, dtype):
    x = numbers((N, H, W, C), dtype)
    X = im2col(x, K, S, P).copy()
    dX, dx = numbers(X.shape, dtype, 1), np.empty_like(x)
    col2im(dX, dx, K, S, P)
    for x_there, dX_there in zip(layouts(x), layouts(dX), strict=True):
        dx_there, plain = (spread(cupy.empty_like(on_device(x)), "strided") for _ in range(2))
        assert_same(im2col(*x_there, K, S, P), X)
        assert_same(im2col.plain(*x_there, K, S, P), X)
        col2im(*dX_there, dx_there, K, S, P)
        col2im.plain(*dX_there, plain, K, S, P)
        assert_same(dx_there, dx)
        assert_same(plain, dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("whole", [False, True])  # with whole numbers: equal maxima
@pytest.mark.parametrize("N, H, W, C, K, S, P", [w for w in WINDOWS if w[6] <= w[4] // 2])
def test_max_pool(N, H, W, C, K, S, P, whole, dtype):
    layer, x = MaxPool2d(K, S, P), numbers((N, H, W, C), dtype, whole=whole)
    y, cache = layer.forward(x)
    dy = numbers(y.shape, dtype, 1)
    dx = layer.backward(dy, cache, {})
    for x_there, dy_there in layouts(x, dy):
        for forward, backward in (
            (MaxPool2d.forward, MaxPool2d.backward), (MaxPool2d.forward.plain, MaxPool2d.backward.plain)
        ):  # fmt: skip
            y_there, cache = forward(layer, x_there)
            assert_same(y_there, y)
            assert_same(backward(layer, dy_there, cache, {}), dx)


def test_a_wide_window_notes_its_winner():
    x = np.zeros((1, 20, 20, 1), dtype=np.float32)
    x[0, 19, 18] = 1  # number 398 of the window: more than 8 bits
    layer = MaxPool2d(20)
    y, cache = layer.forward(on_device(x))
    dx = layer.backward(y, cache, {})
    assert float(dx[0, 19, 18, 0]) == 1 == float(dx.sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_relu(inplace, dtype):
    layer, x, dy = ReLU(inplace), numbers((3, 5, 7), dtype, whole=True), numbers((3, 5, 7), dtype, 1)
    y, _ = ReLU().forward(x)
    dx = ReLU().backward(dy, y, {})
    for y_there, dy_there in layouts(y, dy):
        plain = ReLU.backward.plain(layer, dy_there.copy(), y_there, {})
        ours = layer.backward(dy_there, y_there, {})
        assert_same(ours, dx)
        assert_same(plain, dx)
        assert (ours is dy_there) == inplace


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size, C", [(1, 3), (3, 1), (3, 4), (5, 2), (5, 9), (7, 16)])
@pytest.mark.parametrize("beta", [0.75, 0.5])
def test_lrn(size, C, beta, dtype):
    layer, x = LocalResponseNorm(size, alpha=0.7, beta=beta, k=1.5), numbers((2, 3, 2, C), dtype)
    y, cache = layer.forward(x)
    dy = numbers(y.shape, dtype, 1)
    dx = layer.backward(dy, cache, {})
    for x_there, dy_there in layouts(x, dy):
        for forward, backward in (
            (LocalResponseNorm.forward, LocalResponseNorm.backward),
            (LocalResponseNorm.forward.plain, LocalResponseNorm.backward.plain),
        ):
            y_there, cache = forward(layer, x_there)
            assert_same(y_there, y, rounding(dtype))
            assert_same(backward(layer, dy_there, cache, {}), dx, rounding(dtype))


@pytest.mark.parametrize("first, size", [(0, 0), (0, 1), (0, 1003), (5, 3), (7, 100), (8, 9), ((1 << 32) - 3, 9)])
@pytest.mark.parametrize("step", [0, (1 << 40) + 5])
def test_philox(first, size, step):
    place = {"seed": 3 << 33 | 7, "stream": 2, "step": step, "first": first}
    here = random_uint16(np, size, **place)
    assert_same(random_uint16(cupy, size, **place), here)
    assert_same(plain_uint16(cupy, size, **place), here)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0, 1, 19661, 32768, 65535, None])
def test_dropout(threshold, dtype):
    x, n = numbers((3, 5, 7), dtype), random_uint16(np, 105, seed=1, stream=2, step=3)
    threshold = int(n[50]) if threshold is None else threshold  # a number that lies on the threshold stays
    y, m = silence(x, n, threshold)
    for (x_there,) in layouts(x):
        for form in (silence, silence.plain):
            ours = form(x_there, on_device(n), threshold)
            assert_same(ours[0], y)
            assert_same(ours[1], m)
    layer = Dropout(threshold / 65536, seed=1, stream=2)
    layer.set_step(3)
    assert_same(layer(on_device(x)), y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, C", [(1, 2), (5, 1), (3, 10), (7, 33)])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(N, C, smoothing, dtype):
    logits, labels = 30 * numbers((N, C), dtype), np.arange(N) * 5 % C
    loss, dlogits = loss_and_gradient(logits, labels, smoothing)
    for kind in (np.int64, np.int32, np.uint8):
        for (there,) in layouts(logits):
            for form in (loss_and_gradient, loss_and_gradient.plain):
                ours = form(there, on_device(labels.astype(kind)), smoothing)
                assert_same(ours[0], loss, rounding(dtype))
                assert_same(ours[1], dlogits, rounding(dtype))


def test_a_label_outside_counts_as_no_class():
    logits = on_device(numbers((2, 3)))
    for label in (-1, 3, 1 << 40):
        labels = on_device(np.array([1, label]))
        for ours, theirs in zip(
            loss_and_gradient(logits, labels, 0.1), loss_and_gradient.plain(logits, labels, 0.1), strict=True
        ):
            assert_same(ours, theirs, rounding(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "kind, options",
    [
        (SGD, {}), (SGD, {"momentum": 0.5, "weight_decay": 0.1}),
        (Adam, {}), (Adam, {"weight_decay": 0.1}), (Adam, {"weight_decay": 0.1, "decoupled": True}),
    ],
)  # fmt: skip
def test_optimizers(kind, options, dtype):
    theta, gradients = numbers(1001, dtype), [numbers(1001, dtype, seed) for seed in (1, 2, 3)]
    here = kind(theta.copy(), lr=0.01, **options)
    fused, plain = (kind(on_device(theta.copy()), lr=0.01, **options) for _ in range(2))
    for g in gradients:
        here.step(g)
        fused.step(on_device(g))
        plain.t += 1
        kind.update.plain(plain, slice(None), on_device(g), 0.01)
    for there in (fused, plain):
        assert_same(there.theta, here.theta, rounding(dtype))
        for name, vector in here.state.items():
            assert_same(there.state[name], vector, rounding(dtype))


def test_arrays_above_two_billion_numbers_get_wide_indices():
    last = Kernel(
        "last", "raw T x", "T y", "const Index k = 2147483648 + i; y = k - 2147483648 == i ? x[k] : T(0)"
    )
    ones, y = cupy.broadcast_to(cupy.ones(1, dtype=np.float32), (1 << 31) + 3), cupy.empty(3, dtype=np.float32)
    last(ones, y)
    assert y.tolist() == [1, 1, 1] and list(last._compiled) == ["long long"]


def test_the_index_is_as_wide_as_it_must_be(index):
    double = Kernel("double", "T x", "T y", "y = x + x")
    y = cupy.empty(3, dtype=np.float32)
    double(cupy.ones(3, dtype=np.float32), y)
    assert y.tolist() == [2, 2, 2] and list(double._compiled) == [index]


# What the emulated device cannot show, read off the sources: a float64 that rounds to the same float32, and an
# index that would need two billion numbers to go wrong.
PAGES = (activations, conv, dropout, losses, lrn, optim, philox, pool)
OWN = {kernel.name: kernel.functions + kernel.body for page in PAGES for kernel in vars(page).values()
       if isinstance(kernel, Kernel)}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_no_constant_in_a_kernel_is_a_float64(name):
    assert re.findall(r"(?<!\bT\()\b\d+(?:\.\d*|e-?\d)(?!\d*f)", OWN[name]) == []


@pytest.mark.parametrize("name", OWN)
def test_what_numbers_an_array_is_an_index(name):
    """The number of an output, and that of an image, which is what is left of it at last."""
    assert re.findall(r"\b(?:int|unsigned|short) \w+ = (?:i;|k /).*", OWN[name]) == []
