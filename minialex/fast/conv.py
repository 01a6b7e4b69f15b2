"""Conv2d's twin -- Winograd's method where it is faster (winograd.py), else im2col in pieces.

The page's X is K*K/(S*S) times larger than x.  Here it is copied into scratch memory a few images
at a time, and built again in backward instead of kept.  Winograd's method serves stride 1, to which
space_to_depth.py reduces larger strides.

**Which one?**  Count what each has to do, in multiply-adds.  A number that is copied or transformed
costs about as much as MOVE of them, since a core does some 10^11 multiply-adds a second, but moves
only some 2 * 10^9 numbers.  Per image, with Q positions of all its tiles together, n x n of the
largest (winograd_tiles.py), and C F divided by the number of groups:

    im2col      OH*OW * K*K*C F     + MOVE * OH*OW * K*K*C        the product, and X
    Winograd    Q * C F             + MOVE * Q * (C + F)          the products, V and M
                                    + MOVE * n*n * C F / N        the weights, once for N images,
                                    + CALLS / N                   and its many calls of NumPy

N is that of the batch, or GROUP, whichever is less: so the choice, and with it the last bits of an
image's outputs, does not depend on how large a large batch is.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minialex.fast import winograd
from minialex.fast.scratch import batch_slices, packed, scratch
from minialex.fast.space_to_depth import on_canvas
from minialex.fast.threads import GROUP, one_blas_thread, product
from minialex.fast.winograd_tiles import make_plan
from minialex.layers import conv as page
from minialex.layers.layer import check_input
from minialex.twin import Twin, is_square

ALGORITHMS = ("auto", "im2col", "winograd", "implicit")
MOVE = 50  # multiply-adds that take as long as moving a number
CALLS = 5_000_000  # and as long as the calls of NumPy that Winograd's method makes more
COLUMN_BYTES = 8 << 20  # im2col works on as many images at once as keep X about this large


def im2col(x, K, S, P, R):
    """Copy the patches of x (N, H, W, C) into the rows of X (N*OH*OW, K*K*C).

    K, S, P and R are pairs, (down, across).
    """
    _, H, W, C = x.shape
    (KH, KW), (SH, SW), (PH, PW), (RH, RW) = K, S, P, R
    side = H + 2 * PH + RH, W + 2 * PW + RW  # with P rows and columns of zeros on each side
    x = on_canvas(x, "pad", side, (PH, PW)) if side != (H, W) else x
    # patches[n, p, q, i, j, c] = x[n, p*S + i, q*S + j, c]: a view, no number is copied yet
    patches = sliding_window_view(x, (KH, KW), axis=(1, 2))[:, ::SH, ::SW]
    patches = patches.transpose(0, 1, 2, 4, 5, 3)
    return packed(patches, "columns").reshape(-1, KH * KW * C)


def same_bits(a, b):
    """Whether two arrays of one type hold the same numbers to the bit, NaN included."""
    return np.array_equal(a.view(f"i{a.itemsize}"), b.view(f"i{b.itemsize}"))


class Conv2d(Twin, page.Conv2d, device="cpu"):
    algorithm = "auto"  # or "im2col", "winograd"
    shared = None  # Winograd's U of the weights for each m, while micro-batches run
    kept = None  # in evaluation mode: (m, dtype), the weights, and their U

    @property
    def form(self):
        """What `repr` says."""
        return f"fast: {'Winograd or im2col' if self.algorithm == 'auto' else self.algorithm}"

    def forward(self, x):  # x (N, H, W, C)
        check_input(self, x, ("N", "H", "W", self.in_channels))
        weight, bias = self.params["weight"], self.params.get("bias", 0)
        if (plan := self.plan(x.shape)) is not None:
            with one_blas_thread():
                y = winograd.winograd_forward(x, self.transformed(plan), bias, plan)
            return y, (x, plan)
        W = weight.reshape(-1, self.out_channels)  # (D, F)
        y = np.empty((len(x), *self.output_shape(x.shape[1:])), dtype=x.dtype)
        for images in self._pieces(x):
            Y = y[images].reshape(-1, self.out_channels)  # (M, F), a view
            for channels, filters in self.group_slices():
                X = im2col(x[images][..., channels], *self.window)
                product(X, W[:, filters], out=Y[:, filters])  # X (M, D)
            if self.bias:
                Y += bias
        return y, (x, None)

    def backward(self, dy, cache, grad):  # dy (N, OH, OW, F)
        (x, plan), F = cache, self.out_channels
        if plan is not None:
            with one_blas_thread():
                U = self.transformed(plan) if self.input_grad else None
                return winograd.winograd_backward(dy, x, U, grad, plan)
        W = self.params["weight"].reshape(-1, F)  # (D, F)
        dW = scratch(W, "dW", W.shape)
        dx = np.empty_like(x) if self.input_grad else None
        for images in self._pieces(x):
            dY = dy[images].reshape(-1, F)  # (M, F)
            for channels, filters in self.group_slices():
                X = im2col(x[images][..., channels], *self.window)
                if images.start == 0:
                    product(X.T, dY[:, filters], out=dW[:, filters])
                else:
                    dW[:, filters] += product(X.T, dY[:, filters])
                del X  # as large as dX
                if dx is not None:
                    dX = product(dY[:, filters], W[:, filters].T)  # (M, D)
                    dX = dX.reshape(*dy[images].shape[:3], *self.window[0], -1)
                    shape = x[images][..., channels].shape
                    dx[images, ..., channels] = page.col2im(dX, shape, *self.window[1:])
        grad["weight"][...] = dW.reshape(grad["weight"].shape)
        if self.bias:
            dy.sum(axis=(0, 1, 2), out=grad["bias"])
        return dx

    def plan(self, shape):
        """Winograd's tiles for x of `shape` (N, H, W, C), or None where im2col is to be used."""
        K, S, P, G = self.kernel_size, self.stride, self.padding, self.groups
        asked = self.algorithm == "winograd"
        # Below 3x3 there is nothing to save; above 5x5, and in float16, too many digits get lost.
        fits = is_square(self) and 3 <= -(-K // S) <= (7 if asked else 5) and 1 in (S, G)
        fits = fits and (asked or self.params["weight"].itemsize > 2)
        sides = self.output_shape(shape[1:])[:2]
        if self.algorithm == "im2col" or not fits or min(sides) < 1:  # as check_input will say
            return None
        plan = make_plan(shape, self.params["weight"].shape, P, S, G, sides=sides)
        return plan if asked or self.winograd_is_faster(shape, plan) else None

    def winograd_is_faster(self, shape, plan):
        """By the count at the head of this page."""
        N, C, F, G = min(shape[0], GROUP), self.in_channels, self.out_channels, self.groups
        columns = plan.OH * plan.OW * self.kernel_size**2 * C
        im2col = columns * F // G + MOVE * columns
        C *= self.stride**2
        moved = plan.positions * (C + F) + plan.n[0] * plan.n[1] * C * F // G // N
        return plan.positions * C * F // G + MOVE * moved + CALLS // N < im2col

    def transformed(self, plan):
        """Winograd's U of the weights, for a plan; that of a trained network is made once."""
        if self.shared and plan.m in self.shared:
            return self.shared[plan.m]
        weight, kept = self.params["weight"], None if self.training else self.kept
        # To look at all weights takes a tenth of the time.
        if kept and kept[0] == (plan.m, weight.dtype) and same_bits(kept[1], weight):
            return kept[2]
        self.kept = None  # before the next is made: there is memory for one
        U = winograd.transform_weight(weight, plan.m, self.stride)
        if not self.training:
            self.kept = (plan.m, weight.dtype), weight.copy(), U
        return U

    def share(self, shape):
        """{m: Winograd's U of the weights}, where inputs of `shape` (N, H, W, C) need it."""
        plan = self.plan(shape)
        return {} if plan is None else {plan.m: self.transformed(plan)}

    def _pieces(self, x):
        """Slices of the batch, of as many images as have about COLUMN_BYTES of columns."""
        OH, OW, _ = self.output_shape(x.shape[1:])
        D = self.params["weight"][..., 0].size
        return batch_slices(x, OH * OW * D * x.dtype.itemsize, COLUMN_BYTES)
