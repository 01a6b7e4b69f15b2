"""LocalResponseNorm's twin on a GPU, and that of the 2d one -- a kernel each way, see lrn.cu."""

from minialex.gpu.kernel import Kernel
from minialex.layers import lrn as page
from minialex.layers import lrn_2d as page_2d
from minialex.layers.layer import check_input
from minialex.twin import Twin
from minialex.xp import get_xp

FORWARD = Kernel("lrn.cu", "lrn_forward",
    "raw T x, int32 C, int32 half, T alpha, T beta, T k", "T s, T y",
    "lrn_forward(x, Index(i), C, half, alpha, beta, k, s, y)")  # fmt: skip
BACKWARD = Kernel("lrn.cu", "lrn_backward",
    "raw T dy, raw T x, raw T s, int32 C, int32 half, T alpha, T beta", "T dx",
    "dx = lrn_backward(dy, x, s, Index(i), C, half, alpha, beta)")  # fmt: skip
FORWARD_2D = Kernel("lrn.cu", "lrn_2d_forward",
    "raw T x, int32 H, int32 W, int32 C, int32 half, T alpha, T beta, T k", "T s, T y",
    "lrn_2d_forward(x, Index(i), H, W, C, half, alpha, beta, k, s, y)")  # fmt: skip
BACKWARD_2D = Kernel("lrn.cu", "lrn_2d_backward",
    "raw T dy, raw T x, raw T s, int32 H, int32 W, int32 C, int32 half, T alpha, T beta", "T dx",
    "dx = lrn_2d_backward(dy, x, s, Index(i), H, W, C, half, alpha, beta)")  # fmt: skip


def forward(layer, kernel, shape, x):
    """y and the cache; `shape` are the sizes that the kernel asks for."""
    check_input(layer, x, ("N", "H", "W", "C"))
    s, y = (get_xp(x).empty(x.shape, dtype=x.dtype) for _ in range(2))
    kernel(x, *shape, layer.size // 2, layer.alpha, layer.beta, layer.k, s, y)
    return y, (x, s)


def backward(layer, kernel, shape, dy, cache):
    """dx."""
    x, s = cache
    dx = get_xp(x).empty(x.shape, dtype=x.dtype)
    kernel(dy, x, s, *shape, layer.size // 2, layer.alpha, layer.beta, dx)
    return dx


class LocalResponseNorm(Twin, page.LocalResponseNorm, device="gpu"):
    form = "gpu: one kernel a direction"

    def forward(self, x):
        return forward(self, FORWARD, (x.shape[-1] // self.groups,), x)

    def backward(self, dy, cache, grad):
        return backward(self, BACKWARD, (dy.shape[-1] // self.groups,), dy, cache)


class LocalResponseNorm2d(Twin, page_2d.LocalResponseNorm2d, device="gpu"):
    form = "gpu: one kernel a direction"

    def forward(self, x):
        return forward(self, FORWARD_2D, x.shape[1:], x)

    def backward(self, dy, cache, grad):
        return backward(self, BACKWARD_2D, dy.shape[1:], dy, cache)
