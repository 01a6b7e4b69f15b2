"""Winograd convolution -- that of layers/conv.py with a fifth of its multiplications.

**In one dimension**, F(m, r): under m neighbouring outputs of a filter g of r weights lie
n = m + r - 1 inputs d.  `winograd_matrices.py` derives three small matrices, A (n, m), G (n, r) and
B (n, n), with which

    y = A^T [ (G g) . (B^T d) ]      "." multiplies element-wise: n multiplications instead of m*r

**In two dimensions** each matrix acts on the rows and the columns of a tile:
Y = A^T [ (G g G^T) . (B^T d B) ] A.  docs/book/09-winograd.md has that in 15 lines.
Written "M x d" for "M on both axes of d", and with the sum over the channels, the n*n
multiplications become n*n matrix products:

    forward     U = G x w       (n, n, C, F)     from w (r, r, C, F)
                V = B^T x d     (n, n, R, C)     from d (n, n, R, C), the R tiles of the images
                M[k] = V[k] U[k]    (R, F)       for each of the n*n positions k
                y = A^T x M     (m, m, R, F)     laid side by side: the output

    backward    dM = A x dy                      each line is the transpose of the one above it,
                dV[k] = dM[k] U[k]^T             and they run from the last to the first; d
                dU[k] = V[k]^T dM[k]             overlaps between neighbouring tiles, so their dd
                dd = B x dV,  dw = G^T x dU      are ADDED where they overlap

The point t = 1 has a row of ones in A.  What is added to M at the position of (1, 1) is therefore
added to every output: that is where the bias goes, and where its gradient is read.

An axis has tiles of two sizes, such as 5 + 4 + 4 for 13 outputs: `winograd_tiles.py` says why, and
which rows of V and M each position has.  Over AlexNet's five layers 0.23 of im2col's products are
left.

**Price.**  Digits.  Root mean square of the errors in float32, relative to that of the result, for
normally distributed x, dy and weights:

                        y        dx       dw
    im2col              4e-7     4e-7     4e-7
    4 x 4, r = 3        1.0e-6   1.3e-6   2.5e-6     tiles of conv1
                        2.6e-6   2.6e-6   8e-7       384 to 1,024 channels
    5 x 4, r = 3        3.1e-6   3.1e-6   1.0e-6     conv3 to conv5, and 1,024 channels
    4 x 4, r = 5        3.6e-6   5.6e-6   3.6e-6     conv2
                        7.1e-6   7.0e-6   2.4e-6     1,024 channels

The largest error was 1.4e-5 of the largest number; in float64 all are a billion times less.  Every
image has tiles of its own: nothing of one, however large or undefined, reaches another.

Shapes     N images | C channels in | F filters | r x r kernel | m x m outputs, n x n inputs a tile
           R tiles of the images at hand, in each region th x tw of an image

Reference: Lavin, Gray (2016), "Fast Algorithms for Convolutional Neural Networks", section 4.
"""

import itertools
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minialex.fast.scratch import packed, scratch
from minialex.fast.space_to_depth import to_depth, to_space, weight_to_depth, weight_to_space
from minialex.fast.threads import products
from minialex.fast.winograd_matrices import ONE, transforms
from minialex.fast.winograd_tiles import CHUNK_TILES

BLOCK = 16384  # numbers of each position that are transformed together: the cache holds them
SUM_TILES = 80  # that the weight gradient of kernels above 3x3 sums in a row: more round more


@lru_cache
def matrices(m, r, dtype):
    """A and B, each for the two axes of tiles of m outputs, a pair."""
    (A, _, B), (A2, _, B2) = (transforms(size, r) for size in m)
    return (A.astype(dtype), A2.astype(dtype)), (B.astype(dtype), B2.astype(dtype))


def transposed(matrices):
    """Each of them transposed."""
    return matrices[0].T, matrices[1].T


