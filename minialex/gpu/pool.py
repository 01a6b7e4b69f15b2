"""MaxPool2d's twin on a GPU -- one kernel a direction, see pool.cu; keeps what the page keeps.

A window with another size, stride or padding down than across goes the page's way.
"""

from typing import Any

from minialex.gpu.kernel import Kernel
from minialex.layers import pool as page
from minialex.layers.layer import check_input
from minialex.params import Params, Shape
from minialex.twin import Twin, is_square
from minialex.xp import Array, get_xp

SIZES = "int32 H, int32 W, int32 C, int32 OH, int32 OW, int32 K, int32 S, int32 P"
FORWARD = Kernel("pool.cu", "maxpool_forward", f"raw T x, {SIZES}", "T y, I winner",
    "maxpool_forward(x, Index(i), H, W, C, OH, OW, K, S, P, y, winner)")  # fmt: skip
BACKWARD = Kernel("pool.cu", "maxpool_backward", f"raw T dy, raw I winner, {SIZES}", "T dx",
    "dx = maxpool_backward<T>(dy, winner, Index(i), H, W, C, OH, OW, K, S, P)")  # fmt: skip


class MaxPool2d(Twin, page.MaxPool2d, device="gpu"):
    form = "gpu: one kernel a direction"

    def forward(self, x: Array) -> tuple[Array, Any]:
        check_input(self, x, ("N", "H", "W", "C"))
        if not is_square(self):
            return page.MaxPool2d.forward(self, x)
        xp, shape = get_xp(x), (len(x), *self.output_shape(x.shape[1:]))
        y = xp.empty(shape, dtype=x.dtype)
        winner = xp.empty(shape, dtype=xp.min_scalar_type(self.kernel_size**2))
        FORWARD(x, *self._sizes(x.shape), y, winner)
        return y, (winner, x.shape)

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        if not is_square(self):
            return page.MaxPool2d.backward(self, dy, cache, grad)
        winner, shape = cache
        dx = get_xp(dy).empty(shape, dtype=dy.dtype)
        BACKWARD(dy, winner, *self._sizes(shape), dx)
        return dx

    def _sizes(self, shape: Shape) -> tuple[int, ...]:
        """H, W, C, OH, OW, K, S, P for x of `shape`."""
        OH, OW, _ = self.output_shape(shape[1:])
        return *shape[1:], OH, OW, self.kernel_size, self.stride, self.padding
