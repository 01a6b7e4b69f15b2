"""NaN, infinities, images that must not see each other, and gradients written to odd arrays."""

import math

import numpy as np
import pytest

from cores import cores
from device import assert_array_equal, on_device, on_host
from layer_cases import FORMS, to_form
from minialex.layers import (
    Conv2d,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
)
from minialex.models import AlexNet
from minialex.params import named_arrays, zeros_like

BOTH = pytest.mark.parametrize("form", ["plain", "auto"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
inf, nan = math.inf, math.nan


def rng():
    return np.random.default_rng(0)


# --------------------------------------------------------------------------------- NaN, infinity


def relu(form, x, dy, inplace):
    """y and dx of a ReLU."""
    layer = to_form(ReLU(), form)
    if inplace:
        layer.inplace = True
    y, cache = layer.forward(on_device(x.copy()))
    return on_host(y).copy(), on_host(layer.backward(on_device(dy.copy()), cache, {}))


@DTYPES
@pytest.mark.parametrize("form, inplace", [("plain", False), ("auto", False), ("auto", True)])
def test_a_closed_unit_gets_0_whatever_dy_is_and_a_nan_passes_dy(form, inplace, dtype):
    special = [0.0, -0.0, 1.5, -1.5, inf, -inf, nan]
    x, dy = (a.ravel().astype(dtype) for a in np.meshgrid(special, special))
    y, dx = relu(form, x, dy, inplace)
    want_y = np.where(np.isnan(x), x, np.where(x > 0, x, 0))
    want = np.where(x <= 0, 0, dy)  # so a NaN passes dy
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_array_equal(dx, want)


@BOTH
@DTYPES
def test_the_left_tail_of_the_sigmoid_and_its_gradient_keep_their_digits(form, dtype):
    v = np.array([-1, -5, -17, -20, -40, -80], dtype)
    want = np.exp(v.astype(np.float64)) / (1 + np.exp(v.astype(np.float64)))
    layer = to_form(Sigmoid(), form)
    y, cache = layer.forward(on_device(v))
    dx = layer.backward(on_device(np.ones_like(v)), cache, {})
    digits = 100 * np.finfo(dtype).eps  # exp() of -80 errs by 80 times what its argument does
    np.testing.assert_allclose(on_host(y), want, rtol=digits)
    np.testing.assert_allclose(on_host(dx), want * (1 - want), rtol=digits)


def max_pool_by_definition(x, dy, K, S, P):
    """y and dx: the first NaN of a window wins it, else the first of the largest in the image."""
    y, dx = np.empty_like(dy), np.zeros_like(x)
    for n, p, q, c in np.ndindex(dy.shape):
        inside = [
            (n, h, w, c)
            for h in range(p * S - P, p * S - P + K)
            for w in range(q * S - P, q * S - P + K)
            if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]
        ]
        nans = [at for at in inside if np.isnan(x[at])]
        winner = nans[0] if nans else max(inside, key=lambda at: x[at])
        y[n, p, q, c] = x[winner]
        dx[winner] += dy[n, p, q, c]
    return y, dx


WINDOWS = [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 1, 1), (4, 3, 2), (1, 2, 0)]


