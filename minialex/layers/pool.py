"""MaxPool2d, AvgPool2d -- keep one number of each small window: its largest, or its mean.

    max     y[n,p,q,c] = max  over i,j < K of  x[n, p*S + i - P, q*S + j - P, c]
    mean    y[n,p,q,c] = 1/K^2 sum over i,j of the same

A feature that moves by a pixel inside the window leaves y as it was, and the next layer has S*S times fewer
places to look at.  AlexNet's windows OVERLAP: K = 3 at stride S = 2, which in the paper lowered the top-1 error
by 0.4 % against K = S = 2.  `examples/improvements/improvements.py pooling` measures what both are worth here.

Backward.  The maximum passes its derivative to the one input that it came from, and 0 to the others:

    dx[place of the maximum of window (p,q)] += dy[p,q]

"+=" since overlapping windows may share a maximum.  Where several inputs of a window are equally large, as
after a ReLU, the first in scan order (row by row) gets all of it.  The mean passes dy/K^2 to every input.

Padding (P) adds places that never win a maximum (minus infinity), but that count as zeros in a mean.

Reference: Krizhevsky, Sutskever, Hinton (2012), section 3.4, "Overlapping Pooling".
"""

import math
from collections.abc import Iterator
from typing import Any

from minialex.backend import Array, Kernel, batch_slices, get_xp, plain_form, scratch
from minialex.layers.layer import Layer, Params, Shape, check_shape, check_window, output_size


def maxima(parts: list[Array], out: Array) -> None:
    """out = the maximum of all `parts`, number by number."""
    if len(parts) == 1:
        out[...] = parts[0]
    for i in range(1, len(parts)):
        get_xp(out).maximum(parts[0] if i == 1 else out, parts[i], out=out)


class _Pool2d(Layer):
    """What both share: the geometry.  `stride` is kernel_size where it is not given."""

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0):
        super().__init__()
        stride = kernel_size if stride is None else stride
        name = type(self).__name__
        if kernel_size < 1 or stride < 1:
            raise ValueError(f"{name}: kernel_size and stride must be at least 1, got {kernel_size} and {stride}")
        if not 0 <= padding <= kernel_size // 2:
            raise ValueError(f"{name}: padding must be from 0 to kernel_size//2, got {padding}")
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def output_shape(self, shape: Shape) -> Shape:
        H, W, C = shape
        size = (self.kernel_size, self.stride, self.padding)
        return output_size(H, *size), output_size(W, *size), C

    def _check(self, x: Array) -> None:
        check_shape(self, x, ("N", "H", "W", "C"))
        check_window(self, x.shape[1], x.shape[2], self.kernel_size, self.padding)

    def _padded(self, x: Array, value: float) -> Array:
        self._check(x)
        if self.padding == 0:
            return x
        P = self.padding
        return get_xp(x).pad(x, ((0, 0), (P, P), (P, P), (0, 0)), constant_values=value)

    def _places(self, OH: int, OW: int) -> Iterator[tuple[slice, slice, slice]]:
        """For each (i, j) of a window, in scan order, where it lies in x for all windows at once."""
        K, S = self.kernel_size, self.stride
        for i in range(K):
            for j in range(K):
                yield slice(None), slice(i, i + S * OH, S), slice(j, j + S * OW, S)

    def _cropped(self, dx: Array) -> Array:
        P = self.padding
        return dx[:, P:-P, P:-P] if P else dx

    def __repr__(self) -> str:
        padding = f", padding={self.padding}" if self.padding else ""
        return f"{type(self).__name__}({self.kernel_size}, stride={self.stride}{padding})"


