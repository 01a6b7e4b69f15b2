"""Pages as they stand on CuPy, and their twins, against the same pages on NumPy: the same numbers.

Each layer is handed its arrays in three layouts, each kernel also with the indices of large arrays.
"""

import copy
import math

import cupy
import numpy as np
import pytest

from device import on_device, on_host
from minialex import gpu, losses, numerical_gradient, optim
from minialex.data.pixels import Finish
from minialex.gpu import kernel
from minialex.gpu import losses as gpu_losses
from minialex.gpu.pixels import finish
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from minialex.layers import conv as conv_page
from minialex.params import zeros_like
from minialex.philox import random_uint16
from minialex.twin import TWINS, Sealed

DTYPES = (np.float32, np.float64)
# N, H, W, C, K, S, P
WINDOWS = [
    (1, 1, 1, 1, 1, 1, 0), (2, 5, 4, 3, 3, 1, 1), (1, 7, 9, 2, 3, 2, 0), (3, 8, 6, 1, 2, 3, 1),
    (2, 6, 7, 5, 4, 2, 2), (1, 13, 12, 3, 11, 4, 2), (1, 5, 5, 2, 3, 5, 1), (2, 3, 11, 4, 2, 2, 0),
    (5, 4, 4, 7, 5, 1, 2),
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
    """`layer` with parameters of this dtype, and a bias that is not zero."""
    layer.params["bias"][...] = numbers(layer.params["bias"].shape, seed=7)
    return layer.to(dtype=dtype)


# ---------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, H, W, C, K, S, P", WINDOWS)
def test_im2col_and_col2im(N, H, W, C, K, S, P, dtype):
    x = numbers((N, H, W, C), dtype)
    X = conv_page.im2col(x, K, S, P)
    dX = numbers(X.shape, dtype, 1)
    dx = conv_page.col2im(dX, x.shape, S, P)
    for x_there, dX_there in layouts(x, dX):
        assert_same(conv_page.im2col(x_there, K, S, P), X)
        assert_same(conv_page.col2im(dX_there, x.shape, S, P), dx)
        assert_same(gpu.conv.im2col(x_there, K, S, P), X.reshape(-1, K * K * C))
    for (rows,) in layouts(dX.reshape(-1, K * K * C)):
        dx_there = spread(cupy.empty_like(on_device(x)), "strided")
        gpu.conv.col2im(rows, dx_there, K, S, P)
        assert_same(dx_there, dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("N, H, W, C, K, S, P", WINDOWS)
def test_conv(N, H, W, C, K, S, P, groups, dtype):
    layer = Conv2d(groups * C, 2 * 3, K, S, P, groups, rng=np.random.default_rng(5))
    x = numbers((N, H, W, groups * C), dtype)
    check(with_dtype(layer, dtype), x, tolerance=rounding(dtype, 32))


def test_a_convolution_that_passes_no_gradient_on_makes_the_same_gradients():
    layer, x = Conv2d(4, 6, 3, groups=2, rng=np.random.default_rng(5)), numbers((2, 5, 5, 4))
    _, twin = forms(layer)
    found = []
    for twin.input_grad in (True, False):
        y, cache = twin.forward(on_device(x))
        found.append(zeros_like(twin.params))
        dx = twin.backward(y, cache, found[-1])
        assert (dx is None) != twin.input_grad
    for key, value in found[0].items():
        assert_same(found[1][key], value)
        assert abs(value).max() > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, D, F", [(1, 1, 1), (3, 5, 2), (2, 1, 7), (1, 33, 9)])
def test_linear(N, D, F, dtype):
    layer = with_dtype(Linear(D, F, rng=np.random.default_rng(5)), dtype)
    check(layer, numbers((N, D), dtype), tolerance=rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("whole", [False, True])  # with whole numbers: equal maxima
@pytest.mark.parametrize("N, H, W, C, K, S, P", [w for w in WINDOWS if w[6] <= w[4] // 2])
def test_max_pool(N, H, W, C, K, S, P, whole, dtype):
    check(MaxPool2d(K, S, P), numbers((N, H, W, C), dtype, whole=whole))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, H, W, C, K, S, P", [w for w in WINDOWS if w[6] <= w[4] // 2])
def test_max_pool_with_nan_and_infinity(N, H, W, C, K, S, P, dtype):
    x = numbers((N, H, W, C), dtype)
    draw = np.random.default_rng(3).random(x.shape)
    x[draw < 0.5], x[draw < 0.15], x[draw < 0.02] = -math.inf, math.nan, math.inf
    check(MaxPool2d(K, S, P), x)


def winner(form, x):
    """Where the gradient of a single window goes: the index of the pixel."""
    y, cache = form.forward(on_device(np.asarray(x, np.float32)[None, :, :, None]))
    dx = form.backward(cupy.ones_like(y), cache, {})
    assert float(dx.sum()) == 1 and y.size == 1
    return tuple(int(i) for i in np.argwhere(on_host(dx)[0, :, :, 0])[0]), float(y[0, 0, 0, 0])


@pytest.mark.parametrize("form", list(forms(MaxPool2d(2))), ids=["page", "twin"])
def test_the_first_nan_of_a_window_wins(form):
    nan = math.nan
    for x, where in (
        ([[1, nan], [nan, math.inf]], (0, 1)),
        ([[-math.inf, 5], [6, nan]], (1, 1)),
        ([[nan, nan], [nan, nan]], (0, 0)),
    ):
        found, y = winner(form, x)
        assert found == where and math.isnan(y)


@pytest.mark.parametrize("form", list(forms(MaxPool2d(3, padding=1))), ids=["page", "twin"])
def test_of_a_window_of_minus_infinity_the_first_pixel_inside_the_image_wins(form):
    assert winner(form, np.full((1, 1), -math.inf)) == ((0, 0), -math.inf)
    assert winner(form, np.full((2, 2), -math.inf)) == ((0, 0), -math.inf)
    assert winner(form, [[-math.inf, -3e38], [-math.inf, -3e38]])[0] == (0, 1)


def test_a_wide_window_notes_its_winner():
    x = np.zeros((1, 20, 20, 1), dtype=np.float32)
    x[0, 19, 18] = 1  # number 398 of the window: more than 8 bits
    for form in forms(MaxPool2d(20)):
        y, cache = form.forward(on_device(x))
        dx = form.backward(y, cache, {})
        assert float(dx[0, 19, 18, 0]) == 1 == float(dx.sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, H, W, C, K, S, P", [w for w in WINDOWS if w[6] <= w[4] // 2])
def test_average_pool(N, H, W, C, K, S, P, dtype):
    check(AvgPool2d(K, S, P), numbers((N, H, W, C), dtype), tolerance=rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu(dtype):
    shape = (3, 5, 7)
    check(ReLU(), numbers(shape, dtype, whole=True), numbers(shape, dtype, 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_relu_in_place_overwrites_x_and_dy(dtype):
    x, dy = numbers((3, 5, 7), dtype, whole=True), numbers((3, 5, 7), dtype, 1)
    y, _ = ReLU().forward(x)
    dx = ReLU().backward(dy, y, {})
    _, twin = forms(ReLU())
    twin.inplace = True
    for x_there, dy_there in layouts(x, dy):
        y_there, cache = twin.forward(x_there)
        assert y_there is x_there
        assert_same(y_there, y)
        assert twin.backward(dy_there, cache, {}) is dy_there
        assert_same(dy_there, dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_closed_units_stop_everything_and_nan_passes_dy(inplace, dtype):
    inf, nan = math.inf, math.nan
    values = (-inf, -1, -0.0, 0, 1, inf, nan)
    x, dy = (v.ravel().astype(dtype) for v in np.meshgrid(values, values))
    expected = np.where(x <= 0, 0, dy)
    np.testing.assert_array_equal(ReLU().backward(dy, ReLU()(x), {}), expected)
    for form in forms(ReLU()):
        form.inplace = inplace
        y, cache = form.forward(on_device(x.copy()))
        assert_same(y, np.maximum(x, 0))
        assert_same(form.backward(on_device(dy.copy()), cache, {}), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Tanh, Sigmoid])
def test_other_activations(kind, dtype):
    check(kind(), 20 * numbers((3, 5, 7), dtype), tolerance=rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size, C", [(1, 3), (3, 1), (3, 4), (5, 2), (5, 9), (7, 16)])
@pytest.mark.parametrize("beta", [0.75, 0.5])
def test_lrn(size, C, beta, dtype):
    layer = LocalResponseNorm(size, alpha=0.7, beta=beta, k=1.5)
    check(layer, numbers((2, 3, 2, C), dtype), tolerance=rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_flatten(dtype):
    check(Flatten(), numbers((2, 3, 4, 5), dtype))


# ---------------------------------------------------------------------------------- dropout

NUMBERS = kernel.Kernel(
    "dropout.cu", "numbers", gpu.dropout.PLACE, "uint16 n",
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
    twin = {twin.page: twin for twin in gpu.OPTIMIZERS}[kind]
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
