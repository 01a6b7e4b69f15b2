"""LocalResponseNorm's twin -- one long row for the window sums, two roots for a power, both kept.

LocalResponseNorm2d's has the two roots as well, and the sums of its page.

The page pads the channels with zeros and adds n shifted views.  Here each pixel's channels and
zeros stand one after the other in one long row, in which the zeros keep neighbouring pixels apart:
the shifted views are then contiguous, and NumPy adds each in one go.

s^(-3/4) is 1 / (sqrt(s) * sqrt(sqrt(s))), several times faster than a power; it is kept for
backward, since reading it again is faster still.  The page's dy y / s is then dy x s^(-3/4) / s.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minialex.fast.scratch import batch_slices
from minialex.layers import lrn as page
from minialex.layers import lrn_2d as page_2d
from minialex.layers.layer import check_input
from minialex.params import Params
from minialex.twin import Twin
from minialex.xp import Array


def window_sum(v: Array, n: int, groups: int = 1) -> Array:
    """Sum of v (N, H, W, C) over the n channels of a group centred on each (n odd)."""
    shape, C, half = v.shape, v.shape[-1] // groups, n // 2
    wide = np.zeros((*shape[:-1], groups, C + 2 * half), dtype=v.dtype)
    wide[..., half : half + C] = v.reshape(*shape[:-1], groups, C)
    row = wide.reshape(-1)
    total = row.copy()
    for j in range(1, n):
        total[: row.size - j] += row[j:]
    return total.reshape(wide.shape)[..., :C].reshape(shape)


def inverse_power(s: Array, beta: float) -> Array:
    """s^(-beta)."""
    if beta != 0.75:
        return s**-beta
    root = np.sqrt(s)  # s^(1/2)
    result = np.sqrt(root)  # s^(1/4)
    result *= root
    return np.divide(1, result, out=result)


def forward(layer: Any, sums: Callable[[Array], Array], x: Array) -> tuple[Array, Any]:
    """y and the cache; `sums` adds up what is around each number."""
    check_input(layer, x, ("N", "H", "W", "C"))
    s, power, y = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    for images in batch_slices(x):
        np.multiply(sums(x[images] ** 2), layer.alpha, out=s[images])
        s[images] += layer.k
        power[images] = inverse_power(s[images], layer.beta)
        np.multiply(power[images], x[images], out=y[images])
    return y, (x, s, power)


def backward(layer: Any, sums: Callable[[Array], Array], dy: Array, cache: Any) -> Array:
    """dx; it sums over what `forward` sums over."""
    x, s, power = cache
    dx = np.empty_like(x)
    for images in batch_slices(x):
        own = dy[images] * power[images]  # dy s^(-beta)
        terms = own * x[images]
        terms /= s[images]  # dy x s^(-beta-1)
        np.multiply(sums(terms), x[images], out=dx[images])
        dx[images] *= -2 * layer.alpha * layer.beta
        dx[images] += own
    return dx


class LocalResponseNorm(Twin, page.LocalResponseNorm, device="cpu"):
    form = "fast: one long row, two roots"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return forward(self, lambda v: window_sum(v, self.size, self.groups), x)

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        return backward(self, lambda v: window_sum(v, self.size, self.groups), dy, cache)


class LocalResponseNorm2d(Twin, page_2d.LocalResponseNorm2d, device="cpu"):
    form = "fast: two roots"

    def forward(self, x: Array) -> tuple[Array, Any]:
        return forward(self, self.window_sum, x)

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        return backward(self, self.window_sum, dy, cache)
