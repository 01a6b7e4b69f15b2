"""LocalResponseNorm -- strong channels quieten their neighbours at the same pixel.

The idea is taken from neurons, where an excited one inhibits those around it: channels then
compete, and only what stands out among its neighbours passes.  Each number is divided by a power of
the energy in the n channels around its own, itself included, at every pixel of every image:

    s[c] = k + alpha * sum over |j - c| <= n//2 of x[j]^2        y[c] = x[c] * s[c]^(-beta)

where channels outside 0..C-1 do not exist.  With `groups` = G the channels are dealt to G groups,
as in conv.py, and those of another group do not exist either: in the program that won in 2012, each
of its two towers, on a GPU of its own, knew its own channels alone.

Shapes     x, y, s (N, H, W, C): N images | H x W pixels | C channels; c and j number the channels

The paper uses k = 2, n = 5, alpha = 1e-4, beta = 0.75 after the ReLUs of the first two layers, and
reports 1.4 % less top-1 error.  What came out here, on drawings: 1.3 points less
(`examples/improvements/improvements.py lrn` and docs/improvements.md).  VGG found no use in it two
years later (2014, section 2.1), and it was soon given up.

Mind alpha.  Other frameworks, Caffe and PyTorch, divide it by n (they take the mean of the squares,
not the sum), and so does Krizhevsky's own program.  What this page and the paper's formula call
1e-4 is 5e-4 to them; and the network that he trained with a "scale" of 1e-4 had 2e-5 in the paper's
formula.

Backward.  x[c] acts on its own y[c], and through s on those of its neighbours:

    dy[j]/dx[j] at fixed s = s[j]^(-beta)                dy[j]/ds[j] = -beta x[j] s[j]^(-beta-1)
    ds[j]/dx[c] = 2 alpha x[c]   where |j - c| <= n//2, else 0

Here dy[j]/dx[j] is a derivative of y.  From now on dy[j] is dL/dy[j] again, and the chain rule adds

    dx[c] = dy[c] s[c]^(-beta) - 2 alpha beta x[c] * sum over |j - c| <= n//2 of dy[j] y[j] / s[j]

since x[j] s[j]^(-beta-1) = y[j] / s[j].  "j is a neighbour of c" holds both ways, so backward sums
over the same window as forward.

Reference: Krizhevsky, Sutskever, Hinton (2012), section 3.3.
"""

from minialex.errors import check_response, check_sizes
from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.xp import get_xp


class LocalResponseNorm(Layer):
    """x (N, H, W, C) -> y of the same shape.  `size` is the paper's n, an odd number of channels.

    alpha is the paper's: not divided by size.
    Raises ValueError for an even size, for k and alpha that would let s be 0, and for channels that
    cannot be dealt to the groups.
    """

    per_image = True

    def __init__(self, size=5, alpha=1e-4, beta=0.75, k=2.0, *, groups=1):
        super().__init__()
        check_sizes("LocalResponseNorm", groups=groups)
        check_response("LocalResponseNorm", size, alpha, beta, k)
        self.size, self.alpha, self.beta, self.k, self.groups = size, alpha, beta, k, groups

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
        """Sum of v (N, H, W, C) over the `size` channels centred on each."""
        half, shape, C = self.size // 2, v.shape, v.shape[-1] // self.groups
        # Channels outside are 0.
        v = get_xp(v).pad(v.reshape(*shape[:3], self.groups, C), ((0, 0),) * 4 + ((half, half),))
        total = v[..., :C].copy()
        for j in range(1, self.size):
            total += v[..., j : j + C]
        return total.reshape(shape)

    def output_shape(self, shape):
        if shape[-1] % self.groups:
            raise ValueError(f"LocalResponseNorm: {shape[-1]} channels in {self.groups} groups")
        return shape

    def __repr__(self):
        numbers = f"alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
        groups = f", groups={self.groups}" if self.groups > 1 else ""
        return f"LocalResponseNorm({self.size}, {numbers}{groups})"
