"""The tiles of Winograd's method -- which sizes they have, and where their numbers lie.

A tile of m outputs along an axis has n = m + r - 1 positions, of which each costs a product.  13
outputs are not 4 + 4 + 4 + 4 with three too many, which is 24 positions with a kernel of 3, but
4 + 3 + 3 + 3, which is 21, or 5 + 4 + 4, which is 19.  Row i of G evaluates the filter at point i,
however many points a tile has; so tiles of all sizes share one U, and their rows of V stand one
below the other in the same products.  Only at the last point of an axis the larger ones are alone.

In two dimensions up to four regions have tiles of one shape each.  With their rows in this order,
those that take part in a position are neighbours (`Plan.products`):

    down x across      5 x 3    5 x 4    4 x 4    4 x 3      products for each channel and filter
    tiles an image     3        1        2        6          of 13 x 13 outputs
    6 x 5 positions    yes      yes      yes      yes        30 * 12
    the last down      yes      yes                           5 * 4
    the last across             yes      yes                  6 * 3
    both                        yes                           1
                                                             399 in all, instead of 13*13 * 3*3

Nothing overhangs: the tiles make up the outputs exactly.  Tiles of 5 both down and across would
take 361 products, and err by more than 1e-5.
"""

import itertools
from typing import NamedTuple

from minialex.fast.threads import pieces
from minialex.fast.winograd_matrices import POINTS

CHUNK_TILES = 400  # tiles at work at once: enough rows for fast products, few enough for memory
WORTH = 0.91  # tiles of 5 err more than those of 4: they have to save 9 % of an axis' positions

Pair = tuple[int, int]


class Region(NamedTuple):
    """A rectangle of th x tw equal tiles."""

    m: Pair  # outputs of a tile, down and across
    n: Pair  # inputs of a tile
    at: Pair  # its first output
    th: int
    tw: int


class Plan(NamedTuple):
    """The geometry of one call."""

    m: Pair  # outputs of the largest tiles, down and across
    n: Pair  # inputs of the largest tiles
    r: int
    stride: int
    padding: int
    OH: int
    OW: int
    regions: list[Region]  # in the order of their rows in V and M
    groups: list[tuple[slice, slice]]  # the channels that each group reads, and those it writes

    @property
    def tiles(self):
        """Of an image."""
        return sum(region.th * region.tw for region in self.regions)

    @property
    def positions(self):
        """Those of all tiles of an image: products for each channel and filter."""
        return sum(R.th * R.tw * R.n[0] * R.n[1] for R in self.regions)

    def rows(self, N):
        """The rows of each region in V and M, for N images."""
        ends = itertools.accumulate((N * R.th * R.tw for R in self.regions), initial=0)
        parts = (slice(a, b) for a, b in itertools.pairwise(ends))
        return dict(zip(self.regions, parts, strict=True))

    def products(self, N):
        """(v, u, m) of each product V[v] U[u] = M[m]; see the head of this page.

        Each is (a position down, some across, rows, channels).
        """
        rows = self.rows(N)
        ends = [sorted({0, *(R.n[axis] for R in self.regions)}) for axis in (0, 1)]
        axes = ([slice(a, b) for a, b in itertools.pairwise(several)] for several in ends)
        for down, across in itertools.product(*axes):
            part = [rows[R] for R in rows if R.n[0] >= down.stop and R.n[1] >= across.stop]
            some = slice(part[0].start, part[-1].stop)
            for k in range(down.start, down.stop):
                for c, f in self.groups:
                    yield (k, across, some, c), (k, across, slice(None), f), (k, across, some, f)

    def chunks(self, N):
        """Slices of the batch, of about CHUNK_TILES tiles each."""
        return pieces(N, max(1, -(-N // max(1, CHUNK_TILES // self.tiles))))


def axis(r, outputs, m, five=False):
    """[(first output, m, how many)]: the tiles along one axis, the larger ones first.

    As few tiles of at most `m` as make up all `outputs`, and as equal as can be: their sizes differ
    by 1.  With `five`, tiles of up to 5 where that saves enough.
    """
    count, fewer = -(-outputs // m), -(-outputs // 5)
    # Each tile has r - 1 positions more than outputs.
    if five and outputs + (r - 1) * fewer < WORTH * (outputs + (r - 1) * count):
        count = fewer
    m = -(-outputs // count)
    larger = outputs - count * (m - 1)
    found = [(0, m, larger), (larger * m, m - 1, count - larger)]
    return found if larger < count else found[:1]


def make_plan(shape, weight_shape, padding, stride=1, groups=1, m=None, sides=None):
    """The tiles for x of `shape` (N, H, W, C) and a weight of `weight_shape` (K, K, C, F).

    They have at most m x m outputs where m is given.  `sides` are OH and OW, where the last windows
    hang over the edge.  Kernels are of 3 x 3 to 7 x 7 (`Conv2d.plan` asks for no others): below, a
    tile can be too small for the point 1.
    """
    (_, H, W, C), (K, _, _, F) = shape, weight_shape
    r, C = -(-K // stride), C * stride**2
    most, five = m or min(4, len(POINTS) + 2 - r), r == 3 and m is None
    OH, OW = sides or ((side + 2 * padding - K) // stride + 1 for side in (H, W))
    regions = [
        Region((mh, mw), (mh + r - 1, mw + r - 1), (top, left), th, tw)
        for top, mh, th in axis(r, OH, most, five)
        for left, mw, tw in axis(r, OW, most)
    ]
    largest = regions[0]
    if len({region.at[1] for region in regions}) == 2:  # the largest between the two next to it
        regions[:2] = regions[1], regions[0]
    c, f = C // groups, F // groups
    parts = [(slice(g * c, g * c + c), slice(g * f, g * f + f)) for g in range(groups)]
    return Plan(largest.m, largest.n, r, stride, padding, OH, OW, regions, parts)
