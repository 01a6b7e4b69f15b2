"""Conv2d -- a bank of small learned filters, slid over an image.

Every output number is the dot product of one filter with the image patch under it:

    y[n,p,q,f] = b[f] + sum over i,j,c of  x[n, p*S + i - P, q*S + j - P, c] * W[i,j,c,f]

where S is the stride, P the padding, and x is 0 outside the image.  `im2col` copies each patch into one row of
a matrix X, which turns these seven loops into one matrix product.  The chain rule for a matrix product is then
the whole backward pass:

    forward    Y  = X W + b            (M, F) = (M, D) (D, F)
    backward   dW = X^T dY             (D, F) = (D, M) (M, F)
               db = dY summed over M   (F,)
               dX = dY W^T             (M, D) = (M, F) (F, D)   and col2im turns dX into dx

Shapes     N images | H x W image | C channels in | F filters (channels out) | K x K kernel
           OH x OW output | D = K*K*C numbers in a patch | M = N*OH*OW patches

The channels stand last, so a patch is K runs of K*C neighbouring numbers, and Y is the next layer's input as
it stands.  X is K*K/(S*S) times larger than x; it is therefore built a few images at a time, and built again in
backward instead of kept.  The same sums can be had with a third of the multiplications: `winograd.py` is the
second chapter on this layer, for stride 1, to which `space_to_depth.py` leads larger strides back;
`algorithm="auto"` uses them where they are faster.  A GPU prefers few large products to many small ones: there
"auto" takes im2col, on all images at once.

With `groups` = G the channels are dealt to G independent convolutions side by side: group g reads the g-th
part of the input channels and writes the g-th part of the filters.  AlexNet was trained so, on two GPUs.

References
    Krizhevsky, Sutskever, Hinton (2012), "ImageNet Classification with Deep Convolutional Neural Networks",
        section 3.5: the five convolutions of AlexNet; section 3.2: two towers, here groups=2.
    Chellapilla, Puri, Simard (2006), "High Performance Convolutional Neural Networks for Document
        Processing": convolution as one matrix product.
    He, Zhang, Ren, Sun (2015), "Delving Deep into Rectifiers", eq. 10: the initial weights.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.backend import Array, Kernel, batch_slices, get_xp, plain_form, scratch
from minialex.fast.threads import product
from minialex.fast.winograd import transform_weight, winograd_backward, winograd_forward
from minialex.layers.layer import Layer, Params, Shape, check_shape, check_window, group_slices, output_size

ALGORITHMS = ("auto", "im2col", "winograd")
LEAST_OUTPUTS = 500  # places of the output, over all images, from which on Winograd's method is worth its while
COLUMN_BYTES = 8 << 20  # im2col works on so many images at once that X stays about this large


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


@plain_form
def im2col(x: Array, K: int, S: int, P: int) -> Array:
    """Copy the patches of x (N, H, W, C) into the rows of X (N*OH*OW, K*K*C)."""
    N, H, W, C = x.shape
    OH, OW = output_size(H, K, S, P), output_size(W, K, S, P)
    x = pad(x, P)
    n, h, w, c = x.strides
    # patches[n, p, q, i, j, c] = x[n, p*S + i, q*S + j, c]: a view, no number is copied yet
    patches = get_xp(x).lib.stride_tricks.as_strided(x, (N, OH, OW, K, K, C), (n, S * h, S * w, h, w, c))
    X = scratch(x, "columns", patches.shape)
    X[...] = patches
    return X.reshape(N * OH * OW, K * K * C)


# For a GPU, each number of X is fetched by a thread of its own: number i is that of patch (n, p, q), place (a, b).
IM2COL = Kernel(
    "im2col", "raw T x, int32 H, int32 W, int32 C, int32 OH, int32 OW, int32 K, int32 S, int32 P", "T X",
    """
    Index k = i;
    const int c = k % C; k /= C;
    const int b = k % K; k /= K; const int a = k % K; k /= K;
    const int q = k % OW; k /= OW; const int p = k % OH;
    const int h = p * S + a - P, w = q * S + b - P;
    const Index at[] = {k / OH, h, w, c};
    X = h >= 0 && h < H && w >= 0 && w < W ? x[at] : T(0)
    """,
)  # fmt: skip


@im2col.on_gpu
def _im2col_on_gpu(x: Array, K: int, S: int, P: int) -> Array:
    N, H, W, C = x.shape
    OH, OW = output_size(H, K, S, P), output_size(W, K, S, P)
    X = scratch(x, "columns", (N * OH * OW, K * K * C))
    IM2COL(x, H, W, C, OH, OW, K, S, P, X)
    return X


@plain_form
def col2im(dX: Array, dx: Array, K: int, S: int, P: int) -> None:
    """The transpose of im2col: ADD each row of dX back onto its patch, since patches overlap; fills dx."""
    N, H, W, C = dx.shape
    OH, OW = output_size(H, K, S, P), output_size(W, K, S, P)
    dX = dX.reshape(N, OH, OW, K, K, C)
    padded = scratch(dx, "pad", (N, H + 2 * P, W + 2 * P, C))
    padded[...] = 0
    for i in range(K):  # what weight (i, j) saw, at all places at once
        for j in range(K):
            padded[:, i : i + S * OH : S, j : j + S * OW : S] += dX[:, :, :, i, j]
    dx[...] = padded[:, P : P + H, P : P + W]


# For a GPU: each number of dx is gathered by its own thread, from all patches that hold it, in the order above.
COL2IM = Kernel(
    "col2im", "raw T dX, int32 H, int32 W, int32 C, int32 OH, int32 OW, int32 K, int32 S, int32 P", "T dx",
    """
    Index k = i;
    const int c = k % C; k /= C;
    const int w = k % W + P; k /= W; const int h = k % H + P;
    const Index n = k / H;
    T sum = 0;
    for (int p = min(h / S, OH - 1); p >= 0 && h - p * S < K; p--)
        for (int q = min(w / S, OW - 1); q >= 0 && w - q * S < K; q--)
            sum += dX[((((n * OH + p) * OW + q) * K + h - p * S) * K + w - q * S) * C + c];
    dx = sum
    """,
)  # fmt: skip


@col2im.on_gpu
def _col2im_on_gpu(dX: Array, dx: Array, K: int, S: int, P: int) -> None:
    _, H, W, C = dx.shape
    COL2IM(dX, H, W, C, output_size(H, K, S, P), output_size(W, K, S, P), K, S, P, dx)


class Conv2d(Layer):
    """2-D convolution (in fact cross-correlation: the kernel is not flipped).

    x (N, H, W, in_channels) -> y (N, OH, OW, out_channels) with OH = (H + 2*padding - kernel_size)//stride + 1.
    Parameters: weight (K, K, in_channels/groups, out_channels) and bias (out_channels,).

    `rng` draws the initial weights: normal, with standard deviation `std`, or He's sqrt(2/D) where none is
    given; the bias starts at 0.
    `algorithm` is "im2col", "winograd" or "auto".  With `input_grad=False` backward returns
    None instead of dx: the first layer of a network has nobody to pass it to.

    Raises ValueError for sizes that do not fit together.
    """

    torch_axes = {"weight": (3, 2, 0, 1)}  # noqa: RUF012 -- PyTorch: (F, C, K, K)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        *,
        rng: np.random.Generator,
        std: float | None = None,
        algorithm: str = "auto",
        input_grad: bool = True,
    ):
        super().__init__()
        if min(in_channels, out_channels, kernel_size, stride, groups) < 1 or padding < 0:
            raise ValueError("Conv2d: channels, kernel_size, stride and groups must be at least 1, padding 0")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: {in_channels} and {out_channels} channels cannot be dealt to {groups} groups"
            )
        if algorithm not in ALGORITHMS:
            raise ValueError(f"Conv2d: unknown algorithm '{algorithm}'; choose {', '.join(ALGORITHMS)}")
        if algorithm == "winograd" and stride > 1 and groups > 1:
            raise ValueError(f"Conv2d: winograd with stride {stride} needs groups=1, got {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self._geometry: dict[str, Any] = {"padding": padding, "stride": stride, "groups": groups}
        self.input_grad = input_grad
        self.algorithm = algorithm
        self.deep_kernel = -(-kernel_size // stride)  # K' of space_to_depth.py; K itself for stride 1

        shape = (kernel_size, kernel_size, in_channels // groups, out_channels)
        D = kernel_size * kernel_size * (in_channels // groups)
        weight = rng.standard_normal(shape, dtype=np.float32)
        weight *= math.sqrt(2 / D) if std is None else std
        self.params = {"weight": weight, "bias": np.zeros(out_channels, dtype=np.float32)}

    def forward(self, x: Array) -> tuple[Array, Any]:  # x (N, H, W, C)
        check_shape(self, x, ("N", "H", "W", self.in_channels))
        check_window(self, x.shape[1], x.shape[2], self.kernel_size, self.padding)
        weight, bias = self.params["weight"], self.params["bias"]
        if self.uses_winograd(x):
            return winograd_forward(x, weight, bias, U=self.shared, **self._geometry), x

        W = weight.reshape(-1, self.out_channels)  # (D, F)
        OH, OW, F = self.output_shape(x.shape[1:])
        y = get_xp(x).empty((len(x), OH, OW, F), dtype=x.dtype)
        for images in self._chunks(x):
            Y = y[images].reshape(-1, F)  # (M, F), a view
            for channels, filters in group_slices(self.in_channels, F, self.groups):
                X = im2col(x[images][..., channels], self.kernel_size, self.stride, self.padding)  # (M, D)
                product(X, W[:, filters], out=Y[:, filters])
            Y += bias
        return y, x

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:  # dy (N, OH, OW, F)
        x, F = cache, self.out_channels
        if self.uses_winograd(x):
            options = {"input_grad": self.input_grad, "U": self.shared, **self._geometry}
            return winograd_backward(dy, x, self.params["weight"], grad, **options)

        W = self.params["weight"].reshape(-1, F)  # (D, F)
        dW = grad["weight"].reshape(-1, F)  # (D, F), a view
        dx = get_xp(x).empty_like(x) if self.input_grad else None
        for images in self._chunks(x):
            dY = dy[images].reshape(-1, F)  # (M, F)
            for channels, filters in group_slices(self.in_channels, F, self.groups):
                X = im2col(x[images][..., channels], self.kernel_size, self.stride, self.padding)  # (M, D)
                if images.start == 0:
                    product(X.T, dY[:, filters], out=dW[:, filters])
                else:
                    dW[:, filters] += product(X.T, dY[:, filters])
                del X  # as large as dX
                if dx is not None:
                    dX = product(dY[:, filters], W[:, filters].T)  # (M, D)
                    col2im(dX, dx[images][..., channels], self.kernel_size, self.stride, self.padding)
        dy.sum(axis=(0, 1, 2), out=grad["bias"])
        return dx

    def uses_winograd(self, x: Array) -> bool:
        """Whether Winograd's method is used for x (N, H, W, C): where it is asked for, or faster."""
        return self.algorithm == "winograd" or (get_xp(x) is np and self._prefers_winograd(x.shape))

    def _prefers_winograd(self, shape: Shape) -> bool:
        if self.algorithm != "auto":
            return self.algorithm == "winograd"
        # Below 3x3 there is nothing to save, above 5x5 the transforms lose too many digits, and for few outputs
        # the transform of the weights costs more than it saves.
        OH, OW, _ = self.output_shape(shape[1:])
        fits = 3 <= self.deep_kernel <= 5 and (self.stride == 1 or self.groups == 1)
        return fits and shape[0] * OH * OW >= LEAST_OUTPUTS

    def share(self, shape: Shape) -> Array | None:
        """Winograd's U of the weights, where inputs of `shape` (N, H, W, C) need it."""
        if not self._prefers_winograd(shape):
            return None
        return transform_weight(self.params["weight"], self.stride)

    def _chunks(self, x: Array) -> Iterator[slice]:
        """Slices of the batch, so many images each that their columns take about COLUMN_BYTES; on a GPU all."""
        OH, OW, _ = self.output_shape(x.shape[1:])
        D = self.params["weight"][..., 0].size
        return batch_slices(x, OH * OW * D * x.dtype.itemsize, COLUMN_BYTES)

    def output_shape(self, shape: Shape) -> Shape:
        H, W, _ = shape
        size = (self.kernel_size, self.stride, self.padding)
        return output_size(H, *size), output_size(W, *size), self.out_channels

    def multiply_adds(self, shape: Shape) -> int:
        OH, OW, _ = self.output_shape(shape)
        return OH * OW * int(self.params["weight"].size)

    def __repr__(self) -> str:
        text = f"Conv2d({self.in_channels}, {self.out_channels}, {self.kernel_size}"
        for name, default in (("stride", 1), ("padding", 0), ("groups", 1)):
            value = getattr(self, name)
            text += f", {name}={value}" if value != default else ""
        return text + ")"
