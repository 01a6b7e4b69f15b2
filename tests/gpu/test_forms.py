"""Layers: the page on CuPy and the twin, against the page on NumPy, in each layout."""

import copy
import math

import cupy
import numpy as np
import pytest

from device import on_device, on_host
from forms import (  # noqa: F401
    DTYPES,
    POOL_WINDOWS,
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
from minialex import gpu
from minialex.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from minialex.layers import conv as conv_page
from minialex.params import zeros_like

# ---------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, H, W, C, K, S, P", WINDOWS)
def test_im2col_and_col2im(N, H, W, C, K, S, P, dtype):
    x = numbers((N, H, W, C), dtype)
    layer, X = Conv2d(C, 1, K, S, P, rng=np.random.default_rng(5)), conv_page.im2col(x, K, S, P)
    rows_of_X = (math.prod(X.shape[:3]), math.prod(X.shape[3:]))
    dX = numbers(X.shape, dtype, 1)
    dx = conv_page.col2im(dX, x.shape, S, P)
    for x_there, dX_there in layouts(x, dX):
        assert_same(conv_page.im2col(x_there, K, S, P), X)
        assert_same(conv_page.col2im(dX_there, x.shape, S, P), dx)
        assert_same(gpu.conv.im2col(layer, x_there), X.reshape(rows_of_X))
    for (rows,) in layouts(dX.reshape(rows_of_X)):
        dx_there = spread(cupy.empty_like(on_device(x)), "strided")
        gpu.conv.col2im(layer, rows, dx_there)
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
def test_without_a_bias(dtype):
    layer = Conv2d(4, 6, (3, 2), groups=2, bias=False, rng=np.random.default_rng(5))
    check(layer.to(dtype=dtype), numbers((2, 5, 5, 4), dtype), tolerance=rounding(dtype, 32))
    layer = Linear(5, 2, bias=False, rng=np.random.default_rng(5))
    check(layer.to(dtype=dtype), numbers((3, 5), dtype), tolerance=rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, D, F", [(1, 1, 1), (3, 5, 2), (2, 1, 7), (1, 33, 9)])
def test_linear(N, D, F, dtype):
    layer = with_dtype(Linear(D, F, rng=np.random.default_rng(5)), dtype)
    check(layer, numbers((N, D), dtype), tolerance=rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("whole", [False, True])  # with whole numbers: equal maxima
@pytest.mark.parametrize("N, H, W, C, K, S, P", POOL_WINDOWS)
def test_max_pool(N, H, W, C, K, S, P, whole, dtype):
    check(MaxPool2d(K, S, P), numbers((N, H, W, C), dtype, whole=whole))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, H, W, C, K, S, P", POOL_WINDOWS)
def test_max_pool_over_the_edge(N, H, W, C, K, S, P, dtype):
    check(MaxPool2d(K, S, P, ceil_mode=True), numbers((N, H, W, C), dtype, whole=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N, H, W, C, K, S, P", POOL_WINDOWS)
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
@pytest.mark.parametrize("N, H, W, C, K, S, P", POOL_WINDOWS)
def test_average_pool(N, H, W, C, K, S, P, dtype):
    check(AvgPool2d(K, S, P), numbers((N, H, W, C), dtype), tolerance=rounding(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [
    AdaptiveAvgPool2d((2, 3)), GlobalAvgPool2d(), LeakyReLU(0.1), BatchNorm2d(4),
])  # fmt: skip
def test_younger_layers(layer, dtype):
    layer = copy.deepcopy(layer).to(dtype=dtype)
    check(layer, numbers((3, 5, 7, 4), dtype), tolerance=rounding(dtype, 32))


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
