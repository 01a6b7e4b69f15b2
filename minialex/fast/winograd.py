"""Winograd convolution -- that of layers/conv.py with a quarter of its multiplications.

**In one dimension**, F(m, r): under m neighbouring outputs of a filter g of r weights lie
n = m + r - 1 inputs d.  `winograd_matrices.py` derives three small matrices, A (n, m), G (n, r) and
B (n, n), with which

    y = A^T [ (G g) . (B^T d) ]      "." multiplies element-wise: n multiplications instead of m*r

**In two dimensions** each matrix acts on the rows and the columns of a tile:
Y = A^T [ (G g G^T) . (B^T d B) ] A.  docs/book/09-winograd.md has that in 15 lines.
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
last tiles overhang the image: 13 outputs are 4 tiles of 4 but 3 of 5.  The two axes need not have
the same m: AlexNet's conv3 to conv5 take tiles of 5 x 4, F(5, 3) down and F(4, 3) across, and 504
products an image instead of 576.  (Tiles of 5 x 5 would take 441, and err more than 1e-5.)  Over
AlexNet's five layers 0.26 of im2col's are left.

**Price.**  Digits.  Root mean square of the errors in float32, relative to that of the result, for
normally distributed x, dy and weights:

                     y        dx       dw
    im2col           4e-7     4e-7     4e-7
    4 x 4, r = 3     1.0e-6   1.3e-6   2.5e-6     conv1
                     2.6e-6   2.6e-6   8e-7       384 to 1,024 channels
    5 x 4, r = 3     3.8e-6   3.8e-6   1.5e-6     conv3 to conv5, and 1,024 channels
    4 x 4, r = 5     3.6e-6   5.6e-6   3.6e-6     conv2
                     7.1e-6   7.0e-6   2.4e-6     1,024 channels
    5 x 5, r = 3     4.0e-6   5.8e-6   3.0e-6     128 channels; not used

The largest error was 1.3e-5 of the largest output; in float64 all are a billion times less.  Every
image has tiles of its own: nothing of one, however large or undefined, reaches another.

Shapes     N images | C channels in | F filters | r x r kernel | m x m outputs, n x n inputs a tile
           R tiles of the images at hand, th x tw of each | what overhangs an image sees zeros

Reference: Lavin, Gray (2016), "Fast Algorithms for Convolutional Neural Networks", section 4.
"""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minialex.fast.scratch import scratch
from minialex.fast.space_to_depth import to_depth, to_space, weight_to_depth, weight_to_space
from minialex.fast.threads import pieces, products
from minialex.fast.winograd_matrices import POINTS, interpolation_points, transforms
from minialex.params import Params, Shape
from minialex.xp import Array

CHUNK_TILES = 400  # tiles at work at once: enough rows for fast products, few enough for memory
BLOCK = 16384  # numbers of each position that are transformed together: the cache holds them
SUM_TILES = 100  # that the weight gradient of kernels above 3x3 sums in a row: more round more
WORTH = 0.9  # tiles of 5 err more than those of 4: they have to save a tenth of the products


Pair = tuple[int, int]
Matrices = tuple[Array, Array]  # for the rows and for the columns of a tile


