"""Conv2d's twin on a GPU -- without im2col's matrix (implicit.py), or with it and cuBLAS.

Which of the two is `algorithm`, see `accelerate`; "auto" takes what was faster.  With im2col, X
holds all images of the batch at once: a GPU prefers few large pieces of work to many small ones.
"""

from minialex.gpu import implicit
from minialex.gpu.activations import BACKWARD as RELU_BACKWARD
from minialex.gpu.kernel import INT_SIZES, SIZES, Kernel, window_sizes
from minialex.layers import conv as page
from minialex.layers.layer import check_input
from minialex.twin import Twin
from minialex.xp import get_xp

IM2COL = Kernel("conv.cu", "im2col", f"raw T x, {INT_SIZES}", "T X",
    f"X = im2col<T>(x, Index(i), {SIZES})")  # fmt: skip
COL2IM = Kernel("conv.cu", "col2im", f"raw T dX, {INT_SIZES}", "T dx",
    f"dx = col2im<T>(dX, Index(i), {SIZES})")  # fmt: skip


def im2col(layer, x):
    """The patches of x (N, H, W, C) as the rows of X (N*OH*OW, K*K*C)."""
    _, _, C, OH, OW, KH, KW, *_ = numbers = window_sizes(layer, x.shape)
    X = get_xp(x).empty((len(x) * OH * OW, KH * KW * C), dtype=x.dtype)
    IM2COL(x, *numbers, X)
    return X


def col2im(layer, dX, dx):
    """The transpose of im2col: fills dx (N, H, W, C) from dX (N*OH*OW, K*K*C)."""
    COL2IM(dX, *window_sizes(layer, dx.shape), dx)


class Conv2d(Twin, page.Conv2d, device="gpu"):
    algorithm = "auto"

    @property
    def form(self):
        """What `repr` says."""
        return f"gpu: {'implicit' if self._wants_implicit() else 'im2col, cuBLAS'}"

    # `relu`, here and in backward: sequential.py says what it is for.
    def forward(self, x, relu=False):  # x (N, H, W, C)
        check_input(self, x, ("N", "H", "W", self.in_channels))
        if self._implicit(x):
            return implicit.forward(self, x, relu), x
        xp, W = get_xp(x), self.params["weight"].reshape(-1, self.out_channels)  # (D, F)
        y = xp.empty((len(x), *self.output_shape(x.shape[1:])), dtype=x.dtype)
        Y = y.reshape(-1, self.out_channels)  # (M, F), a view
        for channels, filters in self.group_slices():
            X = im2col(self, x[..., channels])  # (M, D)
            xp.matmul(X, W[:, filters], out=Y[:, filters])
        if self.bias:
            Y += self.params["bias"]
        return xp.maximum(y, 0, out=y) if relu else y, x

    def backward(self, dy, x, grad, relu=False):
        if self._implicit(x):
            implicit.weight_gradient(self, x, dy, grad)
            return implicit.input_gradient(self, dy, x, relu) if self.input_grad else None
        xp, F = get_xp(x), self.out_channels
        W, dY = self.params["weight"].reshape(-1, F), dy.reshape(-1, F)  # (D, F), (M, F)
        into = grad["weight"]
        dW = into.reshape(-1, F) if into.flags.c_contiguous else xp.empty_like(W)
        dx = xp.empty_like(x) if self.input_grad else None
        for channels, filters in self.group_slices():
            X = im2col(self, x[..., channels])  # (M, D)
            xp.matmul(X.T, dY[:, filters], out=dW[:, filters])
            del X  # as large as dX
            if dx is not None:
                dX = xp.matmul(dY[:, filters], W[:, filters].T)  # (M, D)
                col2im(self, dX, dx[..., channels])
        if not into.flags.c_contiguous:
            into[...] = dW.reshape(into.shape)
        if self.bias:
            # The sum of the rows as a product: CuPy's sum takes a hundred times as long.
            grad["bias"][...] = xp.matmul(xp.ones((1, len(dY)), dtype=dY.dtype), dY)[0]
        if dx is not None and relu:
            RELU_BACKWARD(x, dx, dx)
        return dx

    def sums(self, places):
        """How many numbers backward takes to sum over `places`; 0 with im2col's columns."""
        return implicit.parts(self, places)[1] if self._wants_implicit() else 0

    def _wants_implicit(self):
        faster = self.algorithm == "auto" and implicit.faster()
        return faster or self.algorithm == "implicit"

    def _implicit(self, x):
        return self._wants_implicit() and implicit.can(self, x)
