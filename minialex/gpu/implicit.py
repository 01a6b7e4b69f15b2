"""Convolution on a GPU without im2col's matrix ("implicit GEMM"): implicit.cu and tiles.cu.

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

import numpy as np

from minialex.gpu.kernel import whole, window_sizes
from minialex.xp import get_xp

ROWS, AMPERE = 128, 80  # of a tile of the result; the first GPUs with TF32
FOR_DATA_CENTERS = (80, 90, 100, 103)  # A100, H100, B200, B300
ROUNDS = 2
LARGEST_GRID = 65535  # CUDA's limit of a grid in its second direction
FLOAT32, TF32, THREE_TF32 = 0, 1, 3  # MATH in tiles.cu
# Numbers of an array that indices of 32 bits can reach, and as far again beyond its edges.
LARGEST = 2**30
NOTHING = np.uintp(0)  # a pointer to no array


def can(layer, x):
    """Whether these kernels can do the convolution: float32, with indices of 32 bits, in a grid."""
    N, weight = len(x), layer.params["weight"]
    largest = max(x.size, N * math.prod(layer.output_shape(x.shape[1:])), weight.size)
    grid = layer.groups * math.prod(layer.window[1])
    fits = largest <= LARGEST and grid <= LARGEST_GRID
    return {x.dtype, weight.dtype} == {np.dtype(np.float32)} and x.size > 0 and fits


def faster():
    """Whether these kernels should beat im2col with cuBLAS on this GPU.

    They did on an H100.  GPUs that are not for data centers do TF32 at most twice as fast as
    float32, by their data sheets, and three products instead of one would take them longer.
    """
    return arithmetic() == TF32 or capability() in FOR_DATA_CENTERS


def forward(layer, x, relu):
    """y (N, OH, OW, F) of x (N, H, W, C), through a ReLU if `relu`."""
    y = get_xp(x).empty((len(x), *layer.output_shape(x.shape[1:])), dtype=x.dtype)
    run, G = Kernels(layer, x), layer.groups
    tiles, columns = tiling(y.size // y.shape[-1], run.filters, G, run.narrow)
    weight = whole(layer.params["weight"])
    bias = whole(layer.params["bias"]) if layer.bias else NOTHING
    run("conv_forward", columns, (tiles, G), whole(x), weight, bias, np.int32(relu), y)
    return y


def parts(layer, places):
    """How many parts the sums of a weight gradient over `places` have, and numbers in all.

    They make about ROUNDS of tiles, and each part is of 512 places or more.
    """
    F, G = layer.out_channels, layer.groups
    tiles, _ = tiling(rows(layer), F // G, 4 * processors(), F // G % 4 > 0)
    count = max(1, min(2 * ROUNDS * processors() // (tiles * G), places // 512))
    return count, count * rows(layer) * F


def rows(layer):
    """Of the gradients of weight and bias, one below the other: D, and 1 where there is a bias."""
    return int(layer.params["weight"].size) // layer.out_channels + layer.bias


def weight_gradient(layer, x, dy, grad):
    """Fills grad["weight"], and grad["bias"] where there is one, from x and dy."""
    xp, run, D1 = get_xp(x), Kernels(layer, x), rows(layer)
    tiles, columns = tiling(D1, run.filters, 4 * processors(), run.narrow)
    count, size = parts(layer, dy.size // dy.shape[-1])
    sums, grid = xp.empty(size, dtype=x.dtype), (tiles, layer.groups * count)
    run("conv_dw", columns, grid, whole(x), whole(dy), sums, np.int32(D1), np.int32(count))
    into = [grad[key] for key in ("weight", "bias") if key in layer.params]
    out = [xp.ascontiguousarray(array) for array in into]  # themselves, where they are
    of_all = size // count
    function, sizes = run.module(columns).get_function("sum_parts"), (count, of_all, out[0].size)
    pointers = sums, out[0], out[1] if layer.bias else NOTHING
    function((-(-of_all // 256),), (256,), (*pointers, *map(np.int32, sizes)))
    for array, found in zip(into, out, strict=True):
        if found is not array:
            array[...] = found


def input_gradient(layer, dy, x, masked):
    """dx like x, of dy; with `masked` 0 where x, the output of a ReLU, is."""
    dx, (SH, SW) = get_xp(x).empty(x.shape, dtype=x.dtype), layer.window[1]
    run, (N, H, W, _), parts = Kernels(layer, x), x.shape, layer.groups * SH * SW
    tiles, columns = tiling(N * -(-H // SH) * -(-W // SW), run.channels, parts, run.narrow)
    weight, mask = whole(layer.params["weight"]), whole(x) if masked else NOTHING
    run("conv_dx", columns, (tiles, parts), whole(dy), weight, mask, dx)
    return dx


class Kernels:
    """The kernels for a convolution of x."""

    def __init__(self, layer, x):
        F, G = layer.out_channels, layer.groups
        self.geometry = tuple(map(np.int32, (len(x), *window_sizes(layer, x.shape), F, G)))
        self.channels, self.filters = layer.in_channels // G, F // G
        self.narrow = self.filters % 4 > 0  # 96 columns are for threads that copy four at once

    def module(self, columns):
        """The kernels, for tiles of `columns`."""
        widths = (4 if n % 4 == 0 else 1 for n in (self.channels, self.filters))
        return module(arithmetic(), columns, *widths)

    def __call__(self, name, columns, grid, *arguments):
        threads = 256 if arithmetic() == FLOAT32 else 128
        function = self.module(columns).get_function(name)
        function(grid, (threads,), (*arguments, *self.geometry))


@functools.cache
def tiling(rows, columns, times, narrow):
    """How many tiles a result has, and of how many columns: those that take the least time.

    There are `times` such results.  `narrow`: not tiles of 96.
    """
    wide = [128, 64] if narrow or not arithmetic() else [128, 96, 64]
    if capability() < AMPERE:
        wide = [64]  # it has not the registers for more
    down, across = -(-rows // ROWS), {n: -(-columns // n) for n in wide}
    best = min(wide, key=lambda n: seconds(down * across[n] * times, n))
    return down * across[best], best


def seconds(tiles, columns):
    """About how long the GPU takes, in a unit of its own.

    A multiprocessor has room for two or three tiles at a time, and a round of them takes as long
    as they have columns.  In the last round, one tile alone takes as long as two.  Narrow tiles
    make fewer products of what they fetch.
    """
    room = 3 if columns == 64 else 2
    rounds, rest = divmod(tiles, room * processors())
    last = max(2, -(-rest // processors())) if rest else 0
    return (rounds * room + last) * columns * {128: 1.0, 96: 1.1, 64: 1.25}[columns]


@functools.cache
def arithmetic():
    """MATH of tiles.cu on this GPU; as CuPy does, a process asks once whether it is TF32."""
    if capability() < AMPERE:
        return FLOAT32
    return TF32 if os.environ.get("CUPY_TF32") == "1" else THREE_TF32


@functools.cache
def capability():
    """The compute capability of the GPU, such as 90."""
    return int(importlib.import_module("cupy").cuda.Device().compute_capability)


@functools.cache
def processors():
    """How many multiprocessors the GPU has."""
    cupy = importlib.import_module("cupy")
    return int(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["multiProcessorCount"])


@functools.cache
def module(math, columns, vx, vf):
    """The kernels, compiled for these settings."""
    settings = {"MATH": math, "BN": columns, "VX": vx, "VF": vf}
    settings["STAGES"] = 3 if capability() >= AMPERE else 2
    names = "tiles.cu", "implicit.cu"
    code = "".join(files(__package__).joinpath(name).read_text("utf-8") for name in names)
    options = ("-std=c++17", *(f"-D{name}={value}" for name, value in settings.items()))
    return importlib.import_module("cupy").RawModule(code=code, options=options)
