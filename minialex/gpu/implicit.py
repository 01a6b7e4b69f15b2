"""Convolution on a GPU without im2col's matrix ("implicit GEMM") -- the kernels of implicit.cu.

The page writes im2col's matrix X to memory, K*K / (S*S) times as large as x, and multiplies it by
the weights.  On a GPU most of the time goes into moving X: two thirds of all bytes of a step.  But
a product needs of its factors only a few rows and columns at a time, in the multiprocessor's own
shared memory.  So let the product fetch its part of X straight from x, by the page's formula

    X[(n, p, q), (i, j, c)] = x[n, p*S + i - P, q*S + j - P, c]        (0 outside of the image)

and X is never written.  Neighbouring patches overlap, and the cache serves most of the fetches.
The backward products are of the same kind: dW = X^T dY fetches X by columns, and col2im of
dY W^T is a convolution of dy with the weights turned round.

    bias        a row of ones below X^T makes db the last row of dW
    ReLU        is applied to each number of y before it is written, and its derivative to each
                number of dx
    tensor cores multiply in TF32, with 10 bits after the point instead of float32's 23.  A float32
                is the sum of two such numbers but for its last two bits, and the product of two
                sums is that of four terms, of which the smallest may be left out:

                    (a + a') (b + b')  is about  a b + a b' + a' b          ("3xTF32")

                Three products of tensor cores take less time than one without them.  This is
                what you get unless you ask for TF32.

Source: Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning" (arXiv 1410.0759,
section 3); 3xTF32: Ootomo and Yokota 2022, "Recovering single precision accuracy from Tensor Cores
while surpassing the FP32 theoretical peak performance" (arXiv 2203.03341).
"""

import functools
import importlib
import math
import os
from importlib.resources import files
from typing import Any

import numpy as np

from minialex.gpu.kernel import LARGEST_INT32
from minialex.layers.conv import Conv2d
from minialex.xp import Array, get_xp

ROWS, AMPERE = 128, 80  # of a tile of the result; the first GPUs with TF32
FLOAT32, TF32, THREE_TF32 = 0, 1, 3  # MATH in implicit.cu


def can(layer: Conv2d, x: Array) -> bool:
    """Whether these kernels can do the convolution: float32, with indices of 32 bits."""
    N, D = len(x), layer.params["weight"].size // layer.out_channels
    largest = max(x.size, N * math.prod(layer.output_shape(x.shape[1:])), D * layer.out_channels)
    weight = layer.params["weight"]
    return x.dtype == weight.dtype == np.float32 and 0 < x.size and largest <= LARGEST_INT32


def faster() -> bool:
    """Whether they beat im2col with cuBLAS on this GPU: where it has TF32."""
    return capability() >= AMPERE


