"""Conv2d -- a bank of small learned filters, slid over an image.

An image of 227 x 227 x 3 pixels has 154,587 numbers.  A Linear layer from these to the 290,400
outputs of AlexNet's first layer would hold 45 billion weights; but an edge is an edge wherever it
stands, so one small filter can serve all positions.  The convolution does with 34,944 parameters.

Every output number is the dot product of one filter with the image patch under it:

    y[n,p,q,f] = b[f] + sum over i,j,c of  x[n, p*S + i - P, q*S + j - P, c] * W[i,j,c,f]

where x is 0 outside the image.  `seven_loops` below is this formula, word for word.

Shapes     N images | H x W pixels | C channels in | F filters, channels out | K x K kernel
           S stride | P padding | OH x OW output, OH = (H + 2P - K) // S + 1
           D = K*K*C numbers in a patch | M = N*OH*OW patches

`ceil_mode` rounds OH up: a last window may hang over the edge, and sees zeros there, as if R rows
and columns more, min(S, K) - 1, were padded below and on the right.  So the 11 x 11 windows of the
program that won in 2012 have 55 places at stride 4 in 224 pixels, not 54.  With padding such a
window may see zeros alone, as that program's do; pool.py leaves these out, as PyTorch does.

K, S and P may each be a pair, (down, across): then those of the rows go with i, p, h and H, those
of the columns with j, q, w and W.  A kernel of 1 x 7 looks along a row.

As one matrix product.  `im2col` copies each patch into one row of a matrix X; then all seven
loops are inside one product, and linear.py's derivation is the backward pass:

    forward    Y  = X W + b            (M, F) = (M, D) (D, F)
    backward   dW = X^T dY             (D, F) = (D, M) (M, F)
               db = dY summed over M   (F,)
               dX = dY W^T             (M, D) = (M, F) (F, D)   and col2im turns dX into dx

Why col2im is the way back.  im2col copies x[n,h,w,c] to each row whose patch holds that pixel; L
feels the pixel through all of its copies, so its derivative is the sum of theirs.  Where im2col
reads, col2im adds.  In one dimension, K = 2 and S = 1: the row 1 2 3 has the patches (1 2), (2 3);
if their derivatives are (10 20), (30 40), then those of the row are 10, 20 + 30, 40.

For S = 1 the same dx is another convolution.  x[h,w,c] meets weight (i,j) in the output where
p = h - i + P and q = w - j + P, so

    dx[n,h,w,c] = sum over i,j,f of  dy[n, h - i + P, w - j + P, f] * W[i,j,c,f]

which slides the kernel over dy, turned by half a turn (-i where the formula above has +i).

The channels stand last, so that a patch is K runs of K*C neighbouring numbers, and Y is the next
layer's input as it stands.  X is about K*K/(S*S) times larger than x; `fast/conv.py` builds it in
pieces, and `fast/winograd.py` does without it, with a fifth of the multiplications.

With `groups` = G the channels are dealt to G independent convolutions side by side: group g reads
the g-th part of the input channels and writes the g-th part of the output channels.  AlexNet's
conv2, conv4 and conv5 were trained so, one group on each of two GPUs, which made room for twice the
filters: 1.7 % less top-1 error than with half of them.  (Here that was not measured.)

References
    Krizhevsky, Sutskever, Hinton (2012), "ImageNet Classification with Deep Convolutional Neural
        Networks", section 3.5: the five convolutions of AlexNet; section 3.2: two towers.
    Chellapilla, Puri, Simard (2006), "High Performance Convolutional Neural Networks for Document
        Processing": convolution as one matrix product.
    He, Zhang, Ren, Sun (2015), "Delving Deep into Rectifiers", eq. 10: the initial weights.
"""

import math

import numpy as np

from minialex.errors import check_sizes, check_window
from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.seeds import generator
from minialex.xp import get_xp


def seven_loops(x, W, b, S, P):
    """The formula, to be read: x (N, H, W, C), W (K, K, C, F), b (F,) -> y (N, OH, OW, F)."""
    x = np.pad(x, ((0, 0), (P, P), (P, P), (0, 0)))
    K, _, C, F = W.shape
    OH, OW = (x.shape[1] - K) // S + 1, (x.shape[2] - K) // S + 1
    y = np.zeros((len(x), OH, OW, F), x.dtype)
    for n in range(len(x)):
        for p in range(OH):
            for q in range(OW):
                for f in range(F):
                    y[n, p, q, f] = b[f]
                    for i in range(K):
                        for j in range(K):
                            for c in range(C):
                                y[n, p, q, f] += x[n, p * S + i, q * S + j, c] * W[i, j, c, f]
    return y


def im2col(x, K, S, P, R=(0, 0)):
    """Copy the patches of x (N, H, W, C) into X (N, OH, OW, K, K, C)."""
    (KH, KW), (SH, SW), (PH, PW) = [n if isinstance(n, tuple) else (n, n) for n in (K, S, P)]
    x = get_xp(x).pad(x, ((0, 0), (PH, PH + R[0]), (PW, PW + R[1]), (0, 0)))
    N, H, W, C = x.shape
    OH, OW = (H - KH) // SH + 1, (W - KW) // SW + 1
    X = get_xp(x).empty((N, OH, OW, KH, KW, C), dtype=x.dtype)
    for i in range(KH):
        for j in range(KW):  # what weight (i, j) sees, at all positions at once
            X[:, :, :, i, j] = x[:, i : i + SH * OH : SH, j : j + SW * OW : SW]
    return X


