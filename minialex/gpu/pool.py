"""MaxPool2d's twin on a GPU -- one kernel a direction, see pool.cu."""

import math

from minialex.errors import pair
from minialex.gpu.kernel import INT_SIZES, SIZES, Kernel, whole, window_sizes
from minialex.layers import pool as page
from minialex.layers.layer import check_input
from minialex.twin import Twin
from minialex.xp import get_xp

FORWARD = Kernel("pool.cu", "maxpool_forward", f"raw T x, {INT_SIZES}", "raw T y, raw I winner",
    f"""if (C % 4) maxpool_forward<1>(&x[0], i, {SIZES}, &y[0], &winner[0]);
        else maxpool_forward<4>(&x[0], i, {SIZES}, &y[0], &winner[0])
    """)  # fmt: skip
BACKWARD = Kernel("pool.cu", "maxpool_backward",
    f"raw T dy, raw I winner, raw T y, bool relu, {INT_SIZES}", "raw T dx",
    f"""const MaxPool<T, I> of = {{&dy[0], &winner[0], &y[0], relu}};
        if (C % 4) maxpool_backward<1>(of, i, {SIZES}, &dx[0]);
        else maxpool_backward<4>(of, i, {SIZES}, &dx[0])""")  # fmt: skip


class MaxPool2d(Twin, page.MaxPool2d, device="gpu"):
    form = "gpu: one kernel a direction"

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        xp, shape = get_xp(x), (len(x), *self.output_shape(x.shape[1:]))
        y = xp.empty(shape, dtype=x.dtype)
        winner = xp.empty(shape, dtype=xp.min_scalar_type(math.prod(pair(self.kernel_size))))
        FORWARD(whole(x), *window_sizes(self, x.shape), y, winner, size=threads(y))
        return y, (winner, x.shape, y)

    def backward(self, dy, cache, grad, relu=False):
        winner, shape, y = cache
        dx = get_xp(dy).empty(shape, dtype=dy.dtype)
        BACKWARD(whole(dy), winner, y, relu, *window_sizes(self, shape), dx, size=threads(dx))
        return dx


def threads(array):
    """One for four channels, where they come in fours."""
    return int(array.size) // (1 if array.shape[-1] % 4 else 4)
