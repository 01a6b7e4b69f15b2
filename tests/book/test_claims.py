"""What the chapters say in passing, without an example, holds too."""

import numpy as np
import pytest

from minialex.layers import Conv2d, LocalResponseNorm, MaxPool2d
from minialex.layers.conv import seven_loops
from minialex.params import zeros_like

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("K, S, P, H", [(2, 1, 0, 5), (3, 1, 1, 6), (3, 2, 1, 7), (5, 3, 2, 10)])
def test_the_flipped_kernel_with_channels_padding_and_stride(K, S, P, H):
    layer = Conv2d(3, 4, K, S, P, rng=RNG).to(dtype=np.float64)
    x = RNG.standard_normal((2, H, H, 3))
    y, cache = layer.forward(x)
    dy, W = RNG.standard_normal(y.shape), layer.params["weight"]
    dx = layer.backward(dy, cache, zeros_like(layer.params))
    N, OH, OW, F = dy.shape
    spread = np.zeros((N, (OH - 1) * S + 1, (OW - 1) * S + 1, F))
    spread[:, ::S, ::S] = dy  # S - 1 zeros between the numbers of dy
    flipped = W[::-1, ::-1].transpose(0, 1, 3, 2)  # the sum is over f now
    np.testing.assert_allclose(seven_loops(spread, flipped, np.zeros(3), 1, K - 1 - P), dx)


def test_nesterov_at_the_place_ahead_is_nesterov():
    bowl = np.array([1.0, 30.0])  # the gradient of sum(bowl * theta^2) / 2 is bowl * theta
    mu, lr = 0.9, 0.02
    theta, v = np.ones(2), np.zeros(2)
    ahead, u = np.ones(2), np.zeros(2)
    for _ in range(20):
        v = mu * v + bowl * (theta - lr * mu * v)
        theta = theta - lr * v
        g = bowl * ahead
        u = mu * u + g
        ahead = ahead - lr * (g + mu * u)
        np.testing.assert_allclose(ahead, theta - lr * mu * v)


def test_adams_first_step_without_its_correction():
    assert f"{(1 - 0.9) / (1 - 0.999) ** 0.5:.1f}" == "3.2"


def test_the_scale_of_lrn_alone():
    y = LocalResponseNorm()(np.full((1, 1, 1, 1), 1e-6))
    assert f"{y.item() / 1e-6:.2f}" == "0.59"


def test_where_a_window_of_a_pooling_may_lie():
    for K in (1, 3, 5):
        for H in range(1, 9):
            for P in range(K // 2 + 1):
                for S in (1, 2, 3):
                    outputs = MaxPool2d(K, S, P).output_shape((H, H, 1))[0] if H + 2 * P >= K else 0
                    assert all(0 <= p * S - P + K // 2 < H for p in range(outputs))


def test_a_large_network_by_trying_would_take_years():
    assert round(2 * 60e6 / (365 * 24 * 3600), 1) == 3.8  # at a second for each loss


def test_units_that_begin_equal_stay_equal():
    x, label = RNG.standard_normal((8, 3)), RNG.standard_normal((8, 1))
    W, w = np.full((3, 4), 0.5), np.full((4, 1), 0.5)
    for _ in range(10):
        h = np.tanh(x @ W)
        dy = (h @ w - label) / 8
        W, w = W - 0.1 * x.T @ (dy @ w.T * (1 - h * h)), w - 0.1 * h.T @ dy
    assert np.ptp(W, axis=1).max() < 1e-12 and np.ptp(w) < 1e-12
    assert np.ptp(W, axis=0).max() > 0.01
