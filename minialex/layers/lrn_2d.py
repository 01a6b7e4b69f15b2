"""LocalResponseNorm2d -- strong places quieten their neighbours within the same map.

lrn.py lets the channels of one pixel compete; here the places of one channel do.  Each number is
divided by a power of the energy in the n x n places around it, in its own channel alone: what is
strong all over a region, as a coarse texture is, is turned down, and what stands out is not.

    s[p,q] = k + alpha * sum over |u - p|, |v - q| <= n//2 of x[u,v]^2
    y[p,q] = x[p,q] * s[p,q]^(-beta)

for each image and channel by itself; places outside of the map do not exist.

Shapes     x, y, s (N, H, W, C): N images | H x W places | C channels

The 2012 paper does not tell of it, but the program that won has one in its second layer, after that
across the channels (layers-145.cfg, "cnorm2a"), with n = 5, beta = 0.75, k = 1, and a "scale" of
0.001 that it divides by n^2 (layer.py, NormLayerParser): in this formula, alpha = 0.00004.  Those
are the defaults.  Caffe calls it WITHIN_CHANNEL, and divides alpha as well.

Backward.  Read lrn.py's derivation with places for channels: x[p,q] acts on its own y[p,q], and
through s on those of its neighbours, and "is a neighbour of" holds both ways, so that

    dx[p,q] = dy[p,q] s[p,q]^(-beta)
              - 2 alpha beta x[p,q] * sum over |u - p|, |v - q| <= n//2 of dy[u,v] y[u,v] / s[u,v]

The sum over a square is the sum, over its rows, of the sums over its columns: 2n numbers to add
in place of n^2.

Reference: github.com/computerhistory/AlexNet-Source-Code (Krizhevsky 2012, public since 2025).
"""

from minialex.errors import check_response
from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.xp import get_xp


class LocalResponseNorm2d(Layer):
    """x (N, H, W, C) -> y of the same shape.  `size` is n, an odd number of rows and columns.

    alpha is that of the formula: not divided by size squared.
    Raises ValueError for an even size, and for k and alpha that would let s be 0.
    """

    per_image = True

    def __init__(self, size=5, alpha=4e-5, beta=0.75, k=1.0):
        super().__init__()
        check_response("LocalResponseNorm2d", size, alpha, beta, k)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        s = self.k + self.alpha * self.window_sum(x**2)  # (N, H, W, C)
        y = x * s**-self.beta
        return y, (x, s, y)

    def backward(self, dy, cache, grad):
        x, s, y = cache
        check_gradient(self, dy, x.shape, grad)
        inhibition = x * self.window_sum(dy * y / s)
        return dy * s**-self.beta - 2 * self.alpha * self.beta * inhibition

    def window_sum(self, v):
        """Sum of v (N, H, W, C) over the size x size places centred on each."""
        half, (_, H, W, _) = self.size // 2, v.shape
        v = get_xp(v).pad(v, ((0, 0), (half, half), (half, half), (0, 0)))  # outside are zeros
        rows = sum(v[:, i : i + H] for i in range(self.size))
        return sum(rows[:, :, j : j + W] for j in range(self.size))

    def __repr__(self):
        numbers = f"alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
        return f"LocalResponseNorm2d({self.size}, {numbers})"