def both_axes(matrices, d, out):
    """out (p, s, L) = matrices (p, q) and (s, t) on the first and second axis of d (q, t, L)."""
    first, second = matrices
    for a in range(0, d.shape[2], BLOCK):
        block = slice(a, min(a + BLOCK, d.shape[2]))
        half = scratch(d, "winograd half", (len(d), len(second), block.stop - a))
        np.matmul(second, d[:, :, block], out=half)
        np.matmul(first, half.transpose(1, 0, 2), out=out[:, :, block].transpose(1, 0, 2))
    return out


def parts(V, plan, N):
    """Each region, from below and right, with as many of the N images as the cache holds.

    And their part of V, (*region.n, L), with all numbers of a position in a row:
    L = images * th * tw * C.
    """
    (nh, nw, _, C), rows = V.shape, plan.rows(N)
    flat = V.reshape(nh, nw, -1)
    for region in sorted(rows, key=lambda region: region.at, reverse=True):
        first, each = rows[region].start * C, region.th * region.tw * C
        step = max(1, BLOCK // each)
        for i in range(0, N, step):
            j = min(N, i + step)
            part = flat[: region.n[0], : region.n[1], first + i * each : first + j * each]
            yield region, slice(i, j), part


def outputs_of(y, region):
    """A view (*m, N, th, tw, F) of y (N, ., ., F): the outputs of a region's tiles."""
    (top, left), (mh, mw), th, tw = region.at, region.m, region.th, region.tw
    part = y[:, top : top + th * mh, left : left + tw * mw]
    return part.reshape(len(y), th, mh, tw, mw, -1).transpose(2, 4, 0, 1, 3, 5)


def inputs_of(canvas, region):
    """A view (*n, N, th, tw, C) of canvas (N, ., ., C): the inputs of a region's tiles."""
    (top, left), (mh, mw) = region.at, region.m
    part, (n, h, w, c) = canvas[:, top:, left:], canvas.strides
    shape = (*region.n, len(canvas), region.th, region.tw, canvas.shape[3])
    return as_strided(part, shape, (h, w, n, mh * h, mw * w, c), writeable=False)


def transform_input(x, plan):
    """V = B^T x d (n, n, R, S*S*C) of x (N, H, W, C), in scratch memory."""
    side, C = (plan.OH + plan.r - 1, plan.OW + plan.r - 1), plan.stride**2 * x.shape[3]
    V = scratch(x, "winograd V", (*plan.n, len(x) * plan.tiles, C))
    canvas = to_depth(x, plan.stride, plan.padding, side)
    for region, images, part in parts(V, plan, len(x)):
        d = copied(inputs_of(canvas[images], region))
        both_axes(transposed(matrices(region.m, plan.r, x.dtype)[1]), d, out=part)
    return V


def transform_output_gradient(dy, plan):
    """dM = A x dy (n, n, R, F) of dy (N, OH, OW, F), in scratch memory."""
    M = scratch(dy, "winograd M", (*plan.n, len(dy) * plan.tiles, dy.shape[3]))
    for region, images, part in parts(M, plan, len(dy)):
        Y = copied(outputs_of(dy[images], region))
        both_axes(matrices(region.m, plan.r, dy.dtype)[0], Y, out=part)
    return M


def copied(view):
    """A view (q, t, N, th, tw, C) as an array (q, t, L), in scratch memory."""
    return packed(view, "winograd tiles").reshape(*view.shape[:2], -1)


def transform_weight(weight, m, stride=1):
    """U = G x w (n, n, C, F) of weight (K, K, C, F), for tiles of m outputs of any image."""
    weight = weight_to_depth(weight, stride)
    r, _, C, F = weight.shape
    down, across = (transforms(size, r)[1].astype(weight.dtype) for size in m)
    U = np.empty((len(down), len(across), C * F), dtype=weight.dtype)
    return both_axes((down, across), weight.reshape(r, r, C * F), out=U).reshape(*U.shape[:2], C, F)


def winograd_forward(x, U, bias, plan):
    """The convolution y (N, OH, OW, F) of x (N, H, W, C) with a transformed weight U.

    `bias` is 0 where there is none.
    """
    y = np.empty((len(x), plan.OH, plan.OW, U.shape[3]), dtype=x.dtype)
    for images in plan.chunks(len(x)):
        V = transform_input(x[images], plan)
        M = scratch(x, "winograd M", (*V.shape[:3], U.shape[3]))
        products([(V[v], U[u], M[m]) for v, u, m in plan.products(images.stop - images.start)])
        M[ONE, ONE] += bias
        tiles_to_image(M, y[images], plan)
    return y


def tiles_to_image(M, y, plan):
    """y (N, OH, OW, F) = A^T x M, tile beside tile."""
    for region, images, part in parts(M, plan, len(y)):
        Y = scratch(y, "winograd tiles", (*region.m, part.shape[2]))
        both_axes(transposed(matrices(region.m, plan.r, y.dtype)[0]), part, out=Y)
        into = outputs_of(y[images], region)
        into[...] = Y.reshape(into.shape)


def winograd_backward(dy, x, U, grad, plan):
    """dx from dy (N, OH, OW, F), or None without a U; fills `grad`, with a bias or without."""
    C, F, dbias = x.shape[3], dy.shape[3], np.zeros(dy.shape[3], dtype=x.dtype)
    dU = scratch(x, "winograd dU", (*plan.n, plan.stride**2 * C // len(plan.groups), F))
    dx = None if U is None else np.empty(x.shape, dtype=x.dtype)
    for images in plan.chunks(len(x)):
        dM, V = transform_output_gradient(dy[images], plan), transform_input(x[images], plan)
        dbias += dM[ONE, ONE].sum(axis=0)
        several = list(plan.products(images.stop - images.start))
        each = [(V[v].swapaxes(1, 2), dM[m], dU[u]) for v, u, m in several]
        products(each, SUM_TILES if plan.r > 3 else CHUNK_TILES, add=images.start > 0)
        if dx is not None and U is not None:
            dV = V  # V is done with: its memory serves again
            products([(dM[m], U[u].swapaxes(1, 2), dV[v]) for v, u, m in several])
            tiles_to_input(dV, dx[images], plan)
    r = plan.r
    G, G2 = (transforms(m, r)[1].astype(x.dtype) for m in plan.m)
    dw = scratch(x, "winograd dw", (r, r, *dU.shape[2:]))
    both_axes((G.T, G2.T), dU.reshape(*plan.n, -1), out=dw.reshape(r, r, -1))
    weight_to_space(dw, grad["weight"], plan.stride)
    if "bias" in grad:
        grad["bias"][...] = dbias
    return dx


def tiles_to_input(dV, dx, plan):
    """dx (N, H, W, C): every tile of dd = B x dV ADDED where forward read it."""
    N, C, OH, OW = len(dx), dV.shape[3], plan.OH, plan.OW
    # Tiles begin inside the outputs, and their inputs end at most n further on.
    canvas = scratch(dx, "canvas", (N, OH + plan.n[0], OW + plan.n[1], C))
    canvas[:, OH:], canvas[:, :, OW:] = 0, 0
    for region, images, part in parts(dV, plan, N):
        (nh, nw), (mh, mw), here = region.n, region.m, canvas[images]
        dd = scratch(dx, "winograd tiles", (nh, nw, len(here), region.th, region.tw, C))
        both_axes(matrices(region.m, plan.r, dx.dtype)[1], part, out=dd.reshape(nh, nw, -1))
        # The first m x m inputs of the tiles lie side by side, and each place is written once; the
        # others are those of tiles below and to the right, which are there by then.
        for a, b in itertools.product(range(0, nh, mh), range(0, nw, mw)):
            tile = dd[a : a + mh, b : b + mw]
            into = outputs_of(here[:, a:, b:], region)[: len(tile), : tile.shape[1]]
            if a == b == 0:
                into[...] = tile
            else:
                into += tile
    to_space(canvas[:, : OH + plan.r - 1, : OW + plan.r - 1], dx, plan.stride, plan.padding)
