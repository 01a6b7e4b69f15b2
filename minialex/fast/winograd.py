"""Winograd convolution -- the convolution of conv.py with a third of its multiplications.  The second chapter.

**In one dimension**, F(m, r): under m neighbouring outputs of a filter g of r weights lie n = m + r - 1 inputs d.
`winograd_matrices.py` derives three small matrices, A (n, m), G (n, r) and B (n, n), with which

    y = A^T [ (G g) . (B^T d) ]         "." multiplies number by number: n multiplications instead of m*r

**In two dimensions** each matrix acts on the rows and the columns of a tile: Y = A^T [ (G g G^T) . (B^T d B) ] A.
Written "M x d" for "M on both axes of d", and with the sum over the channels, the n*n multiplications become n*n
matrix products:

    forward     U = G x w       (n*n, C, F)        from w (r, r, C, F)
                V = B^T x d     (n*n, R, C)        from d (n, n, R, C), the R tiles of the images
                M[k] = V[k] U[k]    (R, F)         for each of the n*n positions k
                y = A^T x M     (m, m, R, F)       laid side by side: the output

    backward    dM = A x dy                        each line is the transpose of the one above it, and they are
                dV[k] = dM[k] U[k]^T               run from the last to the first; d overlaps between neighbouring
                dU[k] = V[k]^T dM[k]               tiles, so their dd are ADDED where they overlap
                dd = B x dV,  dw = G^T x dU

The point t = 1 has a row of ones in A.  What is added to M at the position of (1, 1) is therefore added to every
output: that is where the bias goes, and where its gradient is read.

**Cost.**  Multiplications per output and channel: r*r before, n*n/(m*m) now.  F(4x4, 3x3): 9 -> 2.25.
F(4x4, 5x5): 25 -> 4.  **Price.**  Digits: in float32 the error relative to the output (root mean square) is 3e-7
for im2col, 1e-6 for F(4, 3) and 3e-6 for F(4, 5); in float64 a billion times less.

Shapes     N images | C channels in | F filters | r x r kernel | m x m outputs and n x n inputs of a tile
           R tiles of the images at hand, th x tw of each image | tiles that overhang the image see zeros

References
    Lavin, Gray (2016), "Fast Algorithms for Convolutional Neural Networks", section 4: the n*n matrix products.
"""

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from minialex.fast.mosaic import PIECES, mosaic, unmosaic
from minialex.fast.scratch import scratch
from minialex.fast.space_to_depth import to_depth, to_space, weight_to_depth, weight_to_space
from minialex.fast.threads import products
from minialex.fast.winograd_matrices import POINTS, interpolation_points, transforms
from minialex.params import Params
from minialex.xp import Array, get_xp

CHUNK_TILES = (
    400  # tiles at work at once: enough rows for fast products, few enough to bound the memory
)
BLOCK = 8192  # numbers of each position that are transformed at a time, so that the cache holds them in between
SUM_TILES = (
    100  # tiles that the weight gradient of kernels above 3x3 sums in a row: longer sums round more
)


def group_slices(C: int, F: int, groups: int) -> list[tuple[slice, slice]]:
    """Of C channels and F filters: what each group of a convolution reads, and what it writes."""
    c, f = C // groups, F // groups
    return [(slice(g * c, (g + 1) * c), slice(g * f, (g + 1) * f)) for g in range(groups)]


