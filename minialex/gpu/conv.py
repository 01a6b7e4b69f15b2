"""Conv2d's twin on a GPU -- im2col and col2im as one kernel each (conv.cu), products by cuBLAS.

A GPU prefers few large pieces of work to many small ones: X holds all images of the batch at once.
A window with another size, stride or padding down than across goes the page's way.
"""

from typing import Any

from minialex.gpu.kernel import Kernel
from minialex.layers import conv as page
from minialex.layers.layer import check_input
from minialex.params import Params
from minialex.twin import Twin, is_square
from minialex.xp import Array, get_xp

SIZES = "int32 H, int32 W, int32 C, int32 OH, int32 OW, int32 K, int32 S, int32 P"
IM2COL = Kernel("conv.cu", "im2col", f"raw T x, {SIZES}", "T X",
    "X = im2col<T>(x, Index(i), H, W, C, OH, OW, K, S, P)")  # fmt: skip
COL2IM = Kernel("conv.cu", "col2im", f"raw T dX, {SIZES}", "T dx",
    "dx = col2im<T>(dX, Index(i), H, W, C, OH, OW, K, S, P)")  # fmt: skip


def im2col(x: Array, K: int, S: int, P: int) -> Array:
    """The patches of x (N, H, W, C) as the rows of X (N*OH*OW, K*K*C)."""
    N, H, W, C = x.shape
    OH, OW = (H + 2 * P - K) // S + 1, (W + 2 * P - K) // S + 1
    X = get_xp(x).empty((N * OH * OW, K * K * C), dtype=x.dtype)
    IM2COL(x, H, W, C, OH, OW, K, S, P, X)
    return X


def col2im(dX: Array, dx: Array, K: int, S: int, P: int) -> None:
    """The transpose of im2col: fills dx (N, H, W, C) from dX (N*OH*OW, K*K*C)."""
    _, H, W, C = dx.shape
    OH, OW = (H + 2 * P - K) // S + 1, (W + 2 * P - K) // S + 1
    COL2IM(dX, H, W, C, OH, OW, K, S, P, dx)


class Conv2d(Twin, page.Conv2d, device="gpu"):
    form = "gpu: im2col, cuBLAS"
    algorithm = "auto"
    input_grad = True  # False: backward returns None, for a first layer with nobody to pass dx to

    def forward(self, x: Array) -> tuple[Array, Any]:  # x (N, H, W, C)
        check_input(self, x, ("N", "H", "W", self.in_channels))
        if not is_square(self):
            return page.Conv2d.forward(self, x)
        xp, W = get_xp(x), self.params["weight"].reshape(-1, self.out_channels)  # (D, F)
        y = xp.empty((len(x), *self.output_shape(x.shape[1:])), dtype=x.dtype)
        Y = y.reshape(-1, self.out_channels)  # (M, F), a view
        for channels, filters in self.group_slices():
            X = im2col(x[..., channels], self.kernel_size, self.stride, self.padding)  # (M, D)
            xp.matmul(X, W[:, filters], out=Y[:, filters])
        if self.bias:
            Y += self.params["bias"]
        return y, x

    def backward(self, dy: Array, x: Array, grad: Params) -> Array:  # dy (N, OH, OW, F)
        if not is_square(self):
            dx = page.Conv2d.backward(self, dy, x, grad)
            return dx if self.input_grad else None
        xp, F = get_xp(x), self.out_channels
        W, dY = self.params["weight"].reshape(-1, F), dy.reshape(-1, F)  # (D, F), (M, F)
        into = grad["weight"]
        dW = into.reshape(-1, F) if into.flags.c_contiguous else xp.empty_like(W)
        dx = xp.empty_like(x) if self.input_grad else None
        for channels, filters in self.group_slices():
            X = im2col(x[..., channels], self.kernel_size, self.stride, self.padding)  # (M, D)
            xp.matmul(X.T, dY[:, filters], out=dW[:, filters])
            del X  # as large as dX
            if dx is not None:
                dX = xp.matmul(dY[:, filters], W[:, filters].T)  # (M, D)
                col2im(dX, dx[..., channels], self.kernel_size, self.stride, self.padding)
        if not into.flags.c_contiguous:
            into[...] = dW.reshape(into.shape)
        if self.bias:
            dy.sum(axis=(0, 1, 2), out=grad["bias"])
        return dx