# For the GPU: forward also notes which of its K*K places won each window, and backward asks, for each place of x,
# the windows that hold it.
MAXPOOL_FORWARD = Kernel(
    "maxpool_forward",
    "raw T x, int32 H, int32 W, int32 C, int32 OH, int32 OW, int32 K, int32 S, int32 P", "T y, I winner",
    """
    Index k = i;
    const int c = k % C; k /= C;
    const int q = k % OW; k /= OW;
    const int p = k % OH;
    const Index n = k / OH;
    T best = 0;
    int place = -1;
    for (int a = 0; a < K; a++)
        for (int b = 0; b < K; b++) {
            const int h = p * S + a - P, w = q * S + b - P;
            if (h < 0 || h >= H || w < 0 || w >= W) continue;
            const Index at[] = {n, h, w, c};
            const T v = x[at];
            if (place < 0 || v > best || v != v) { best = v; place = a * K + b; }  // v != v: not a number
        }
    y = best;
    winner = place
    """,
)  # fmt: skip
MAXPOOL_BACKWARD = Kernel(
    "maxpool_backward",
    "raw T dy, raw I winner, int32 H, int32 W, int32 C, int32 OH, int32 OW, int32 K, int32 S, int32 P", "T dx",
    """
    Index k = i;
    const int c = k % C; k /= C;
    const int w = k % W + P; k /= W;
    const int h = k % H + P;
    const Index n = k / H;
    T sum = 0;
    for (int p = min(h / S, OH - 1); p >= 0 && h - p * S < K; p--)
        for (int q = min(w / S, OW - 1); q >= 0 && w - q * S < K; q--) {
            const Index at[] = {n, p, q, c};
            if (winner[at] == (h - p * S) * K + w - q * S) sum += dy[at];
        }
    dx = sum
    """,
)  # fmt: skip


class MaxPool2d(_Pool2d):
    """x (N, H, W, C) -> y (N, OH, OW, C), the maximum of each kernel_size x kernel_size window."""

    @plain_form
    def forward(self, x: Array) -> tuple[Array, Any]:
        xp = get_xp(x)
        x = self._padded(x, -math.inf)
        K, S = self.kernel_size, self.stride
        OH, OW = (output_size(side, K, S, 0) for side in x.shape[1:3])

        # The maximum of a window is the maximum over its columns of the maxima over its rows: 2K looks, not K*K.
        y = xp.empty((len(x), OH, OW, x.shape[3]), dtype=x.dtype)
        for images in batch_slices(x):
            rows = scratch(x, "pool rows", (len(x[images]), OH, *x.shape[2:]))
            maxima([x[images, i : i + S * OH : S] for i in range(K)], out=rows)
            maxima([rows[:, :, j : j + S * OW : S] for j in range(K)], out=y[images])
        return y, (x, y)

    @forward.on_gpu
    def _forward_on_gpu(self, x: Array) -> tuple[Array, Any]:
        self._check(x)
        xp, shape = get_xp(x), (len(x), *self.output_shape(x.shape[1:]))
        y = xp.empty(shape, dtype=x.dtype)
        winner = xp.empty(shape, dtype=xp.min_scalar_type(self.kernel_size**2))
        MAXPOOL_FORWARD(x, *self._geometry(x.shape), y, winner)
        return y, (winner, x.shape)

    @plain_form
    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:  # dy (N, OH, OW, C)
        x, y = cache  # x is padded already
        xp = get_xp(x)
        dx = xp.zeros_like(x)
        for images in batch_slices(x):
            free = xp.ones(y[images].shape, dtype=bool)  # windows whose maximum is not found yet
            for place in self._places(*y.shape[1:3]):
                found = x[images][place] == y[images]
                found &= free
                free ^= found
                dx[images][place] += dy[images] * found
        return self._cropped(dx)

    @backward.on_gpu
    def _backward_on_gpu(self, dy: Array, cache: Any, grad: Params) -> Array:
        winner, shape = cache
        dx = get_xp(dy).empty(shape, dtype=dy.dtype)
        MAXPOOL_BACKWARD(dy, winner, *self._geometry(shape), dx)
        return dx

    def _geometry(self, shape: Shape) -> tuple[int, ...]:
        """H, W, C, OH, OW, K, S, P for x of `shape`."""
        OH, OW, _ = self.output_shape(shape[1:])
        return *shape[1:], OH, OW, self.kernel_size, self.stride, self.padding


class AvgPool2d(_Pool2d):
    """x (N, H, W, C) -> y (N, OH, OW, C), the mean of each window; padded places count as zeros."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        x = self._padded(x, 0)
        N, H, W, C = x.shape
        K, S = self.kernel_size, self.stride
        y = get_xp(x).zeros((N, output_size(H, K, S, 0), output_size(W, K, S, 0), C), dtype=x.dtype)
        for place in self._places(*y.shape[1:3]):
            y += x[place]
        y *= 1 / (K * K)
        return y, x.shape

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:  # dy (N, OH, OW, C)
        dx = get_xp(dy).zeros(cache, dtype=dy.dtype)
        share = dy * (1 / self.kernel_size**2)
        for place in self._places(*dy.shape[1:3]):
            dx[place] += share
        return self._cropped(dx)