def col2im(dX, shape, S, P, R=(0, 0)):
    """The transpose of im2col: ADD each patch of dX (N, OH, OW, K, K, C) back; dx has `shape`."""
    (N, H, W, C), (_, OH, OW, KH, KW, _) = shape, dX.shape
    (SH, SW), (PH, PW) = [n if isinstance(n, tuple) else (n, n) for n in (S, P)]
    dx = get_xp(dX).zeros((N, H + 2 * PH + R[0], W + 2 * PW + R[1], C), dtype=dX.dtype)
    for i in range(KH):
        for j in range(KW):
            dx[:, i : i + SH * OH : SH, j : j + SW * OW : SW] += dX[:, :, :, i, j]
    return dx[:, PH : PH + H, PW : PW + W]


class Conv2d(Layer):
    """2-D convolution (in fact cross-correlation: the kernel is not flipped).

    x (N, H, W, in_channels) -> y (N, OH, OW, out_channels).
    Parameters: weight (K, K, in_channels/groups, out_channels) and, unless `bias` is False, bias
    (out_channels,).  kernel_size, stride and padding are numbers or pairs (down, across).
    With `ceil_mode`, the last windows may hang over the edge.

    `rng`, a NumPy random generator (default: see seeds.py), draws the initial weights: normal, with
    standard deviation `std`, or He's sqrt(2/D) where none is given; the bias starts at 0.
    Raises ValueError for a size out of range, and for channels that cannot be dealt to the groups.
    """

    per_image = True

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1, *,
                 bias=True, ceil_mode=False, rng=None, std=None):  # fmt: skip
        super().__init__()
        C, F = self.in_channels, self.out_channels = in_channels, out_channels
        check_sizes("Conv2d", in_channels=C, out_channels=F, groups=groups)
        sizes = check_window("Conv2d", kernel_size, stride, padding)
        if C % groups or F % groups:
            raise ValueError(f"Conv2d: {C} and {F} channels cannot be dealt to {groups} groups")
        self.kernel_size, self.stride, self.padding = sizes
        self.groups, self.bias, self.ceil_mode = groups, bool(bias), bool(ceil_mode)
        K, S, P = [n if isinstance(n, tuple) else (n, n) for n in sizes]
        self.window = K, S, P, tuple((min(n) - 1) * self.ceil_mode for n in zip(K, S, strict=True))
        shape = (*K, C // groups, F)
        weight = generator("Conv2d", rng).standard_normal(shape, dtype=np.float32)
        weight *= math.sqrt(2 / math.prod(shape[:3])) if std is None else std  # D = K*K*C
        zeros = np.zeros(F, dtype=np.float32)
        self.params = {"weight": weight, "bias": zeros} if bias else {"weight": weight}

    def forward(self, x):  # x (N, H, W, C)
        check_input(self, x, ("N", "H", "W", self.in_channels))
        W, b = self.params["weight"], self.params.get("bias", 0)
        X = im2col(x, *self.window)  # (N, OH, OW, K, K, C)
        y = get_xp(x).empty((*X.shape[:3], self.out_channels), dtype=x.dtype)
        for c, f in self.group_slices():
            y[..., f] = get_xp(x).tensordot(X[..., c], W[..., f], 3)  # X W: the sum over i, j, c
        return y + b, x  # not X, which is larger: backward builds it again

    def backward(self, dy, x, grad):  # dy (N, OH, OW, F)
        check_gradient(self, dy, x.shape, grad)
        xp, W = get_xp(x), self.params["weight"]
        X = im2col(x, *self.window)
        dX = xp.empty_like(X)
        patches = (0, 1, 2)  # the axes n, p, q
        for c, f in self.group_slices():
            grad["weight"][..., f] = xp.tensordot(X[..., c], dy[..., f], (patches, patches))
            dX[..., c] = xp.tensordot(dy[..., f], W[..., f], (3, 3))  # dY W^T: the sum over f
        if self.bias:
            grad["bias"][...] = dy.sum(axis=patches)
        return col2im(dX, x.shape, *self.window[1:])

    def group_slices(self):
        """For each group: the channels that it reads, and those that it writes."""
        C, F = self.in_channels // self.groups, self.out_channels // self.groups
        return [(slice(g * C, g * C + C), slice(g * F, g * F + F)) for g in range(self.groups)]

    def output_shape(self, shape):
        (H, W, _), ((KH, KW), (SH, SW), (PH, PW), (RH, RW)) = shape, self.window
        return (H + 2 * PH + RH - KH) // SH + 1, (W + 2 * PW + RW - KW) // SW + 1, self.out_channels

    def __repr__(self):
        usual = {"stride": 1, "padding": 0, "groups": 1, "bias": True, "ceil_mode": False}
        other = "".join(f", {k}={vars(self)[k]}" for k in usual if vars(self)[k] != usual[k])
        return f"Conv2d({self.in_channels}, {self.out_channels}, {self.kernel_size}{other})"
