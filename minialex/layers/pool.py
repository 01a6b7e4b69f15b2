"""MaxPool2d, AvgPool2d -- keep one number of each small window: its largest, or its mean.

    max     y[n,p,q,c] = max  over i,j < K of  x[n, p*S + i - P, q*S + j - P, c]
    mean    y[n,p,q,c] = 1/K^2 sum over i,j of the same

Shapes     N images | H x W pixels | C channels | K x K window | S stride | P padding | OH x OW output

Why.  What matters is that a feature is there, less so at which pixel: as long as it is the largest
number of its window it may move inside that window without changing that output.  The next layer has
S*S times fewer pixels to look at, and a mean would blur a strong feature among weak neighbours.

AlexNet's windows OVERLAP: K = 3 at stride S = 2, which in the paper lowered the top-1 error by 0.4 %
against K = S = 2.  On drawings we saw 3.9 points less error for overlapping windows, and 11.0 for the
maximum against the mean: `examples/improvements/improvements.py pooling`, docs/improvements.md.

Backward.  The maximum passes its derivative to the one input that it came from, and 0 to the others:

    dx[position of the maximum of window (p,q)] += dy[p,q]

"+=" since overlapping windows may share a maximum.  Where several inputs of a window are equally large,
as after a ReLU, the first in scan order (row by row) gets all of it.  The mean passes dy/K^2 to every
input of the window.

Padding (P) adds pixels that never win a maximum (minus infinity), but that count as zeros in a mean.

Reference: Krizhevsky, Sutskever, Hinton (2012), section 3.4, "Overlapping Pooling".
"""

import itertools
import math

from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.xp import get_xp


class _Pool2d(Layer):
    """What both share: the geometry.  `stride` is kernel_size where it is not given."""

    per_image = True

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        stride, name = kernel_size if stride is None else stride, type(self).__name__
        if min(kernel_size, stride) < 1:
            raise ValueError(f"{name}: sizes must be at least 1, got {kernel_size} and {stride}")
        if not 0 <= padding <= kernel_size // 2:  # else a window could see nothing but padding
            raise ValueError(f"{name}: padding must be from 0 to kernel_size//2, got {padding}")
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def output_shape(self, shape):
        H, W, C = shape
        K, S, P = self.kernel_size, self.stride, self.padding
        return (H + 2 * P - K) // S + 1, (W + 2 * P - K) // S + 1, C

    def windows(self, x, fill):
        """X (K*K, N, OH, OW, C): number k of every window of x, padded with `fill`."""
        P = self.padding
        OH, OW, _ = self.output_shape(x.shape[1:])
        x = get_xp(x).pad(x, ((0, 0), (P, P), (P, P), (0, 0)), constant_values=fill)
        return get_xp(x).stack([x[:, rows, columns] for rows, columns in self.positions(OH, OW)])

    def add_windows(self, dX, shape):
        """The transpose of `windows`: ADD number k of every window where it came from."""
        (N, H, W, C), P = shape, self.padding
        dx = get_xp(dX[0]).zeros((N, H + 2 * P, W + 2 * P, C), dtype=dX[0].dtype)
        for part, (rows, columns) in zip(dX, self.positions(*dX[0].shape[1:3]), strict=True):
            dx[:, rows, columns] += part
        return dx[:, P : P + H, P : P + W]

    def positions(self, OH, OW):
        """For each (i, j) of a window, in scan order: its row and its column in all windows."""
        K, S = self.kernel_size, self.stride
        rows, columns = ([slice(i, i + S * out, S) for i in range(K)] for out in (OH, OW))
        return list(itertools.product(rows, columns))

    def __repr__(self):
        padding = f", padding={self.padding}" if self.padding else ""
        return f"{type(self).__name__}({self.kernel_size}, stride={self.stride}{padding})"


class MaxPool2d(_Pool2d):
    """x (N, H, W, C) -> y (N, OH, OW, C), the maximum of each kernel_size x kernel_size window."""

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        xp, X = get_xp(x), self.windows(x, -math.inf)
        y = X.max(axis=0)
        inside = self.windows(xp.ones(x.shape, dtype=bool), False)
        wins = ((y == X) | xp.isnan(X)) & inside  # a NaN beats every number
        return y, (wins.argmax(axis=0), x.shape)  # the first that wins

    def backward(self, dy, cache, grad):  # dy (N, OH, OW, C)
        winner, shape = cache
        check_gradient(self, dy, shape, grad)
        zero = get_xp(dy).zeros_like(dy)
        dX = [get_xp(dy).where(winner == k, dy, zero) for k in range(self.kernel_size**2)]
        return self.add_windows(dX, shape)


class AvgPool2d(_Pool2d):
    """x (N, H, W, C) -> y (N, OH, OW, C), the mean of each window; padded pixels count as zeros."""

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        return self.windows(x, 0).mean(axis=0), x.shape

    def backward(self, dy, shape, grad):  # dy (N, OH, OW, C)
        check_gradient(self, dy, shape, grad)
        return self.add_windows([dy / self.kernel_size**2] * self.kernel_size**2, shape)
