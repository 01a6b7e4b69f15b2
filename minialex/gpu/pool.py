"""MaxPool2d's twin on a GPU -- one kernel a direction, see pool.cu."""

from typing import Any

from minialex.gpu.kernel import Kernel, whole
from minialex.layers import pool as page
from minialex.layers.layer import check_input
from minialex.params import Params, Shape
from minialex.twin import Twin
from minialex.xp import Array, get_xp

SIZES = "int32 H, int32 W, int32 C, int32 OH, int32 OW, int32 K, int32 S, int32 P"
FORWARD = Kernel("pool.cu", "maxpool_forward", f"raw T x, {SIZES}", "raw T y, raw I winner",
    """if (C % 4) maxpool_forward<1>(&x[0], i, H, W, C, OH, OW, K, S, P, &y[0], &winner[0]);
       else maxpool_forward<4>(&x[0], i, H, W, C, OH, OW, K, S, P, &y[0], &winner[0])
    """)  # fmt: skip
BACKWARD = Kernel("pool.cu", "maxpool_backward",
    f"raw T dy, raw I winner, raw T y, bool relu, {SIZES}", "raw T dx",
    """const MaxPool<T, I> of = {&dy[0], &winner[0], &y[0], relu};
       if (C % 4) maxpool_backward<1>(of, i, H, W, C, OH, OW, K, S, P, &dx[0]);
       else maxpool_backward<4>(of, i, H, W, C, OH, OW, K, S, P, &dx[0])""")  # fmt: skip


class MaxPool2d(Twin, page.MaxPool2d, device="gpu"):
    form = "gpu: one kernel a direction"

    def forward(self, x: Array) -> tuple[Array, Any]:
        check_input(self, x, ("N", "H", "W", "C"))
        xp, shape = get_xp(x), (len(x), *self.output_shape(x.shape[1:]))
        y = xp.empty(shape, dtype=x.dtype)
        winner = xp.empty(shape, dtype=xp.min_scalar_type(self.kernel_size**2))
        FORWARD(whole(x), *self._sizes(x.shape), y, winner, size=self._threads(y))
        return y, (winner, x.shape, y)

    def backward(self, dy: Array, cache: Any, grad: Params, relu: bool = False) -> Array:
        winner, shape, y = cache
        dx = get_xp(dy).empty(shape, dtype=dy.dtype)
        sizes, size = self._sizes(shape), self._threads(dx)
        BACKWARD(whole(dy), winner, y, relu, *sizes, dx, size=size)
        return dx

    def _sizes(self, shape: Shape) -> tuple[int, ...]:
        """H, W, C, OH, OW, K, S, P for x of `shape`."""
        OH, OW, _ = self.output_shape(shape[1:])
        return *shape[1:], OH, OW, self.kernel_size, self.stride, self.padding

    def _threads(self, array: Array) -> int:
        """One for four channels, where they come in fours."""
        return int(array.size) // (1 if array.shape[-1] % 4 else 4)
