"""LocalResponseNorm -- strong channels quieten their neighbours at the same place.

Each number is divided by a power of the energy in the n channels around its own:

    s[c] = k + alpha * sum over |j - c| <= n//2 of x[j]^2        y[c] = x[c] * s[c]^(-beta)

(at every place of every image by itself; channels outside 0..C-1 do not exist).  The paper uses k = 2, n = 5,
alpha = 1e-4, beta = 0.75 after the ReLUs of the first two layers, and reports 1.4 % less top-1 error;
`examples/improvements/improvements.py lrn` measures this claim.

Mind alpha: Caffe and PyTorch divide it by n (they take the mean of the squares, not the sum).  What the paper
and this page call alpha = 1e-4 is their alpha = n * 1e-4 = 5e-4.

Backward.  x[c] acts on its own y[c], and through s on those of its neighbours:

    dL/dx[c] = dy[c] s[c]^(-beta)  -  2 alpha beta x[c] * sum over |j - c| <= n//2 of dy[j] x[j] s[j]^(-beta-1)

"j is a neighbour of c" holds both ways, so the sum runs over the same window as in forward, and since
y = x s^(-beta), its terms are dy[j] y[j] / s[j].

Reference: Krizhevsky, Sutskever, Hinton (2012), section 3.3.
"""

from typing import Any

from minialex.backend import Array, Kernel, batch_slices, get_xp, plain_form
from minialex.layers.layer import Layer, Params, check_shape


def window_sum(v: Array, n: int) -> Array:
    """Sum of v (N, H, W, C) over the n channels centred on each (n odd)."""
    xp = get_xp(v)
    C, half = v.shape[-1], n // 2
    wide = xp.zeros((*v.shape[:-1], C + 2 * half), dtype=v.dtype)  # channels outside are zeros
    wide[..., half : half + C] = v
    # One long row, from which those zeros keep the neighbouring places apart: NumPy adds it in one go.
    row = wide.reshape(-1)
    total = row.copy()
    for j in range(1, n):
        total[: row.size - j] += row[j:]
    return total.reshape(wide.shape)[..., :C]


def inverse_power(s: Array, beta: float) -> Array:
    """s^(-beta); for the paper's beta = 3/4 by two square roots, several times faster than a power."""
    xp = get_xp(s)
    if beta != 0.75:
        return s**-beta
    root = xp.sqrt(s)  # s^(1/2)
    result = xp.sqrt(root)  # s^(1/4)
    result *= root
    return xp.divide(1, result, out=result)


INVERSE_POWER = """
template <class T> __device__ T inverse_power(T s, T beta) {
    return beta == T(0.75) ? T(1) / (sqrt(s) * sqrt(sqrt(s))) : pow(s, -beta);
}
"""
LRN_FORWARD = Kernel(
    "lrn_forward", "raw T x, int32 C, int32 half, T alpha, T beta, T k", "T s, T y",
    """
    const int c = i % C;
    T sum = 0;
    for (int j = c < half ? -c : -half; j <= half && c + j < C; j++) sum += x[i + j] * x[i + j];
    s = k + alpha * sum;
    y = inverse_power(s, beta) * x[i]
    """,
    INVERSE_POWER,
)  # fmt: skip
LRN_BACKWARD = Kernel(
    "lrn_backward", "raw T dy, raw T x, raw T s, int32 C, int32 half, T alpha, T beta", "T dx",
    """
    const int c = i % C;
    T total = 0;
    for (int j = c < half ? -c : -half; j <= half && c + j < C; j++)
        total += dy[i + j] * inverse_power(s[i + j], beta) * x[i + j] / s[i + j];
    dx = dy[i] * inverse_power(s[i], beta) - T(2) * alpha * beta * x[i] * total
    """,
    INVERSE_POWER,
)  # fmt: skip


class LocalResponseNorm(Layer):
    """x (N, H, W, C) -> y of the same shape.  `size` is the paper's n, an odd number of channels.

    alpha is the paper's: not divided by size.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0):
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"LocalResponseNorm: size must be odd, got {size}")
        if k <= 0:
            raise ValueError(f"LocalResponseNorm: k must be positive, got {k}")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    @plain_form
    def forward(self, x: Array) -> tuple[Array, Any]:
        check_shape(self, x, ("N", "H", "W", "C"))
        xp = get_xp(x)
        s, power, y = xp.empty_like(x), xp.empty_like(x), xp.empty_like(x)
        for images in batch_slices(x):
            xp.multiply(window_sum(x[images] ** 2, self.size), self.alpha, out=s[images])
            s[images] += self.k
            power[images] = inverse_power(s[images], self.beta)
            xp.multiply(power[images], x[images], out=y[images])
        return y, (x, s, power)

    @forward.on_gpu
    def _forward_on_gpu(self, x: Array) -> tuple[Array, Any]:
        check_shape(self, x, ("N", "H", "W", "C"))
        xp = get_xp(x)
        s, y = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype)
        LRN_FORWARD(x, x.shape[-1], self.size // 2, self.alpha, self.beta, self.k, s, y)
        return y, (x, s)

    @plain_form
    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        x, s, power = cache  # s^(-beta) is kept as well: its roots take longer than reading it again
        xp = get_xp(x)
        dx = xp.empty_like(x)
        for images in batch_slices(x):
            own = dy[images] * power[images]  # dy s^(-beta)
            terms = own * x[images]
            terms /= s[images]  # dy x s^(-beta-1)
            xp.multiply(window_sum(terms, self.size), x[images], out=dx[images])
            dx[images] *= -2 * self.alpha * self.beta
            dx[images] += own
        return dx

    @backward.on_gpu
    def _backward_on_gpu(self, dy: Array, cache: Any, grad: Params) -> Array:
        x, s = cache
        dx = get_xp(x).empty(x.shape, dtype=x.dtype)
        LRN_BACKWARD(dy, x, s, x.shape[-1], self.size // 2, self.alpha, self.beta, dx)
        return dx

    def __repr__(self) -> str:
        return f"LocalResponseNorm({self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g})"
