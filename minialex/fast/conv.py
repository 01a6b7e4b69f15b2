"""Conv2d's twin -- Winograd's method where it is faster (winograd.py), else im2col a few images at a time.

The page's X is K*K/(S*S) times larger than x.  Here it is copied into scratch memory a few images at a
time, and built again in backward instead of kept.  Winograd's method serves stride 1, to which
space_to_depth.py reduces larger strides.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.fast.scratch import batch_slices, scratch
from minialex.fast.threads import product
from minialex.fast.winograd import transform_weight, winograd_backward, winograd_forward
from minialex.layers import conv as page
from minialex.layers.layer import check_input
from minialex.params import Params, Shape
from minialex.twin import Twin
from minialex.xp import Array

ALGORITHMS = ("auto", "im2col", "winograd")
LEAST_OUTPUTS = 500  # output pixels, over all images, at and above which Winograd's method pays
COLUMN_BYTES = 8 << 20  # im2col works on as many images at once as keep X about this large


def pad(x: Array, P: int) -> Array:
    """x (N, H, W, C) with P rows and columns of zeros on each side, in scratch memory."""
    if P == 0:
        return x
    N, H, W, C = x.shape
    padded = scratch(x, "pad", (N, H + 2 * P, W + 2 * P, C))
    padded[:, :P], padded[:, P + H :] = 0, 0
    padded[:, :, :P], padded[:, :, P + W :] = 0, 0
    padded[:, P : P + H, P : P + W] = x
    return padded


def im2col(x: Array, K: int, S: int, P: int) -> Array:
    """Copy the patches of x (N, H, W, C) into the rows of X (N*OH*OW, K*K*C)."""
    x = pad(x, P)
    N, H, W, C = x.shape
    n, h, w, c = x.strides
    # patches[n, p, q, i, j, c] = x[n, p*S + i, q*S + j, c]: a view, no number is copied yet
    shape = (N, (H - K) // S + 1, (W - K) // S + 1, K, K, C)
    patches = np.lib.stride_tricks.as_strided(x, shape, (n, S * h, S * w, h, w, c))
    X = scratch(x, "columns", shape)
    X[...] = patches
    return X.reshape(-1, K * K * C)


def col2im(dX: Array, dx: Array, K: int, S: int, P: int) -> None:
    """The transpose of im2col: ADD each row of dX back onto its patch; fills dx (N, H, W, C)."""
    N, H, W, C = dx.shape
    OH, OW = (H + 2 * P - K) // S + 1, (W + 2 * P - K) // S + 1
    dX = dX.reshape(N, OH, OW, K, K, C)
    padded = scratch(dx, "pad", (N, H + 2 * P, W + 2 * P, C))
    padded[...] = 0
    for i in range(K):  # what weight (i, j) saw, at all positions at once
        for j in range(K):
            padded[:, i : i + S * OH : S, j : j + S * OW : S] += dX[:, :, :, i, j]
    dx[...] = padded[:, P : P + H, P : P + W]


class Conv2d(Twin, page.Conv2d, device="cpu"):
    algorithm = "auto"  # or "im2col", "winograd"
    input_grad = True  # False: backward returns None, for a first layer with nobody to pass dx to
    shared: Any = None  # Winograd's U of the weights, while micro-batches run

    @property
    def form(self) -> str:  # type: ignore[override]
        """What `repr` says."""
        return f"fast: {'Winograd or im2col' if self.algorithm == 'auto' else self.algorithm}"

    @property
    def geometry(self) -> dict[str, int]:
        """The arguments that Winograd's functions share."""
        return {"padding": self.padding, "stride": self.stride, "groups": self.groups}

    def forward(self, x: Array) -> tuple[Array, Any]:  # x (N, H, W, C)
        check_input(self, x, ("N", "H", "W", self.in_channels))
        weight, bias = self.params["weight"], self.params["bias"]
        if self.uses_winograd(x.shape):
            return winograd_forward(x, weight, bias, U=self.shared, **self.geometry), x
        W = weight.reshape(-1, self.out_channels)  # (D, F)
        y = np.empty((len(x), *self.output_shape(x.shape[1:])), dtype=x.dtype)
        for images in self._pieces(x):
            Y = y[images].reshape(-1, self.out_channels)  # (M, F), a view
            for channels, filters in self.group_slices():
                X = im2col(x[images][..., channels], self.kernel_size, self.stride, self.padding)
                product(X, W[:, filters], out=Y[:, filters])  # X (M, D)
            Y += bias
        return y, x

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:  # dy (N, OH, OW, F)
        x, F = cache, self.out_channels
        if self.uses_winograd(x.shape):
            options = {"input_grad": self.input_grad, "U": self.shared, **self.geometry}
            return winograd_backward(dy, x, self.params["weight"], grad, **options)
        W = self.params["weight"].reshape(-1, F)  # (D, F)
        dW = scratch(W, "dW", W.shape)
        dx = np.empty_like(x) if self.input_grad else None
        for images in self._pieces(x):
            dY = dy[images].reshape(-1, F)  # (M, F)
            for channels, filters in self.group_slices():
                X = im2col(x[images][..., channels], self.kernel_size, self.stride, self.padding)
                if images.start == 0:
                    product(X.T, dY[:, filters], out=dW[:, filters])
                else:
                    dW[:, filters] += product(X.T, dY[:, filters])
                del X  # as large as dX
                if dx is not None:
                    dX = product(dY[:, filters], W[:, filters].T)  # (M, D)
                    col2im(
                        dX, dx[images][..., channels], self.kernel_size, self.stride, self.padding
                    )
        grad["weight"][...] = dW.reshape(grad["weight"].shape)
        dy.sum(axis=(0, 1, 2), out=grad["bias"])
        return dx

    def uses_winograd(self, shape: Shape) -> bool:
        """Whether Winograd's method is used for x of `shape` (N, H, W, C)."""
        if self.algorithm != "auto":
            return self.algorithm == "winograd"
        # Below 3x3 there is nothing to save, above 5x5 the transforms lose too many digits, and for
        # few outputs the transform of the weights costs more than it saves.
        OH, OW, _ = self.output_shape(shape[1:])
        fits = 3 <= -(-self.kernel_size // self.stride) <= 5 and 1 in (self.stride, self.groups)
        return fits and shape[0] * OH * OW >= LEAST_OUTPUTS

    def share(self, shape: Shape) -> Array | None:
        """Winograd's U of the weights, where inputs of `shape` (N, H, W, C) need it."""
        if not self.uses_winograd(shape):
            return None
        return transform_weight(self.params["weight"], self.stride)

    def _pieces(self, x: Array) -> Iterator[slice]:
        """Slices of the batch, of as many images as have about COLUMN_BYTES of columns."""
        OH, OW, _ = self.output_shape(x.shape[1:])
        D = self.params["weight"][..., 0].size
        return batch_slices(x, OH * OW * D * x.dtype.itemsize, COLUMN_BYTES)