class Plan(NamedTuple):
    """The geometry of one call.  A canvas is an image with what its tiles need around it, or a mosaic of four."""

    m: int
    r: int
    n: int
    stride: int
    padding: int
    th: int  # tiles down the canvas
    tw: int  # tiles across
    OH: int
    OW: int
    groups: int
    pitch: tuple[int, int] | None  # of the mosaics; None: each image by itself

    @property
    def ones(self) -> int:
        """The position of the point (1, 1) among the n*n."""
        return interpolation_points(self.n).index(Fraction(1)) * (self.n + 1)

    @property
    def images(self) -> int:
        """Images on a canvas."""
        return PIECES if self.pitch else 1

    def chunks(self, N: int) -> list[slice]:
        """Slices of the batch, of about CHUNK_TILES tiles each."""
        canvases = -(-N // self.images)
        count = max(1, -(-canvases // max(1, CHUNK_TILES // (self.th * self.tw))))
        edges = [min(N, i * canvases // count * self.images) for i in range(count + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]


def tile_size(r: int) -> int:
    """The m of r x r kernels: 4 while there are points enough.  Raises ValueError for r > 7."""
    if r > len(POINTS):
        raise ValueError(
            f"winograd: kernels up to {len(POINTS)}x{len(POINTS)} are possible, got {r}x{r}"
        )
    return min(4, len(POINTS) + 2 - r)


def make_plan(
    x: Array, weight: Array, padding: int, stride: int, groups: int, m: int | None
) -> Plan:
    """Tiles of m x m outputs, by default 4 x 4, cover the output of x (N, H, W, C); of mosaics if that saves some.

    F(5, 3) would fit 13 x 13 outputs with a quarter less multiplications, but errs more than twice as much.
    """
    (N, H, W, _), K = x.shape, weight.shape[0]
    r = -(-K // stride)
    OH, OW = ((side + 2 * padding - K) // stride + 1 for side in (H, W))
    m = m or tile_size(r)
    one = Plan(m, r, m + r - 1, stride, padding, -(-OH // m), -(-OW // m), OH, OW, groups, None)
    pitch = H + padding, W + padding
    four = one._replace(th=-(-(pitch[0] + OH) // m), tw=-(-(pitch[1] + OW) // m), pitch=pitch)
    saves = -(-N // PIECES) * four.th * four.tw < N * one.th * one.tw
    return (
        four if saves and stride == 1 and padding < r else one
    )  # with more padding outputs would overlap


def matrices(x: Array, plan: Plan) -> tuple[Array, Array, Array]:
    """A, G, B where x is, in its dtype."""
    A, G, B = (get_xp(x).asarray(matrix, dtype=x.dtype) for matrix in transforms(plan.m, plan.r))
    return A, G, B


def both_axes(matrix: Array, d: Array, out: Array) -> Array:
    """out (p, p, L) = matrix (p, q) on the second and on the first axis of d (q, q, L)."""
    (p, q), L = matrix.shape, d.shape[2]
    xp = get_xp(d)
    for a in range(0, L, BLOCK):
        block = slice(a, min(a + BLOCK, L))
        half = scratch(d, "winograd half", (q, p, block.stop - a))
        xp.matmul(matrix, d[:, :, block], out=half)
        xp.matmul(matrix, half.transpose(1, 0, 2), out=out[:, :, block].transpose(1, 0, 2))
    return out


def tiles(canvas: Array, size: int, plan: Plan) -> Array:
    """View (size, size, N, th, tw, C) of canvas (N, ., ., C): number (a, b) of every tile; tiles are m apart."""
    n, h, w, c = canvas.strides
    shape = (size, size, len(canvas), plan.th, plan.tw, canvas.shape[3])
    return get_xp(canvas).lib.stride_tricks.as_strided(
        canvas, shape, (h, w, n, plan.m * h, plan.m * w, c)
    )


def transform(matrix: Array, images: Array, S: int, P: int, plan: Plan, name: str) -> Array:
    """matrix (n, size) on both axes of every size x size tile of the images: (n*n, R, S*S*C), in scratch memory.

    The tiles lie as on images with padding P, and with blocks of S x S pixels for places.
    """
    (n, size), N, m = matrix.shape, len(images), plan.m
    side = (plan.th - 1) * m + size, (plan.tw - 1) * m + size
    C = S * S * images.shape[3]
    each = plan.th * plan.tw * C
    result = scratch(images, name, (n, n, -(-N // plan.images) * each))
    d = scratch(images, "winograd tiles", (size, size, plan.th, plan.tw, C))
    for k, i in enumerate(
        range(0, N, plan.images)
    ):  # one canvas at a time, so that the cache holds its tiles
        some = images[i : i + plan.images]
        canvas = mosaic(some, P, plan.pitch, side) if plan.pitch else to_depth(some, S, P, side)
        d[...] = tiles(canvas, size, plan)[:, :, 0]
        both_axes(matrix, d.reshape(size, size, each), out=result[:, :, k * each : (k + 1) * each])
    return result.reshape(n * n, -1, C)


def transform_weight(weight: Array, stride: int = 1, m: int | None = None) -> Array:
    """U = G x w (n*n, C, F) of weight (K, K, C, F): the same for all images."""
    weight = weight_to_depth(weight, stride)
    r, _, C, F = weight.shape
    m = m or tile_size(r)
    G = get_xp(weight).asarray(transforms(m, r)[1], dtype=weight.dtype)
    U = get_xp(weight).empty((*2 * (m + r - 1,), C * F), dtype=weight.dtype)
    return both_axes(G, weight.reshape(r, r, C * F), out=U).reshape(-1, C, F)


def winograd_forward(
    x: Array, weight: Array, bias: Array | None, *, padding: int, stride: int = 1, groups: int = 1,
    m: int | None = None, U: Array | None = None,
) -> Array:  # fmt: skip
    """The convolution y (N, OH, OW, F) of x (N, H, W, C) with weight (K, K, C/groups, F).

    In tiles of m x m outputs, by default 4 x 4.  U is the weight transformed, where that was done before.
    Raises ValueError for kernels of more than 7 x 7 places.
    """
    xp, F = get_xp(x), weight.shape[3]
    plan = make_plan(x, weight, padding, stride, groups, m)
    A, _, B = matrices(x, plan)
    y = xp.empty((len(x), plan.OH, plan.OW, F), dtype=x.dtype)
    U = transform_weight(weight, stride, m) if U is None else U
    for images in plan.chunks(len(x)):
        V = transform(B.T, x[images], stride, padding, plan, "winograd V")  # (n*n, R, C)
        M = scratch(x, "winograd M", (plan.n**2, V.shape[1], F))  # (n*n, R, F)
        for channels, filters in group_slices(V.shape[2], F, groups):
            products(V[:, :, channels], U[:, :, filters], out=M[:, :, filters])
        if bias is not None:
            M[plan.ones] += bias
        tiles_to_image(M, A, y[images], plan)
    return y


def tiles_to_image(M: Array, A: Array, y: Array, plan: Plan) -> None:
    """y (N, OH, OW, F) = A^T x M, tile beside tile; what overhangs is cut off."""
    N, m, F = len(y), plan.m, y.shape[3]
    each = plan.th * plan.tw * F
    M = M.reshape(plan.n, plan.n, -1)
    Y = scratch(y, "winograd tiles", (m, m, each))
    for k, i in enumerate(range(0, N, plan.images)):
        both_axes(A.T, M[:, :, k * each : (k + 1) * each], out=Y)
        canvas = (
            scratch(y, "canvas", (1, plan.th * m, plan.tw * m, F)) if plan.pitch else y[i : i + 1]
        )
        side_by_side(Y.reshape(m, m, plan.th, plan.tw, F).transpose(2, 0, 3, 1, 4), canvas[0])
        if plan.pitch:
            unmosaic(canvas, y[i : i + PIECES], 0, plan.pitch)


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
    dy: Array, x: Array, weight: Array, grad: Params, *, padding: int, stride: int = 1, groups: int = 1,
    m: int | None = None, input_grad: bool = True, U: Array | None = None,
) -> Array | None:  # fmt: skip
    """dx from dy (N, OH, OW, F), or None without `input_grad`; fills grad["weight"] and grad["bias"]."""
    xp, F = get_xp(x), weight.shape[3]
    plan = make_plan(x, weight, padding, stride, groups, m)
    A, G, B = matrices(x, plan)
    if U is None and input_grad:
        U = transform_weight(weight, stride, m)
    dU = None
    dbias = xp.zeros(F, dtype=x.dtype)
    dx = xp.empty(x.shape, dtype=x.dtype) if input_grad else None
    for images in plan.chunks(len(x)):
        dM = transform(A, dy[images], 1, 0, plan, "winograd M")
        dbias += dM[plan.ones].sum(axis=0)
        V = transform(
            B.T, x[images], stride, padding, plan, "winograd V"
        )  # (n*n, R, C), as in forward
        dU = add_products(dU, V, dM, plan)
        if dx is not None and U is not None:
            dV = V  # V is done with: its memory serves again
            for channels, filters in group_slices(V.shape[2], F, groups):
                Ut = U[:, :, filters].transpose(0, 2, 1)
                products(dM[:, :, filters], Ut, out=dV[:, :, channels])
            tiles_to_input(dV, B, dx[images], plan)
    assert dU is not None
    C = dU.shape[1]
    dw = both_axes(
        G.T, dU.reshape(plan.n, plan.n, -1), out=scratch(x, "winograd dw", (plan.r, plan.r, C * F))
    )
    weight_to_space(dw.reshape(plan.r, plan.r, C, F), grad["weight"], stride)
    if "bias" in grad:
        grad["bias"][...] = dbias
    return dx


def add_products(dU: Array | None, V: Array, dM: Array, plan: Plan) -> Array:
    """dU (n*n, C/groups, F) + V^T dM, in scratch memory; dU is None at first."""
    _, R, C = V.shape
    F = dM.shape[2]
    step = SUM_TILES if plan.r > 3 else CHUNK_TILES
    for i in range(0, max(1, R), step):
        some = slice(i, i + step)
        part = scratch(
            V, "winograd dU" if dU is None else "winograd dU part", (len(V), C // plan.groups, F)
        )
        for channels, filters in group_slices(C, F, plan.groups):
            Vt = V[:, some, channels].transpose(0, 2, 1)
            products(Vt, dM[:, some, filters], out=part[:, :, filters])
        if dU is None:
            dU = part
        else:
            dU += part
    return dU


def tiles_to_input(dV: Array, B: Array, dx: Array, plan: Plan) -> None:
    """dx (N, H, W, C): every tile of dd = B x dV ADDED where forward read it."""
    m, n, C = plan.m, plan.n, dV.shape[2]
    each = plan.th * plan.tw * C
    dV = dV.reshape(n, n, -1)
    canvas = scratch(dx, "canvas", (1, (plan.th - 1) * m + n, (plan.tw - 1) * m + n, C))
    dd = scratch(dx, "winograd tiles", (n, n, each))
    for k, i in enumerate(range(0, len(dx), plan.images)):
        both_axes(B, dV[:, :, k * each : (k + 1) * each], out=dd)
        canvas[:, m * plan.th :], canvas[:, :, m * plan.tw :] = 0, 0
        for at, part in enumerate(dd.reshape(n * n, plan.th, plan.tw, C)):
            a, b = divmod(at, n)
            place = canvas[0, a : a + m * plan.th : m, b : b + m * plan.tw : m]
            if a < m and b < m:  # these come first, side by side; the others overlap them
                place[...] = part
            else:
                place += part
        if plan.pitch:
            unmosaic(canvas, dx[i : i + PIECES], plan.padding, plan.pitch)
        else:
            to_space(canvas, dx[i : i + 1], plan.stride, plan.padding)