class Plan(NamedTuple):
    """The geometry of one call."""

    m: Pair  # outputs of a tile, down and across
    r: int
    n: Pair  # inputs of a tile
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
        down, across = (interpolation_points(n).index(Fraction(1)) for n in self.n)
        return down * self.n[1] + across

    def matrices(self, dtype: Any) -> tuple[Matrices, Matrices, Matrices]:
        """A, G, B, each for the two axes of a tile."""
        down, across = (transforms(m, self.r) for m in self.m)
        A, G, B = ((a.astype(dtype), b.astype(dtype)) for a, b in zip(down, across, strict=True))
        return A, G, B

    def chunks(self, N: int) -> list[slice]:
        """Slices of the batch, of about CHUNK_TILES tiles each."""
        return pieces(N, max(1, -(-N // max(1, CHUNK_TILES // (self.th * self.tw)))))

    def blocks(self, N: int, channels: int) -> list[tuple[slice, slice]]:
        """(images, their part of the last axis): as many images at once as the cache holds."""
        each = self.th * self.tw * channels
        step = max(1, BLOCK // each)
        ends = [(i, min(N, i + step)) for i in range(0, N, step)]
        return [(slice(i, j), slice(i * each, j * each)) for i, j in ends]


def tile_size(r: int, OH: int) -> Pair:
    """The outputs of a tile for r x r kernels and OH rows of outputs in all.

    4 x 4, or 5 x 4 where that saves enough products.  Raises ValueError for r > 7.
    """
    if r > len(POINTS):
        raise ValueError(f"winograd: kernels up to 7x7 are possible, got {r}x{r}")
    # Products of a column of tiles, each r + 3 wide: those of 4 rows are r + 3 high, of 5, r + 4.
    of_4, of_5 = -(-OH // 4) * (r + 3), -(-OH // 5) * (r + 4)
    m = min(4, len(POINTS) + 2 - r)
    return (5, 4) if r == 3 and of_5 < WORTH * of_4 else (m, m)


def make_plan(
    shape: Shape, weight_shape: Shape, padding: int, stride: int = 1, groups: int = 1,
    m: Pair | None = None, sides: Pair | None = None) -> Plan:  # fmt: skip
    """The tiles for x of `shape` (N, H, W, C), of m[0] x m[1] outputs where m is given.

    `sides` are OH and OW where the last windows hang over the edge.
    """
    (_, H, W, C), (K, _, _, F) = shape, weight_shape
    OH, OW = sides or ((side + 2 * padding - K) // stride + 1 for side in (H, W))
    r, C = -(-K // stride), C * stride**2
    m = m or tile_size(r, OH)
    n, th, tw = (m[0] + r - 1, m[1] + r - 1), -(-OH // m[0]), -(-OW // m[1])
    c, f = C // groups, F // groups
    parts = [(slice(g * c, g * c + c), slice(g * f, g * f + f)) for g in range(groups)]
    return Plan(m, r, n, stride, padding, th, tw, OH, OW, parts)


def both_axes(matrices: Matrices, d: Array, out: Array) -> Array:
    """out (p, s, L) = matrices (p, q) and (s, t) on the first and second axis of d (q, t, L)."""
    first, second = matrices
    for a in range(0, d.shape[2], BLOCK):
        block = slice(a, min(a + BLOCK, d.shape[2]))
        half = scratch(d, "winograd half", (len(d), len(second), block.stop - a))
        np.matmul(second, d[:, :, block], out=half)
        np.matmul(first, half.transpose(1, 0, 2), out=out[:, :, block].transpose(1, 0, 2))
    return out


def transposed(matrices: Matrices) -> Matrices:
    """Each of them transposed."""
    return matrices[0].T, matrices[1].T


def transform(matrices: Matrices, images: Array, S: int, P: int, plan: Plan, name: str) -> Array:
    """`matrices` on both axes of every tile of the images: (n*n, R, S*S*C), in scratch memory.

    The tiles lie as on images with padding P, and with blocks of S x S pixels for pixels.
    """
    size, N, (mh, mw) = (matrices[0].shape[1], matrices[1].shape[1]), len(images), plan.m
    side = (plan.th - 1) * mh + size[0], (plan.tw - 1) * mw + size[1]
    C = S * S * images.shape[3]
    result = scratch(images, name, (*plan.n, N * plan.th * plan.tw * C))
    for some, part in plan.blocks(N, C):
        canvas = to_depth(images[some], S, P, side)
        view = sliding_window_view(canvas, size, axis=(1, 2))[:, ::mh, ::mw]
        view = view.transpose(4, 5, 0, 1, 2, 3)  # (*size, N, th, tw, C), uncopied
        d = scratch(images, "winograd tiles", view.shape)
        d[...] = view
        both_axes(matrices, d.reshape(*size, -1), out=result[:, :, part])
    return result.reshape(plan.n[0] * plan.n[1], -1, C)


def transform_weight(weight: Array, m: Pair, stride: int = 1) -> Array:
    """U = G x w (n*n, C, F) of weight (K, K, C, F): the same for all images."""
    weight = weight_to_depth(weight, stride)
    r, _, C, F = weight.shape
    down, across = (transforms(size, r)[1].astype(weight.dtype) for size in m)
    U = np.empty((len(down), len(across), C * F), dtype=weight.dtype)
    return both_axes((down, across), weight.reshape(r, r, C * F), out=U).reshape(-1, C, F)


def winograd_forward(x: Array, U: Array, bias: Array | int, plan: Plan) -> Array:
    """The convolution y (N, OH, OW, F) of x (N, H, W, C) with a transformed weight U.

    `bias` is 0 where there is none.
    """
    A, _, B = plan.matrices(x.dtype)
    y = np.empty((len(x), plan.OH, plan.OW, U.shape[2]), dtype=x.dtype)
    for images in plan.chunks(len(x)):
        V = transform(transposed(B), x[images], plan.stride, plan.padding, plan, "winograd V")
        M = scratch(x, "winograd M", (len(V), V.shape[1], U.shape[2]))  # (n*n, R, F)
        for channels, filters in plan.groups:
            products(V[:, :, channels], U[:, :, filters], out=M[:, :, filters])
        M[plan.ones] += bias
        tiles_to_image(M, A, y[images], plan)
    return y


def tiles_to_image(M: Array, A: Matrices, y: Array, plan: Plan) -> None:
    """y (N, OH, OW, F) = A^T x M, tile beside tile; what overhangs is cut off."""
    N, m, F = len(y), plan.m, y.shape[3]
    M = M.reshape(*plan.n, -1)
    for images, part in plan.blocks(N, F):
        Y = scratch(y, "winograd tiles", (*m, part.stop - part.start))
        both_axes(transposed(A), M[:, :, part], out=Y)
        Y = Y.reshape(*m, -1, plan.th, plan.tw, F).transpose(2, 3, 0, 4, 1, 5)
        for tiles_of, image in zip(Y, y[images], strict=True):
            side_by_side(tiles_of, image)


def side_by_side(tiles: Array, image: Array) -> None:
    """image (H, W, F) from its tiles (th, m, tw, s, F); what overhangs is cut off."""
    (H, W, F), (_, m, _, s, _) = image.shape, tiles.shape
    h, w = H // m, W // s  # whole tiles; then come parts of tiles
    image[: h * m, : w * s].reshape(h, m, w, s, F)[...] = tiles[:h, :, :w]
    if W % s:
        image[: h * m, w * s :].reshape(h, m, W % s, F)[...] = tiles[:h, :, w, : W % s]
    if H % m:
        image[h * m :, : w * s].reshape(H % m, w, s, F)[...] = tiles[h, : H % m, :w]
    if H % m and W % s:
        image[h * m :, w * s :] = tiles[h, : H % m, w, : W % s]


def winograd_backward(
    dy: Array, x: Array, U: Array | None, grad: Params, plan: Plan
) -> Array | None:
    """dx from dy (N, OH, OW, F), or None without a U; fills `grad`, with a bias or without."""
    A, G, B = plan.matrices(x.dtype)
    dU, dbias = None, np.zeros(dy.shape[3], dtype=x.dtype)
    dx = None if U is None else np.empty(x.shape, dtype=x.dtype)
    for images in plan.chunks(len(x)):
        dM = transform(A, dy[images], 1, 0, plan, "winograd M")
        dbias += dM[plan.ones].sum(axis=0)
        V = transform(transposed(B), x[images], plan.stride, plan.padding, plan, "winograd V")
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
    both_axes(transposed(G), dU.reshape(*plan.n, -1), out=dw)
    weight_to_space(dw.reshape(r, r, C, F), grad["weight"], plan.stride)
    if "bias" in grad:
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
        dU = part if dU is None else np.add(dU, part, out=dU)
    return dU


def tiles_to_input(dV: Array, B: Matrices, dx: Array, plan: Plan) -> None:
    """dx (N, H, W, C): every tile of dd = B x dV ADDED where forward read it."""
    (mh, mw), (nh, nw), th, tw, C = plan.m, plan.n, plan.th, plan.tw, dV.shape[2]
    dV = dV.reshape(nh, nw, -1)
    for images, part in plan.blocks(len(dx), C):
        dd = scratch(dx, "winograd tiles", (nh, nw, part.stop - part.start))
        both_axes(B, dV[:, :, part], out=dd)
        N = images.stop - images.start
        canvas = scratch(dx, "canvas", (N, (th - 1) * mh + nh, (tw - 1) * mw + nw, C))
        canvas[:, mh * th :], canvas[:, :, mw * tw :] = 0, 0
        for at, tile in enumerate(dd.reshape(nh * nw, N, th, tw, C)):
            a, b = divmod(at, nw)
            pixels = canvas[:, a : a + mh * th : mh, b : b + mw * tw : mw]
            if a < mh and b < mw:  # these come first, side by side; the others overlap them
                pixels[...] = tile
            else:
                pixels += tile
        to_space(canvas, dx[images], plan.stride, plan.padding)