@BOTH
@DTYPES
@pytest.mark.parametrize("K, S, P", WINDOWS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_a_nan_wins_its_window_and_of_infinities_the_first_inside(K, S, P, share, dtype, form):
    numbers = np.random.default_rng([K, S, P, int(100 * share)])
    x = np.round(numbers.standard_normal((5, 7, 6, 3))).astype(dtype)
    x[0, numbers.random(x.shape[1:]) < share] = nan
    x[1, numbers.random(x.shape[1:]) < share] = -inf
    x[2, numbers.random(x.shape[1:]) < share] = inf
    x[3] = numbers.choice([nan, inf, -inf, 1], x.shape[1:])
    layer = to_form(MaxPool2d(K, S, P), form)
    y, cache = layer.forward(on_device(x))
    dy = np.round(4 * numbers.standard_normal(y.shape)).astype(dtype)
    dx = on_host(layer.backward(on_device(dy), cache, {}))
    want_y, want_dx = max_pool_by_definition(x, dy, K, S, P)
    np.testing.assert_array_equal(on_host(y), want_y)
    np.testing.assert_array_equal(dx, want_dx)


@BOTH
@pytest.mark.parametrize("K, S, P", WINDOWS)
def test_windows_of_nothing_but_minus_infinity_or_nan(K, S, P, form):
    for value in (-inf, nan):
        x = np.full((2, 7, 6, 2), value, dtype=np.float32)
        layer = to_form(MaxPool2d(K, S, P), form)
        y, cache = layer.forward(on_device(x))
        dy = np.arange(1.0, 1 + y.size, dtype=np.float32).reshape(y.shape)
        dx = on_host(layer.backward(on_device(dy), cache, {}))
        want_y, want_dx = max_pool_by_definition(x, dy, K, S, P)
        np.testing.assert_array_equal(on_host(y), want_y)
        np.testing.assert_array_equal(dx, want_dx)
        assert dx.sum() == dy.sum()  # none of it is lost


@BOTH
def test_an_infinite_dy_of_a_pooling_goes_to_the_winner_alone(form):
    x = np.maximum(rng().standard_normal((2, 5, 5, 2)), 0)
    layer = to_form(MaxPool2d(3, 2), form)
    y, cache = layer.forward(on_device(x))
    dy = np.ones(y.shape)
    dy[0, 0, 0, 0], dy[0, 1, 1, 1], dy[1, 1, 0, 0] = inf, nan, -inf
    dx = on_host(layer.backward(on_device(dy), cache, {}))
    np.testing.assert_array_equal(dx, max_pool_by_definition(x, dy, 3, 2, 0)[1])
    assert np.isfinite(dx).sum() == dx.size - 3


# -------------------------------------------------------------------- images apart from each other


def convolutions(side, K):
    """A network for images of this side, with convolutions that tiles could mix."""
    padding = K // 2
    return Sequential(
        Conv2d(3, 8, K, padding=padding, rng=rng()), ReLU(), LocalResponseNorm(3, 1.0),
        Conv2d(8, 6, K, padding=padding, groups=2, rng=rng()), ReLU(), MaxPool2d(2),
        Conv2d(6, 4, K, padding=padding, rng=rng()), Flatten(),
        Linear(4 * (side // 2) ** 2, 7, rng=rng()),
    )  # fmt: skip


def strange(x):
    """One image of nothing but NaN, and one that is a million times brighter."""
    x = x.copy()
    x[1], x[3] = nan, 1e6 * x[3]
    return x


def alone(network, x):
    return np.concatenate([on_host(network(on_device(image[None]))) for image in x])


def assert_apart(network, x):
    """The logits of each image are those that it has alone, whatever the others are."""
    others = [i for i in range(len(x)) if i not in (1, 3)]
    want = alone(network, x)
    size = abs(want[others]).max()
    for call in (network, lambda x: network.forward(x)[0]):
        got = on_host(call(on_device(strange(x))))
        np.testing.assert_allclose(got[others], want[others], rtol=0, atol=1e-5 * size)
        assert np.isnan(got[1]).all() and np.isfinite(got[3]).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("K", [3, 5])
@pytest.mark.parametrize("side", [5, 8, 9, 13])
@pytest.mark.parametrize("N", [4, 5, 9])
def test_images_of_a_batch_do_not_affect_each_other(form, side, K, N):
    x = np.random.default_rng([side, K]).standard_normal((N, side, side, 3), dtype=np.float32)
    assert_apart(to_form(convolutions(side, K), form), x)


@pytest.mark.parametrize("form", FORMS)
def test_images_of_a_batch_do_not_affect_each_other_in_alexnet(form):
    network = AlexNet(3, "ungrouped", lrn=True, width=1 / 8, image_size=67, seed=1).train(False)
    x = rng().standard_normal((6, 67, 67, 3), dtype=np.float32)
    with cores(2):
        assert_apart(to_form(network, form), x)


# ------------------------------------------------------------------------------------ odd arrays


def odd(array, way):
    """Zeros of this shape, not contiguous: the axes reversed, or every second number."""
    if way == "transposed":
        return np.zeros_like(array, shape=array.shape[::-1]).T
    return np.zeros_like(array, shape=(*array.shape, 2))[..., 0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["transposed", "every second"])
@pytest.mark.parametrize("layer, shape", [
    (lambda: Conv2d(4, 6, 3, padding=1, groups=2, rng=rng()), (2, 5, 6, 4)),
    (lambda: Conv2d(3, 5, 4, stride=2, rng=rng()), (2, 9, 8, 3)),
    (lambda: Conv2d(8, 16, 3, padding=1, rng=rng()), (3, 20, 20, 8)),
    (lambda: Linear(5, 4, rng=rng()), (3, 5)),
    (lambda: Linear(700, 900, rng=rng()), (8, 700)),
    (lambda: Linear(900, 700, rng=rng()), (8, 900)),
    (lambda: convolutions(6, 3), (5, 6, 6, 3)),
])  # fmt: skip
def test_gradients_arrive_in_arrays_that_are_not_contiguous(layer, shape, way, form):
    layer = to_form(layer().to(dtype=np.float64), form)
    y, cache = layer.forward(on_device(rng().standard_normal(shape)))
    want, grad = zeros_like(layer.params), zeros_like(layer.params)
    for owner, key, _ in named_arrays(grad):
        owner[key] = odd(owner[key], way)
    dy = on_device(rng().standard_normal(y.shape))
    layer.backward(dy.copy(), cache, want)
    y, cache = layer.forward(on_device(rng().standard_normal(shape)))  # in place, dy is gone
    layer.backward(dy.copy(), cache, grad)
    for (owner, key, name), (other, _, _) in zip(
        named_arrays(grad), named_arrays(want), strict=True
    ):
        size = float(abs(other[key]).max())
        assert size > 0, name
        np.testing.assert_allclose(
            on_host(owner[key]), on_host(other[key]), rtol=0, atol=1e-12 * size, err_msg=name
        )
    assert_array_equal(y, layer.forward(on_device(rng().standard_normal(shape)))[0])
