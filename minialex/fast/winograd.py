"""Winograd convolution -- that of layers/conv.py with a quarter of its multiplications.

**In one dimension**, F(m, r): under m neighbouring outputs of a filter g of r weights lie
n = m + r - 1 inputs d.  `winograd_matrices.py` derives three small matrices, A (n, m), G (n, r) and
B (n, n), with which

    y = A^T [ (G g) . (B^T d) ]      "." multiplies element-wise: n multiplications instead of m*r

**In two dimensions** each matrix acts on the rows and the columns of a tile:
Y = A^T [ (G g G^T) . (B^T d B) ] A.  `plain_winograd` in winograd_matrices.py is that in 15 lines.
Written "M x d" for "M on both axes of d", and with the sum over the channels, the n*n
multiplications become n*n matrix products:

    forward     U = G x w       (n*n, C, F)      from w (r, r, C, F)
                V = B^T x d     (n*n, R, C)      from d (n, n, R, C), the R tiles of the images
                M[k] = V[k] U[k]    (R, F)       for each of the n*n positions k
                y = A^T x M     (m, m, R, F)     laid side by side: the output

    backward    dM = A x dy                      each line is the transpose of the one above it,
                dV[k] = dM[k] U[k]^T             and they run from the last to the first; d
                dU[k] = V[k]^T dM[k]             overlaps between neighbouring tiles, so their dd
                dd = B x dV,  dw = G^T x dU      are ADDED where they overlap

The point t = 1 has a row of ones in A.  What is added to M at the position of (1, 1) is therefore
added to every output: that is where the bias goes, and where its gradient is read.

**Cost.**  Multiplications per output and channel: r*r before, n*n/(m*m) now, and more where the
last tiles overhang the image: 13 outputs are 4 tiles of 4 but 3 of 5, so AlexNet's conv3 to conv5
take F(5, 3), 441 products an image instead of 576.  Over AlexNet's five layers 0.24 of im2col's
are left.

**Price.**  Digits.  Root mean square of the errors in float32, relative to that of the result, with
the channels of AlexNet's layers:

                y        dx       dw
    im2col      3e-7     4e-7     3e-7
    F(4, 3)     1.7e-6   2.5e-6   1.6e-6     conv3, had it tiles of 4; conv1: 1e-6, -, 2.4e-6
    F(5, 3)     4.0e-6   5.8e-6   3.0e-6     conv3 to conv5
    F(4, 5)     3.0e-6   5.6e-6   3.1e-6     conv2

and in float64 a billion times less.  Every image has tiles of its own: nothing of one image,
however large or undefined, reaches another.

Shapes     N images | C channels in | F filters | r x r kernel | m x m outputs, n x n inputs a tile
           R tiles of the images at hand, th x tw of each | what overhangs an image sees zeros

Reference: Lavin, Gray (2016), "Fast Algorithms for Convolutional Neural Networks", section 4.
"""

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from minialex.fast.scratch import scratch
from minialex.fast.space_to_depth import to_depth, to_space, weight_to_depth, weight_to_space
from minialex.fast.threads import products
from minialex.fast.winograd_matrices import POINTS, interpolation_points, transforms
from minialex.params import Params, Shape
from minialex.xp import Array

CHUNK_TILES = 400  # tiles at work at once: enough rows for fast products, few enough for memory
BLOCK = 8192  # numbers of each position that are transformed together: the cache holds them
SUM_TILES = (
    100  # tiles that the weight gradient of kernels above 3x3 sums in a row: more round more
)
WORTH = 0.8  # F(5, 3) errs twice as much as F(4, 3): it has to save a fifth of the products


