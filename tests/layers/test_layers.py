"""The forward pass of every layer, plain and fast, against its definition in loops in float64."""

import math

import numpy as np
import pytest

from device import assert_allclose, assert_array_equal, assert_on_device, on_device, on_host
from layer_cases import FORMS, to_form
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from minialex.layers.conv import seven_loops
from minialex.params import zeros_like
from minialex.use.summary import multiply_adds

BOTH = pytest.mark.parametrize("form", ["plain", "auto"])


def conv_by_definition(x, weight, bias, S, P, G):
    """The formula of the page again, with groups: no array product, no padding, no im2col."""
    (N, H, W, C), (K, _, Cg, F) = x.shape, weight.shape
    OH, OW = (H + 2 * P - K) // S + 1, (W + 2 * P - K) // S + 1
    y = np.zeros((N, OH, OW, F))
    for n, p, q, f in np.ndindex(N, OH, OW, F):
        total = float(bias[f])
        first = f // (F // G) * (C // G)  # the first channel of the filter's group
        for i, j, c in np.ndindex(K, K, Cg):
            row, column = p * S + i - P, q * S + j - P
            if 0 <= row < H and 0 <= column < W:
                total += float(x[n, row, column, first + c]) * float(weight[i, j, c, f])
        y[n, p, q, f] = total
    return y


