"""Strided convolutions as stride-1 ones over blocks of pixels: nothing lost, nothing added."""

import numpy as np
import pytest

from minialex.attach import accelerate, plain
from minialex.fast.space_to_depth import to_depth, to_space, weight_to_depth, weight_to_space
from minialex.layers import Conv2d
from minialex.params import zeros_like

BLOCKS = [(5, 7, 2, 1, (4, 5)), (9, 6, 4, 2, (2, 3)), (3, 3, 3, 0, (3, 2))]


@pytest.mark.parametrize("H, W, S, P, blocks", BLOCKS)
def test_to_space_is_the_transpose_of_to_depth(H, W, S, P, blocks):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, H, W, 3))
    deep = to_depth(x, S, P, blocks).copy()
    for h, w, a, b in np.ndindex(*blocks, S, S):
        i, j = h * S + a - P, w * S + b - P
        inside = 0 <= i < H and 0 <= j < W
        at = (a * S + b) * 3
        np.testing.assert_array_equal(deep[:, h, w, at : at + 3], x[:, i, j] if inside else 0)
    other, back = rng.standard_normal(deep.shape), np.empty_like(x)
    to_space(other, back, S, P)
    np.testing.assert_allclose((other * deep).sum(), (back * x).sum())


@pytest.mark.parametrize("K, S", [(3, 2), (4, 2), (5, 3), (2, 3)])
def test_weights_there_and_back(K, S):
    weight = np.random.default_rng(0).standard_normal((K, K, 3, 4))
    deep = weight_to_depth(weight, S)
    assert deep.shape == (-(-K // S), -(-K // S), S * S * 3, 4)
    assert np.count_nonzero(deep) == weight.size
    back = np.empty_like(weight)
    weight_to_space(deep, back, S)
    np.testing.assert_array_equal(back, weight)


GEOMETRIES = [  # H, W, C, F, K, S, P
    (19, 23, 3, 5, 11, 4, 0), (20, 17, 3, 4, 11, 4, 2), (14, 9, 2, 3, 7, 2, 3),
    (8, 8, 1, 2, 5, 2, 1), (6, 5, 2, 2, 2, 3, 0), (9, 10, 2, 3, 3, 2, 4), (5, 5, 1, 1, 5, 5, 0),
]  # fmt: skip


@pytest.mark.parametrize("H, W, C, F, K, S, P", GEOMETRIES)
def test_winograd_with_stride_equals_the_page(H, W, C, F, K, S, P):
    rng = np.random.default_rng([H, W, K, S])
    layer = Conv2d(C, F, K, S, P, rng=rng).to(dtype=np.float64)
    layer.params["bias"] = rng.standard_normal(F)
    x = rng.standard_normal((3, H, W, C))
    dy = rng.standard_normal(layer(x).shape)
    results = []
    for attach in (plain, lambda layer: accelerate(layer, algorithm="winograd")):
        attach(layer)
        grad = zeros_like(layer.params)
        y, cache = layer.forward(x)
        results.append([y, layer.backward(dy, cache, grad), grad["weight"], grad["bias"]])
    for got, want in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * abs(want).max())
