"""A network with a layer of each kind, images for it, and what its two passes give."""

import numpy as np

from device import on_device, on_host
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.params import named_arrays, zeros_like
from minialex.twin import page_of


def rng():
    return np.random.default_rng(0)


def network():
    return Sequential(
        Sequential(Conv2d(3, 4, 3, rng=rng()), ReLU(), LocalResponseNorm(3, 0.1), MaxPool2d(2)),
        Conv2d(4, 4, 3, padding=1, groups=2, rng=rng()), ReLU(), AvgPool2d(3), Flatten(),
        Linear(4, 8, rng=rng()), ReLU(), Dropout(0.5, seed=1), Linear(8, 2, rng=rng()),
    )  # fmt: skip


def images(N=5, dtype=np.float32):
    return on_device(rng().standard_normal((N, 8, 8, 3)).astype(dtype))


def is_fast(layer):
    return type(layer) is not page_of(layer)


def passes(layer, x):
    """y, dx and the gradients, on the host."""
    layer.set_step(0)
    y, cache = layer.forward(x.copy())
    grad = zeros_like(layer.params)
    dx = layer.backward(y.copy(), cache, grad)
    arrays = [y, dx, *(owner[key] for owner, key, _ in named_arrays(grad))]
    return [None if array is None else on_host(array).copy() for array in arrays]


def assert_same(got, want, atol=1e-12):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)
