"""LocalResponseNorm's twin -- one long row for the window sums, two roots for a power, both kept.

LocalResponseNorm2d's has the two roots as well, and the sums of its page.

The page pads the channels with zeros and adds n shifted views.  Here each pixel's channels and
zeros stand one after the other in one long row, in which the zeros keep neighbouring pixels apart:
the shifted views are then contiguous, and NumPy adds each in one go.

s^(-3/4) is 1 / (sqrt(s) * sqrt(sqrt(s))), several times faster than a power; it is kept for
backward, since reading it again is faster still.  The page's dy y / s is then dy x s^(-3/4) / s.
"""

import numpy as np

from minialex.fast.scratch import batch_slices
from minialex.layers import lrn as page
from minialex.layers import lrn_2d as page_2d
from minialex.layers.layer import check_input
from minialex.twin import Twin


def inverse_power(s, beta):
    """s^(-beta)."""
    if beta != 0.75:
        return s**-beta
    root = np.sqrt(s)  # s^(1/2)
    result = np.sqrt(root)  # s^(1/4)
    result *= root
    return np.divide(1, result, out=result)


def forward_by_roots(self, x):
    """`forward` of both."""
    check_input(self, x, ("N", "H", "W", "C"))
    s, power, y = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    for images in batch_slices(x):
        np.multiply(self.window_sum(x[images] ** 2), self.alpha, out=s[images])
        s[images] += self.k
        power[images] = inverse_power(s[images], self.beta)
        np.multiply(power[images], x[images], out=y[images])
    return y, (x, s, power)


def backward_by_roots(self, dy, cache, grad):
    """`backward` of both."""
    x, s, power = cache
    dx = np.empty_like(x)
    for images in batch_slices(x):
        own = dy[images] * power[images]  # dy s^(-beta)
        terms = own * x[images]
        terms /= s[images]  # dy x s^(-beta-1)
        np.multiply(self.window_sum(terms), x[images], out=dx[images])
        dx[images] *= -2 * self.alpha * self.beta
        dx[images] += own
    return dx


class LocalResponseNorm(Twin, page.LocalResponseNorm, device="cpu"):
    form = "fast: one long row, two roots"
    forward, backward = forward_by_roots, backward_by_roots

    def window_sum(self, v):
        shape, C, half = v.shape, v.shape[-1] // self.groups, self.size // 2
        wide = np.zeros((*shape[:-1], self.groups, C + 2 * half), dtype=v.dtype)
        wide[..., half : half + C] = v.reshape(*shape[:-1], self.groups, C)
        row = wide.reshape(-1)
        total = row.copy()
        for j in range(1, self.size):
            total[: row.size - j] += row[j:]
        return total.reshape(wide.shape)[..., :C].reshape(shape)


class LocalResponseNorm2d(Twin, page_2d.LocalResponseNorm2d, device="cpu"):
    form = "fast: two roots"
    forward, backward = forward_by_roots, backward_by_roots
