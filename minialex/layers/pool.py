"""MaxPool2d, AvgPool2d -- keep one number of each small window: its largest, or its mean.

Why.  What matters is that a feature is there, less so at which pixel: as long as it is the largest
number of its window, it may move inside that window without changing that output.  And the next
layer has S*S times fewer pixels to look at.  A mean does that, too, but blurs a strong feature
among weak neighbours.

    max     y[n,p,q,c] = max  over i,j < K of  x[n, p*S + i - P, q*S + j - P, c]
    mean    y[n,p,q,c] = 1/K^2 sum over i,j of the same

Shapes     N images | H x W pixels | C channels | K x K window | S stride | P padding
           OH x OW output, OH = (H + 2P - K) // S + 1

Padding (P) adds pixels that never win a maximum (minus infinity), but count as zeros in a mean.
K, S and P may be pairs, (down, across), as in conv.py.

Pixels that are too few for a window more are not looked at: of 6 with K = 3 and S = 2, the sixth.
With `ceil_mode` that window exists as well and hangs over the edge, as if Q = P + S - 1 pixels were
padded there and not P; but only where it begins in the image or the padding before it.

AlexNet's windows OVERLAP: K = 3 at stride S = 2, which in the paper lowered the top-1 error by
0.4 % against K = S = 2.  What came out here, on drawings: 3.9 points less error with overlapping
windows, and 11.0 less with the maximum than with the mean.
`examples/improvements/improvements.py pooling` runs it again; the numbers are in
docs/improvements.md.

Backward.  Move one input a little: a maximum moves by as much if that input is the largest of its
window, else not at all; a mean moves by 1/K^2 of it.  So a maximum passes its derivative to the one
input that it came from, a mean passes dy/K^2 to each:

    max     dx[position of the maximum of window (p,q)] += dy[p,q]
    mean    dx[each position of window (p,q)] += dy[p,q] / K^2

"+=" since windows may overlap.  Where several inputs of a window are equally large, as the zeros
after a ReLU often are, the maximum has no derivative; by convention the first in scan order (row by
row) gets all of dy.  A NaN is larger than every number: the first of a window wins it.

For the window 1 5 / 5 2 and dy = 8, dx is 0 8 / 0 0 with a maximum, 2 2 / 2 2 with a mean.

Reference: Krizhevsky, Sutskever, Hinton (2012), section 3.4, "Overlapping Pooling".
"""

from minialex.errors import check_window
from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.xp import get_xp


class _Pool2d(Layer):
    """What both share: the geometry.  `stride` is kernel_size where it is not given.

    kernel_size, stride and padding are numbers or pairs (down, across).
    Raises ValueError for a size below 1, and for more padding than half a window.
    """

    per_image, ceil_mode = True, False

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        name, stride = type(self).__name__, kernel_size if stride is None else stride
        sizes = check_window(name, kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding = sizes
        if any(P > K // 2 for (K, _), (P, _) in self.axes()):  # as in PyTorch
            raise ValueError(f"{name}: padding must be from 0 to kernel_size//2, got {sizes[2]}")

    def axes(self):
        """(K, S), (P, Q) of the rows, and of the columns: P are added before them and Q after."""
        both = [n if isinstance(n, tuple) else (n, n)
                for n in (self.kernel_size, self.stride, self.padding)]  # fmt: skip
        return [((K, S), (P, P + (S - 1) * self.ceil_mode)) for K, S, P in zip(*both, strict=True)]

    def output_shape(self, shape):
        *sides, C = shape
        axes = zip(sides, self.axes(), strict=True)
        # Each window needs K - Q rows or columns, or one, of the image and the P before it.
        return *[(side + P - max(K - Q, 1)) // S + 1 for side, ((K, S), (P, Q)) in axes], C

    def windows(self, x, fill):
        """X (K*K, N, OH, OW, C) of x (N, H, W, C): X[k] is number k of every window."""
        OH, OW, _ = self.output_shape(x.shape[1:])
        x = get_xp(x).pad(x, [(0, 0), *(n for _, n in self.axes()), (0, 0)], constant_values=fill)
        return get_xp(x).stack([x[:, rows, columns] for rows, columns in self.positions(OH, OW)])

    def add_windows(self, dX, shape):
        """The transpose of `windows`: ADD dX[k] where X[k] came from; dx has `shape`."""
        (N, H, W, C), ((_, (top, below)), (_, (left, right))) = shape, self.axes()
        dx = get_xp(dX[0]).zeros((N, top + H + below, left + W + right, C), dtype=dX[0].dtype)
        for part, (rows, columns) in zip(dX, self.positions(*dX[0].shape[1:3]), strict=True):
            dx[:, rows, columns] += part
        return dx[:, top : top + H, left : left + W]

    def positions(self, OH, OW):
        """For each (i, j) of a window, in scan order: its rows and its columns in all windows."""
        ((KH, SH), _), ((KW, SW), _) = self.axes()
        columns = [slice(j, j + SW * OW, SW) for j in range(KW)]
        return [(slice(i, i + SH * OH, SH), across) for i in range(KH) for across in columns]

    def __repr__(self):
        more = "".join(f", {k}={v}" for k in ("padding", "ceil_mode") if (v := getattr(self, k)))
        return f"{type(self).__name__}({self.kernel_size}, stride={self.stride}{more})"


class MaxPool2d(_Pool2d):
    """x (N, H, W, C) -> y (N, OH, OW, C), the maximum of each kernel_size x kernel_size window.

    With `ceil_mode`, the last windows may hang over the edge.
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False):
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode = bool(ceil_mode)

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        xp, X = get_xp(x), self.windows(x, -get_xp(x).inf)
        y = X.max(axis=0)
        # A NaN beats every number, and padding never wins.
        wins = ((y == X) | xp.isnan(X)) & self.windows(xp.ones(x.shape, dtype=bool), False)
        return y, (wins.argmax(axis=0), x.shape)  # winner (N, OH, OW, C): the first k that wins

    def backward(self, dy, cache, grad):  # dy (N, OH, OW, C)
        winner, shape = cache
        check_gradient(self, dy, shape, grad)
        dX = [get_xp(dy).where(winner == k, dy, 0) for k in range(len(self.positions(1, 1)))]
        return self.add_windows(dX, shape)


class AvgPool2d(_Pool2d):
    """x (N, H, W, C) -> y (N, OH, OW, C), the mean of each window; padded pixels count as zeros."""

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        return self.windows(x, 0).mean(axis=0), x.shape

    def backward(self, dy, shape, grad):  # dy (N, OH, OW, C)
        check_gradient(self, dy, shape, grad)
        K2 = len(self.positions(1, 1))  # K*K
        return self.add_windows([dy / K2] * K2, shape)  # the same to each of them