# N, H, W, C, F, K, S, P, G
CONVS = [
    (1, 1, 1, 1, 1, 1, 1, 0, 1), (2, 4, 3, 2, 3, 1, 1, 0, 1), (1, 5, 4, 2, 2, 2, 1, 0, 1),
    (2, 5, 6, 2, 3, 3, 1, 1, 1), (1, 6, 5, 4, 2, 3, 1, 0, 2), (2, 5, 5, 3, 6, 3, 1, 2, 3),
    (1, 7, 6, 2, 2, 5, 1, 2, 1), (1, 6, 7, 2, 2, 4, 1, 3, 2), (2, 7, 5, 2, 2, 3, 2, 0, 1),
    (1, 8, 7, 2, 4, 3, 2, 1, 2), (1, 9, 6, 2, 2, 4, 3, 2, 1), (1, 13, 12, 3, 2, 11, 4, 2, 1),
    (1, 2, 3, 1, 2, 1, 3, 0, 1), (1, 3, 3, 1, 1, 2, 1, 4, 1),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("N, H, W, C, F, K, S, P, G", CONVS)
def test_conv(N, H, W, C, F, K, S, P, G, form):
    if form == "winograd" and S > 1 and G > 1:
        pytest.skip("winograd with a stride has no groups")
    rng = np.random.default_rng([N, H, W, C, F, K, S, P, G])
    layer = Conv2d(C, F, K, S, P, G, rng=rng).to(dtype=np.float64)
    layer.params["bias"] = rng.standard_normal(F)
    x = rng.standard_normal((N, H, W, C))
    y = conv_by_definition(x, *layer.params.values(), S, P, G)
    ours = to_form(layer, form)(on_device(x))
    assert_allclose(ours, y, rtol=0, atol=1e-11 * abs(y).max())
    assert_on_device(ours)
    assert layer.output_shape((H, W, C)) == y.shape[1:]
    assert multiply_adds(layer, (H, W, C)) == y[0].size * K * K * C // G


@pytest.mark.parametrize("N, H, W, C, F, K, S, P", [case[:8] for case in CONVS if case[8] == 1])
def test_seven_loops_are_the_definition_and_the_page(N, H, W, C, F, K, S, P):
    rng = np.random.default_rng([N, H, W, C, F, K, S, P])
    layer = Conv2d(C, F, K, S, P, rng=rng).to(dtype=np.float64)
    layer.params["bias"] = rng.standard_normal(F)
    x = rng.standard_normal((N, H, W, C))
    y = seven_loops(x, *layer.params.values(), S, P)
    for other in (conv_by_definition(x, *layer.params.values(), S, P, 1), layer(x)):
        np.testing.assert_allclose(y, other, rtol=0, atol=1e-13 * abs(y).max())


@pytest.mark.parametrize(
    "form, S", [(form, S) for form in FORMS for S in (1, 2) if (form, S) != ("winograd", 2)]
)
def test_two_groups_are_two_half_convolutions_side_by_side(form, S):
    """The paper's two towers: each half of the filters sees its own half of the channels."""
    rng = np.random.default_rng(0)
    x, (C, F) = on_device(rng.standard_normal((3, 7, 6, 4))), (4, 6)
    both = Conv2d(C, F, 3, S, 1, groups=2, rng=rng).to(dtype=np.float64)
    both.params["bias"] = rng.standard_normal(F)
    to_form(both, form)
    y, cache = both.forward(x)
    dy, grad = on_device(rng.standard_normal(y.shape)), zeros_like(both.params)
    dx = both.backward(dy, cache, grad)
    for half in range(2):
        channels, filters = slice(2 * half, 2 * half + 2), slice(3 * half, 3 * half + 3)
        tower = Conv2d(C // 2, F // 2, 3, S, 1, rng=rng)
        tower.params = {name: both.params[name][..., filters].copy() for name in ("weight", "bias")}
        tower_y, cache = tower.forward(x[..., channels].copy())
        tower_grad = zeros_like(tower.params)
        tower_dx = tower.backward(dy[..., filters].copy(), cache, tower_grad)
        for ours, theirs in ((y[..., filters], tower_y), (dx[..., channels], tower_dx)):
            assert_allclose(ours, theirs, rtol=0, atol=1e-11)
        for name in ("weight", "bias"):
            assert_allclose(grad[name][..., filters], tower_grad[name], rtol=0, atol=1e-11)


def test_conv_works_through_large_batches_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    layer = to_form(Conv2d(2, 3, 3, rng=rng).to(dtype=np.float64), "im2col")
    x = on_device(rng.standard_normal((7, 5, 5, 2)))
    dy = on_device(rng.standard_normal((7, 3, 3, 3)))
    whole, parts = zeros_like(layer.params), zeros_like(layer.params)
    y, cache = layer.forward(x)
    dx = layer.backward(dy, cache, whole)
    monkeypatch.setattr("minialex.fast.conv.COLUMN_BYTES", 2 * 9 * 18 * 8)  # two images
    y2, cache = layer.forward(x)
    assert_allclose(y2, y, rtol=1e-13)
    assert_allclose(layer.backward(dy, cache, parts), dx, rtol=0, atol=1e-13)
    for name in whole:
        assert_allclose(parts[name], whole[name], rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_conv_gradient_with_a_weight_that_is_not_contiguous(form):
    rng = np.random.default_rng(0)
    layer = to_form(Conv2d(2, 3, 3, rng=rng), form)
    x = on_device(rng.standard_normal((2, 4, 4, 2)).astype(np.float32))
    y, cache = layer.forward(x)
    want = zeros_like(layer.params)
    layer.backward(np.ones_like(y), cache, want)
    layer.params["weight"] = layer.params["weight"].T.copy().T  # the last axis is the slowest
    grad = zeros_like(layer.params)
    layer.backward(np.ones_like(y), cache, grad)
    assert_allclose(grad["weight"], want["weight"], rtol=1e-5, atol=1e-5)


def test_initial_weights():
    for layer, D in (
        (Conv2d(32, 64, 5, groups=2, rng=np.random.default_rng(0)), 400),
        (Linear(400, 64, rng=np.random.default_rng(0)), 400),
    ):
        weight = layer.params["weight"]
        assert abs(weight.mean()) < 0.002
        assert weight.std() == pytest.approx(math.sqrt(2 / D), rel=0.02)
        assert not layer.params["bias"].any()
        assert weight.dtype == layer.params["bias"].dtype == np.float32
    again = Linear(400, 64, rng=np.random.default_rng(0)).params["weight"]
    assert np.array_equal(weight, again)
    small = Linear(400, 64, rng=np.random.default_rng(0), std=0.01).params["weight"]
    assert small.std() == pytest.approx(0.01, rel=0.02)


# ----------------------------------------------------------------------------------- pooling


def windows(x, K, S, P):
    """For each (n, p, q, c): the places (row, column) of its window in the image, in scan order."""
    N, H, W, C = x.shape
    for n, p, q, c in np.ndindex(N, (H + 2 * P - K) // S + 1, (W + 2 * P - K) // S + 1, C):
        places = [(p * S + i - P, q * S + j - P) for i in range(K) for j in range(K)]
        yield (n, p, q, c), [(r, s) for r, s in places if 0 <= r < H and 0 <= s < W]


POOLS = [
    (5, 5, 2, 2, 0),
    (7, 6, 3, 2, 0),
    (6, 7, 3, 1, 1),
    (4, 5, 2, 3, 1),
    (3, 3, 3, 3, 0),
    (5, 6, 1, 2, 0),
    (8, 8, 4, 2, 2),
]


@BOTH
@pytest.mark.parametrize("values", ["random", "ties", "negative"])
@pytest.mark.parametrize("H, W, K, S, P", POOLS)
def test_max_pool_and_its_gradient(H, W, K, S, P, values, form):
    rng = np.random.default_rng([H, W, K, S, P])
    x = rng.standard_normal((2, H, W, 3))
    x = {"random": x, "ties": np.maximum(np.round(x), 0), "negative": -5 - abs(x)}[values]
    layer = to_form(MaxPool2d(K, S, P), form)
    y, cache = layer.forward(on_device(x))
    y, dy = on_host(y), rng.standard_normal(y.shape)
    dx = np.zeros_like(x)
    for (n, p, q, c), places in windows(x, K, S, P):
        first = max(places, key=lambda place: x[n, *place, c])  # of equals, the first
        assert y[n, p, q, c] == x[n, *first, c]
        dx[n, *first, c] += dy[n, p, q, c]
    assert_allclose(layer.backward(on_device(dy), cache, {}), dx, rtol=0, atol=1e-14)
    assert layer.output_shape((H, W, 3)) == y.shape[1:]


@pytest.mark.parametrize("H, W, K, S, P", POOLS)
def test_avg_pool(H, W, K, S, P):
    x = np.random.default_rng([H, W, K, S, P]).standard_normal((2, H, W, 3))
    layer = AvgPool2d(K, S, P)
    y = on_host(layer(on_device(x)))
    for (n, p, q, c), places in windows(x, K, S, P):
        mean = sum(x[n, *place, c] for place in places) / K**2
        assert y[n, p, q, c] == pytest.approx(mean, abs=1e-14)
    assert layer.output_shape((H, W, 3)) == y.shape[1:]


def test_pools_step_by_their_size_unless_told():
    x = on_device(np.zeros((1, 6, 6, 1), dtype=np.float32))
    assert MaxPool2d(3)(x).shape == AvgPool2d(3)(x).shape == (1, 2, 2, 1)


# -------------------------------------------------------------------------------- the others


@BOTH
@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.1])
@pytest.mark.parametrize("C", [1, 2, 4, 9])
def test_lrn(size, beta, C, form):
    x = np.random.default_rng([size, C]).standard_normal((2, 2, 1, C))
    layer = to_form(LocalResponseNorm(size, alpha=0.9, beta=beta, k=1.5), form)
    y = on_host(layer(on_device(x)))
    for n, h, w, c in np.ndindex(x.shape):
        energy = sum(x[n, h, w, j] ** 2 for j in range(C) if abs(j - c) <= size // 2)
        want = x[n, h, w, c] / (1.5 + 0.9 * energy) ** beta
        assert y[n, h, w, c] == pytest.approx(want, rel=1e-12)


def test_lrn_defaults_are_the_papers():
    x = np.full((1, 1, 1, 5), 100.0)
    y = on_host(LocalResponseNorm()(on_device(x)))
    assert y[0, 0, 0, 2] == pytest.approx(100 * (2 + 1e-4 * 5e4) ** -0.75, rel=1e-12)


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations(dtype, form):
    values = np.array([-800, -40, -1.5, -0.0, 0.0, 1e-3, 1.5, 40, 800], dtype=dtype)
    x = on_device(values)
    assert_array_equal(to_form(ReLU(), form)(x), [max(0.0, v) for v in values])
    assert_allclose(Tanh()(x), [math.tanh(v) for v in values], rtol=1e-6)
    sigmoid = [1 / (1 + math.exp(-v)) if v > -700 else 0 for v in values.tolist()]
    assert_allclose(Sigmoid()(x), sigmoid, rtol=1e-6, atol=1e-7)


def test_relu_in_place():
    """Between two layers that leave it both its x and its dy."""
    rng = np.random.default_rng(0)
    chain = to_form(Sequential(Linear(2, 3, rng=rng), ReLU(), Linear(3, 1, rng=rng)), "auto")
    x, dy = on_device(np.array([-1.0, 0.0, 2.0])), on_device(np.array([1.0, 2.0, 3.0]))
    y, cache = chain[1].forward(x)
    dx = chain[1].backward(dy, cache, {})
    assert y is x and dx is dy
    assert_array_equal(y, [0, 0, 2])
    assert_array_equal(dx, [0, 0, 3])


@BOTH
def test_linear(form):
    rng = np.random.default_rng(0)
    layer = Linear(5, 3, rng=rng).to(dtype=np.float64)
    layer.params["bias"] = rng.standard_normal(3)
    weight, bias = layer.params.values()
    x = rng.standard_normal((4, 5))
    y = on_host(to_form(layer, form)(on_device(x)))
    for n, f in np.ndindex(4, 3):
        want = bias[f] + sum(x[n, d] * weight[d, f] for d in range(5))
        assert y[n, f] == pytest.approx(want, rel=1e-12)
    assert layer.output_shape((5,)) == (3,) and multiply_adds(layer, (5,)) == 15


def test_flatten():
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 3, 4, 5))
    flat = on_host(Flatten()(on_device(maps)))
    for n, h, w, c in np.ndindex(maps.shape):
        assert flat[n, c * 12 + h * 4 + w] == maps[n, h, w, c]
    assert flat.shape[1:] == Flatten().output_shape((3, 4, 5)) == (60,)