def forward(layer: Conv2d, x: Array, relu: bool) -> Array:
    """y (N, OH, OW, F) of x (N, H, W, C), through a ReLU if `relu`."""
    y = get_xp(x).empty((len(x), *layer.output_shape(x.shape[1:])), dtype=x.dtype)
    run = Kernels(layer, x, y)
    weight, bias = run.whole(layer.params["weight"]), run.whole(layer.params["bias"])
    filters = layer.out_channels // layer.groups
    tiles, columns = run.tiles(y.size // y.shape[-1], filters)
    run("conv_forward", columns, (tiles, layer.groups), run.whole(x), weight, bias, relu, y)
    return y


def weight_gradient(layer: Conv2d, x: Array, dy: Array) -> tuple[Array, Array]:
    """(dw like the weight, db (F,)) of x and dy."""
    xp, run = get_xp(x), Kernels(layer, x, dy)
    F, D = layer.out_channels, layer.params["weight"].size // layer.out_channels
    tiles, columns = run.tiles(D + 1, F // layer.groups)
    # About four blocks for each place of the GPU, and sums of 512 or more.
    places = 2 * processors()
    parts = max(1, min(4 * places // (tiles * layer.groups), dy.size // F // 512))
    sums = xp.empty((parts, D + 1, F), dtype=x.dtype)
    grid = tiles, layer.groups * parts
    run("conv_dw", columns, grid, run.whole(x), run.whole(dy), sums, np.int32(parts))
    dw, db = xp.empty(layer.params["weight"].shape, dtype=x.dtype), xp.empty(F, dtype=x.dtype)
    function = module(FLOAT32, 64, 1, 1).get_function("sum_parts")
    function((-(-(dw.size + F) // 256),), (256,), (sums, dw, db, *map(np.int32, (parts, D, F))))
    return dw, db


def input_gradient(layer: Conv2d, dy: Array, x: Array, masked: bool) -> Array:
    """dx like x, of dy; with `masked` 0 where x, the output of a ReLU, is."""
    dx, S, G = get_xp(x).empty(x.shape, dtype=x.dtype), layer.stride, layer.groups
    run = Kernels(layer, x, dy)
    N, H, W, C = x.shape
    tiles, columns = run.tiles(N * -(-H // S) * -(-W // S), C // G)
    weight = run.whole(layer.params["weight"])
    mask = run.whole(x) if masked else np.uintp(0)
    run("conv_dx", columns, (tiles, G * S * S), run.whole(dy), weight, mask, dx)
    return dx


class Kernels:
    """The kernels for a convolution of x to y."""

    def __init__(self, layer: Conv2d, x: Array, y: Array):
        (N, H, W, C), (_, OH, OW, F) = x.shape, y.shape
        K, S, P, G = layer.kernel_size, layer.stride, layer.padding, layer.groups
        self.geometry = tuple(map(np.int32, (N, H, W, C, OH, OW, F, K, S, P, G)))
        self.channels, self.filters = C // G, F // G

    def whole(self, array: Array) -> Array:
        """`array`, contiguous and on a multiple of 16 bytes, copied where it is not."""
        array = get_xp(array).ascontiguousarray(array)
        return array if array.data.ptr % 16 == 0 else array.copy()

    def tiles(self, rows: int, columns: int) -> tuple[int, int]:
        """How many tiles the result has, and of how many columns: those that waste the least."""
        wide = (128, 96, 64) if self.filters % 4 == 0 and arithmetic() else (128, 64)
        if not arithmetic() and capability() < AMPERE:
            wide = (64,)  # it has not the registers for more
        down = -(-rows // ROWS)
        best = min(wide, key=lambda n: (-(-columns // n) * n, -n))
        if best == 128 and down * -(-columns // best) < 2 * processors():
            best = 64  # smaller tiles, or some multiprocessors have nothing to do
        return down * -(-columns // best), best

    def __call__(self, name: str, columns: int, grid: tuple[int, int], *arguments: Any) -> None:
        widths = (4 if n % 4 == 0 else 1 for n in (self.channels, self.filters))
        function = module(arithmetic(), columns, *widths).get_function(name)
        threads = 256 if arithmetic() == FLOAT32 else 128
        function(grid, (threads,), (*arguments, *self.geometry))


def arithmetic() -> int:
    """MATH of implicit.cu on this GPU."""
    if capability() < AMPERE:
        return FLOAT32
    return TF32 if os.environ.get("CUPY_TF32") == "1" else THREE_TF32


@functools.cache
def capability() -> int:
    """The compute capability of the GPU, such as 90."""
    return int(importlib.import_module("cupy").cuda.Device().compute_capability)


@functools.cache
def processors() -> int:
    """How many multiprocessors the GPU has."""
    cupy = importlib.import_module("cupy")
    return int(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["multiProcessorCount"])


@functools.cache
def module(math: int, columns: int, vx: int, vf: int) -> Any:
    """implicit.cu, compiled for these settings."""
    settings = {"MATH": math, "BN": columns, "VX": vx, "VF": vf}
    settings["STAGES"] = 3 if capability() >= AMPERE else 2
    code = files(__package__).joinpath("implicit.cu").read_text("utf-8")
    options = ("-std=c++17", *(f"-D{name}={value}" for name, value in settings.items()))
    return importlib.import_module("cupy").RawModule(code=code, options=options)
