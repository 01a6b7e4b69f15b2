"""Convolutions for the tests of minialex/gpu/implicit.py, and ways to have them computed so.

A `Kind` is one module of implicit.cu's kernels: an arithmetic, tiles of so many columns, and
whether channels and filters come in fours.
"""

import functools
import math
from typing import NamedTuple

import cupy
import numpy as np

from device import has_gpu, on_device
from minialex.errors import pair
from minialex.gpu import implicit
from minialex.gpu.implicit import FLOAT32, ROWS, TF32, THREE_TF32
from minialex.layers import Conv2d
from minialex.params import zeros_like

FOURS = ((4, 4), (4, 1), (1, 4), (1, 1))
WIDTHS = {FLOAT32: (64,), TF32: (128, 96, 64), THREE_TF32: (128, 96, 64)}


class Kind(NamedTuple):
    """The settings of a module."""

    math: int
    columns: int
    vx: int
    vf: int

    def __str__(self):
        return "-".join(map(str, self))


def kinds(math):
    """All that this arithmetic uses (96 columns only where filters come in fours)."""
    return [Kind(math, n, vx, vf) for n in WIDTHS[math] for vx, vf in FOURS if n != 96 or vf == 4]


class Case(NamedTuple):
    """A convolution of x (N, H, W, C) to F filters; K, S and P are numbers or pairs."""

    N: int
    H: int
    W: int
    C: int
    F: int
    K: int | tuple[int, int]
    S: int | tuple[int, int]
    P: int | tuple[int, int]
    G: int
    bias: bool = True
    ceil_mode: bool = False

    def layer(self):
        """The page's, with some weights."""
        C, F, *sizes, bias, ceil_mode = self[3:]
        how = {"bias": bias, "ceil_mode": ceil_mode, "rng": np.random.default_rng(0)}
        return Conv2d(C, F, *sizes, **how)

    def cost(self, columns):
        """How many steps of 16 products its three passes make, in tiles of 128 columns."""
        G, C, F, (SH, SW) = self.G, self.C // self.G, self.F // self.G, pair(self.S)
        KH, KW = pair(self.K)
        D, M = KH * KW * C, self.N * math.prod(self.places())
        pixels, taps = self.N * -(-self.H // SH) * -(-self.W // SW), -(-KH // SH) * -(-KW // SW)
        passes = ((M, F, G, D), (pixels, C, G * SH * SW, taps * F), (D + self.bias, F, G, M))
        return sum(
            -(-rows // ROWS) * -(-n // columns) * times * -(-k // 16) * columns / 128
            for rows, n, times, k in passes
        )

    def places(self):
        """OH, OW."""
        axes = zip((self.H, self.W), *map(pair, (self.K, self.S, self.P)), strict=True)
        more = [(size + (min(K, S) - 1) * self.ceil_mode, K, S, P) for size, K, S, P in axes]
        return [(size + 2 * P - K) // S + 1 for size, K, S, P in more]


BY_HAND = [Case(*sizes) for sizes in [
    # one number; one window; dense layers; K < S; windows outside of the image; long and thin
    (1, 1, 1, 1, 1, 1, 1, 0, 1), (1, 3, 3, 4, 4, 3, 1, 0, 1), (7, 1, 1, 130, 10, 1, 1, 0, 1),
    (128, 1, 1, 64, 96, 1, 1, 0, 1), (129, 1, 1, 15, 17, 1, 1, 0, 1), (2, 6, 7, 5, 8, 1, 3, 0, 1),
    (1, 8, 9, 8, 2, 2, 4, 3, 1), (1, 3, 2, 4, 5, 1, 1, 3, 1), (1, 2, 2, 3, 4, 6, 1, 3, 1),
    (1, 30, 1, 7, 3, 1, 1, 0, 1), (1, 1, 40, 4, 130, 1, 2, 0, 1), (2, 4, 5, 16, 16, 3, 1, 1, 8),
    # windows that hang over the edge, of which some see zeros alone
    (2, 6, 7, 4, 8, 3, 2, 0, 1, True, True), (1, 38, 38, 3, 16, 11, 4, 0, 1, True, True),
    (1, 9, 6, 8, 4, (2, 5), (3, 4), (0, 1), 2, False, True),
    (3, 5, 8, 4, 4, 2, (4, 3), (1, 0), 1, True, True),
    # AlexNet's five layers, in one tower and in two, with fewer pixels and filters
    (1, 39, 39, 3, 24, 11, 4, 0, 1), (1, 32, 32, 3, 16, 11, 4, 2, 1), (1, 9, 9, 24, 64, 5, 1, 2, 1),
    (1, 9, 9, 24, 64, 5, 1, 2, 2), (2, 6, 6, 64, 96, 3, 1, 1, 1), (2, 6, 6, 96, 96, 3, 1, 1, 2),
    (2, 6, 6, 96, 64, 3, 1, 1, 2),
    # along a row and along a column; padding below alone; a stride that skips; D of 128 and no bias
    (2, 9, 9, 8, 12, (1, 7), 1, (0, 3), 1), (2, 9, 9, 8, 12, (7, 1), 1, (3, 0), 1),
    (1, 8, 9, 4, 8, (3, 2), 1, (1, 0), 1), (2, 7, 8, 4, 4, (2, 1), (1, 3), (1, 0), 1, False),
    (1, 9, 5, 3, 5, (5, 2), (3, 1), (0, 2), 1, False), (1, 8, 6, 32, 16, 2, 1, 0, 1, False),
    (2, 5, 9, 8, 8, (3, 5), (2, 4), (1, 2), 2, False), (1, 6, 40, 3, 4, (2, 3), (1, 2), (2, 0), 1),
]]  # fmt: skip
MOST = 45  # of `cost`


def fits(case, kind):
    """Whether these kernels do this convolution."""
    fours = [4 if n // case.G % 4 == 0 else 1 for n in (case.C, case.F)]
    return fours == [kind.vx, kind.vf]


def generated(kind, count):
    """`count` convolutions for this kind, always the same."""
    rng, found = np.random.default_rng(kind), []

    def channels(four):
        return four * int(rng.integers(1, 1 + (40 if rng.random() < 0.25 else 7) * 4 // four))

    while len(found) < count:
        K, S, P = (rng.integers(*of, 2).tolist() for of in ((1, 7), (1, 5), (0, 4)))
        # Each is a pair in half of the cases.
        pairs, bias, N = int(rng.integers(8)), len(found) % 3 > 0, int(rng.integers(1, 5))
        K, S, P = (tuple(n) if pairs >> b & 1 else n[0] for b, n in enumerate((K, S, P)))
        G, (H, W) = int(rng.choice([1, 1, 2, 3, 8])), rng.integers(1, 21, 2).tolist()
        case = Case(N, H, W, G * channels(kind.vx), G * channels(kind.vf), K, S, P, G, bias)
        if min(case.places()) > 0 and fits(case, kind) and case.cost(kind.columns) < MOST:
            found.append(case)
    return found


def force(patch, math, columns=None, options=()):
    """Have everything computed by this arithmetic, in tiles of `columns`, on any GPU.

    Ordinary multiplications are for GPUs before Ampere, which have two stages.
    """
    patch.setattr(implicit, "arithmetic", lambda: math)
    patch.setattr(implicit, "capability", lambda: 75 if math == FLOAT32 else 80)
    patch.setattr(implicit, "module", functools.cache(implicit.module.__wrapped__))
    if columns:
        patch.setattr(implicit, "tiling", lambda rows, n, times, narrow: (
            -(-rows // ROWS) * -(-n // columns), columns))  # fmt: skip
    else:
        patch.setattr(implicit, "tiling", functools.cache(implicit.tiling.__wrapped__))
    raw = cupy.RawModule
    patch.setattr(cupy, "RawModule", lambda code, options: raw(
        code=code, options=(*options, *extra)))  # fmt: skip
    extra = (*options, *(["-DASYNC=0"] if math == FLOAT32 else []))


def take_turns(backwards):
    """The order of threads, where they are emulated; backwards, copies arrive at once."""
    if not has_gpu():
        from cupyemu import device

        device.take_turns(int(backwards))


class Problem:
    """A convolution with its numbers, and what the page makes of them on the CPU.

    `draw(name, shape)` draws numbers; `relu`: through a ReLU, and as if x came from one.
    """

    def __init__(self, case, draw, relu=False):
        self.case, self.relu, self.page = case, relu, case.layer()
        for name, value in self.page.params.items():
            value[...] = draw(name, value.shape)
        self.x = draw("x", case[:4])
        y, cache = self.page.forward(self.x)
        self.dy = draw("dy", y.shape)
        grad = zeros_like(self.page.params)
        dx = self.page.backward(self.dy, cache, grad)
        if relu:
            y, dx = np.maximum(y, 0), np.where(self.x <= 0, np.float32(0), dx)
        self.expected = {"y": y, **grad, "dx": dx}

    def layer(self):
        """The layer on the GPU."""
        layer = self.case.layer()
        layer.params = {key: on_device(value) for key, value in self.page.params.items()}
        return layer

    def solve(self, spread=lambda array: array):
        """The same on the GPU; arrays lie in memory as `spread` puts them."""
        layer = self.layer()
        layer.params = {key: spread(value) for key, value in layer.params.items()}
        x, dy = spread(on_device(self.x)), spread(on_device(self.dy))
        grad = {key: spread(value) for key, value in zeros_like(layer.params).items()}
        for array in grad.values():
            array[...] = math.nan
        y = implicit.forward(layer, x, self.relu)
        implicit.weight_gradient(layer, x, dy, grad)
        dx = implicit.input_gradient(layer, dy, x, self.relu)
        return {"y": y, **grad, "dx": dx}