class Plan(NamedTuple):
    """The geometry of one call."""

    m: int
    r: int
    n: int
    stride: int
    padding: int
    th: int  # tiles down the image
    tw: int  # tiles across
    OH: int
    OW: int
    groups: list[tuple[slice, slice]]  # the channels that each group reads, and those it writes

    @property
    def ones(self) -> int:
        """The position of the point (1, 1) among the n*n."""
        return interpolation_points(self.n).index(Fraction(1)) * (self.n + 1)

    def chunks(self, N: int) -> list[slice]:
        """Slices of the batch, of about CHUNK_TILES tiles each."""
        count = max(1, -(-N // max(1, CHUNK_TILES // (self.th * self.tw))))
        edges = [i * N // count for i in range(count + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def pieces(self, N: int, channels: int) -> list[tuple[slice, slice]]:
        """(images, their part of the last axis): as many images at once as the cache holds."""
        each = self.th * self.tw * channels
        step = max(1, BLOCK // each)
        starts = range(0, N, step)
        ends = [min(N, i + step) for i in starts]
        return [(slice(i, j), slice(i * each, j * each)) for i, j in zip(starts, ends, strict=True)]


def tile_size(r: int, OH: int, OW: int) -> int:
    """The m for r x r kernels and OH x OW outputs: 4, or 5 where that saves enough products.

    Raises ValueError for r > 7.
    """
    if r > len(POINTS):
        raise ValueError(f"winograd: kernels up to 7x7 are possible, got {r}x{r}")
    if r != 3:
        return min(4, len(POINTS) + 2 - r)
    return 5 if products_of(5, 3, OH, OW) < WORTH * products_of(4, 3, OH, OW) else 4


def products_of(m: int, r: int, OH: int, OW: int) -> int:
    """The multiplications per channel and filter of one image."""
    return -(-OH // m) * -(-OW // m) * (m + r - 1) ** 2


def make_plan(
    shape: Shape, weight_shape: Shape, padding: int, stride: int = 1, groups: int = 1,
    m: int | None = None,
) -> Plan:  # fmt: skip
    """The tiles for x of `shape` (N, H, W, C), of m x m outputs where m is given."""
    (_, H, W, C), (K, _, _, F) = shape, weight_shape
    OH, OW = ((side + 2 * padding - K) // stride + 1 for side in (H, W))
    r, C = -(-K // stride), C * stride**2
    m = m or tile_size(r, OH, OW)
    c, f = C // groups, F // groups
    parts = [(slice(g * c, g * c + c), slice(g * f, g * f + f)) for g in range(groups)]
    return Plan(m, r, m + r - 1, stride, padding, -(-OH // m), -(-OW // m), OH, OW, parts)


def both_axes(matrix: Array, d: Array, out: Array) -> Array:
    """out (p, p, L) = matrix (p, q) on the second and on the first axis of d (q, q, L)."""
    (p, q), L = matrix.shape, d.shape[2]
    for a in range(0, L, BLOCK):
        block = slice(a, min(a + BLOCK, L))
        half = scratch(d, "winograd half", (q, p, block.stop - a))
        np.matmul(matrix, d[:, :, block], out=half)
        np.matmul(matrix, half.transpose(1, 0, 2), out=out[:, :, block].transpose(1, 0, 2))
    return out


def tiles(canvas: Array, size: int, plan: Plan) -> Array:
    """View (size, size, N, th, tw, C) of canvas (N, ., ., C): number (a, b) of tiles m apart."""
    n, h, w, c = canvas.strides
    shape = (size, size, len(canvas), plan.th, plan.tw, canvas.shape[3])
    strides = (h, w, n, plan.m * h, plan.m * w, c)
    return np.lib.stride_tricks.as_strided(canvas, shape, strides)


def transform(matrix: Array, images: Array, S: int, P: int, plan: Plan, name: str) -> Array:
    """matrix (n, size) on both axes of every size x size tile: (n*n, R, S*S*C), in scratch memory.

    The tiles lie as on images with padding P, and with blocks of S x S pixels for pixels.
    """
    (n, size), N, m = matrix.shape, len(images), plan.m
    side = (plan.th - 1) * m + size, (plan.tw - 1) * m + size
    C = S * S * images.shape[3]
    result = scratch(images, name, (n, n, N * plan.th * plan.tw * C))
    for some, part in plan.pieces(N, C):
        canvas = to_depth(images[some], S, P, side)
        view = tiles(canvas, size, plan)
        d = scratch(images, "winograd tiles", view.shape)
        d[...] = view
        both_axes(matrix, d.reshape(size, size, -1), out=result[:, :, part])
    return result.reshape(n * n, -1, C)


def transform_weight(weight: Array, m: int, stride: int = 1) -> Array:
    """U = G x w (n*n, C, F) of weight (K, K, C, F): the same for all images."""
    weight = weight_to_depth(weight, stride)
    r, _, C, F = weight.shape
    G = transforms(m, r)[1].astype(weight.dtype)
    U = np.empty((*2 * (m + r - 1,), C * F), dtype=weight.dtype)
    return both_axes(G, weight.reshape(r, r, C * F), out=U).reshape(-1, C, F)


def winograd_forward(x: Array, U: Array, bias: Array, plan: Plan) -> Array:
    """The convolution y (N, OH, OW, F) of x (N, H, W, C) with a transformed weight U."""
    A, _, B = (matrix.astype(x.dtype) for matrix in transforms(plan.m, plan.r))
    y = np.empty((len(x), plan.OH, plan.OW, U.shape[2]), dtype=x.dtype)
    for images in plan.chunks(len(x)):
        V = transform(B.T, x[images], plan.stride, plan.padding, plan, "winograd V")
        M = scratch(x, "winograd M", (plan.n**2, V.shape[1], U.shape[2]))  # (n*n, R, F)
        for channels, filters in plan.groups:
            products(V[:, :, channels], U[:, :, filters], out=M[:, :, filters])
        M[plan.ones] += bias
        tiles_to_image(M, A, y[images], plan)
    return y


def tiles_to_image(M: Array, A: Array, y: Array, plan: Plan) -> None:
    """y (N, OH, OW, F) = A^T x M, tile beside tile; what overhangs is cut off."""
    N, m, F = len(y), plan.m, y.shape[3]
    M = M.reshape(plan.n, plan.n, -1)
    for images, part in plan.pieces(N, F):
        Y = scratch(y, "winograd tiles", (m, m, part.stop - part.start))
        both_axes(A.T, M[:, :, part], out=Y)
        Y = Y.reshape(m, m, -1, plan.th, plan.tw, F).transpose(2, 3, 0, 4, 1, 5)
        for tiles_of, image in zip(Y, y[images], strict=True):
            side_by_side(tiles_of, image)


def side_by_side(tiles: Array, image: Array) -> None:
    """image (H, W, F) from its tiles (th, m, tw, m, F); what overhangs is cut off."""
    (H, W, F), m = image.shape, tiles.shape[1]
    h, w = H // m, W // m  # whole tiles; then come parts of tiles
    image[: h * m, : w * m].reshape(h, m, w, m, F)[...] = tiles[:h, :, :w]
    if W % m:
        image[: h * m, w * m :].reshape(h, m, W % m, F)[...] = tiles[:h, :, w, : W % m]
    if H % m:
        image[h * m :, : w * m].reshape(H % m, w, m, F)[...] = tiles[h, : H % m, :w]
    if H % m and W % m:
        image[h * m :, w * m :] = tiles[h, : H % m, w, : W % m]


def winograd_backward(
    dy: Array, x: Array, U: Array | None, grad: Params, plan: Plan
) -> Array | None:
    """dx from dy (N, OH, OW, F), or None without a U; fills grad["weight"] and grad["bias"]."""
    A, G, B = (matrix.astype(x.dtype) for matrix in transforms(plan.m, plan.r))
    dU, dbias = None, np.zeros(dy.shape[3], dtype=x.dtype)
    dx = None if U is None else np.empty(x.shape, dtype=x.dtype)
    for images in plan.chunks(len(x)):
        dM = transform(A, dy[images], 1, 0, plan, "winograd M")
        dbias += dM[plan.ones].sum(axis=0)
        V = transform(B.T, x[images], plan.stride, plan.padding, plan, "winograd V")
        dU = add_products(dU, V, dM, plan)
        if dx is not None and U is not None:
            dV = V  # V is done with: its memory serves again
            for channels, filters in plan.groups:
                Ut = U[:, :, filters].transpose(0, 2, 1)
                products(dM[:, :, filters], Ut, out=dV[:, :, channels])
            tiles_to_input(dV, B, dx[images], plan)
    assert dU is not None
    (_, C, F), r = dU.shape, plan.r
    dw = scratch(x, "winograd dw", (r, r, C * F))
    both_axes(G.T, dU.reshape(plan.n, plan.n, -1), out=dw)
    weight_to_space(dw.reshape(r, r, C, F), grad["weight"], plan.stride)
    grad["bias"][...] = dbias
    return dx


def add_products(dU: Array | None, V: Array, dM: Array, plan: Plan) -> Array:
    """dU (n*n, C/groups, F) + V^T dM, in scratch memory; dU is None at first."""
    _, R, C = V.shape
    F, groups = dM.shape[2], plan.groups
    step = SUM_TILES if plan.r > 3 else CHUNK_TILES
    for i in range(0, max(1, R), step):
        some = slice(i, i + step)
        name = "winograd dU" if dU is None else "winograd dU part"
        part = scratch(V, name, (len(V), C // len(groups), F))
        for channels, filters in groups:
            Vt = V[:, some, channels].transpose(0, 2, 1)
            products(Vt, dM[:, some, filters], out=part[:, :, filters])
        if dU is None:
            dU = part
        else:
            dU += part
    return dU


def tiles_to_input(dV: Array, B: Array, dx: Array, plan: Plan) -> None:
    """dx (N, H, W, C): every tile of dd = B x dV ADDED where forward read it."""
    m, n, th, tw, C = plan.m, plan.n, plan.th, plan.tw, dV.shape[2]
    dV = dV.reshape(n, n, -1)
    for images, part in plan.pieces(len(dx), C):
        dd = scratch(dx, "winograd tiles", (n, n, part.stop - part.start))
        both_axes(B, dV[:, :, part], out=dd)
        N = images.stop - images.start
        canvas = scratch(dx, "canvas", (N, (th - 1) * m + n, (tw - 1) * m + n, C))
        canvas[:, m * th :], canvas[:, :, m * tw :] = 0, 0
        for at, tile in enumerate(dd.reshape(n * n, N, th, tw, C)):
            a, b = divmod(at, n)
            pixels = canvas[:, a : a + m * th : m, b : b + m * tw : m]
            if a < m and b < m:  # these come first, side by side; the others overlap them
                pixels[...] = tile
            else:
                pixels += tile
        to_space(canvas, dx[images], plan.stride, plan.padding)
