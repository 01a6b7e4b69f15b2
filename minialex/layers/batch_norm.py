"""BatchNorm2d -- each channel is given mean 0 and variance 1 over the batch, then its own scale.

Why.  A layer's inputs are what the layers before it make of the images; when those layers take a
step, the scale and the mean of its inputs move as well, in a deep network by a lot.  Here each
channel is measured against all that the batch has of it, and comes out centred and of one size
whatever the weights before it are.  So larger learning rates work, first weights matter less, and
deep networks train that did not.  (The paper calls it "internal covariate shift"; Santurkar et al.
doubt that reason, and find a smoother loss.)

    training     m = mean of x,  v = mean of (x - m)^2            per channel, over n, h and w
                 x^ = (x - m) / sqrt(v + eps)                     mean 0, variance 1
                 y = g x^ + b                                     g is "weight", b is "bias"
    evaluation   the same with the running m and v, so that an image's answer is its own

Shapes     x, x^, y, dx, dy (N, H, W, C): N images | H x W pixels | C channels, num_features
           m, v, g, b, dg, db (C,) | M = N*H*W numbers of a channel

g and b let the layer undo what it did, where that is better: g = sqrt(v + eps), b = m.  A bias of
the layer before it is subtracted again with the mean, so give that layer `bias=False`.

The running means are kept in `buffers`, under PyTorch's names.  After each forward in training,
running += momentum * (seen - running), where the variance seen is v M/(M-1), without the bias of a
sample's.  Backward leaves them alone, and so do optimizers.

Backward.  For one channel, with d[i] = g dy[i], which is dL/dx^[i], and s = sqrt(v + eps).  Where m
and v are given, as in evaluation, dx = d / s.  In training x[k] moves them, too:

    dm/dx[k] = 1/M        dv/dx[k] = 2 (x[k] - m) / M = 2 s x^[k] / M
    dx^[i]/dx[k] = (1 where i = k, else 0) / s  -  1/s dm/dx[k]  -  x^[i] / (2 s^2) dv/dx[k]
                 = 1/s ( (1 where i = k, else 0) - 1/M - x^[i] x^[k] / M )

(m's own move does not change v: the sum of x - m is 0.)  Times d[i], and summed over i:

    dx[k] = 1/s ( d[k] - mean of d - x^[k] * mean of d x^ )

What is left of d has mean 0 and no share in x^: to shift or to stretch all of x changes no y.  The
two means are g db / M and g dg / M, where db = sum of dy and dg = sum of dy x^.

y[n] depends on all images, so a batch cannot be taken in parts, see `per_image` in layer.py.

References: Ioffe, Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift", algorithm 1 and 2; Santurkar et al. (2018), "How Does Batch
Normalization Help Optimization?"
"""

import numpy as np

from minialex.errors import check_sizes, is_number
from minialex.layers.layer import Layer, check_gradient, check_input


def total(x):
    """The sum (C,) of x (N, H, W, C) over n, h and w.

    One axis after the other: float32 loses three digits less than in one long sum.
    """
    return x.sum(axis=1).sum(axis=1).sum(axis=0)


class BatchNorm2d(Layer):
    """x (N, H, W, num_features) -> y of the same shape.  Parameters: weight and bias (C,).

    Buffers: running_mean and running_var (C,), num_batches_tracked, how many batches they saw.
    Raises ValueError for a size below 1, for an eps that is not positive and for a momentum outside
    0..1; in training, `forward` raises it for a batch with one number of each channel.
    """

    per_image = False

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        check_sizes("BatchNorm2d", num_features=num_features)
        if not (is_number(eps) and eps > 0 and is_number(momentum) and momentum <= 1):
            found = f"got eps={eps}, momentum={momentum}"
            raise ValueError(f"BatchNorm2d: eps must be positive and momentum in 0..1, {found}")
        self.num_features, self.eps, self.momentum = num_features, float(eps), float(momentum)
        zeros, ones = (np.full(num_features, value, np.float32) for value in (0, 1))
        self.params = {"weight": ones, "bias": zeros}
        self.buffers = {"running_mean": zeros.copy(), "running_var": ones.copy(),
                        "num_batches_tracked": np.zeros((), np.int64)}  # fmt: skip

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", self.num_features))
        mean, var = self.running()
        if self.training:
            M = x.size // self.num_features
            mean = total(x) / M
            var = total((x - mean) ** 2) / M
            self.follow(mean, var, M)
        s = (var + self.eps) ** 0.5
        normal = (x - mean) / s  # x^
        y = self.params["weight"] * normal + self.params["bias"]
        return y, (normal, s, self.training)

    def backward(self, dy, cache, grad):
        normal, s, measured = cache
        check_gradient(self, dy, normal.shape, grad)
        db, dg = total(dy), total(dy * normal)
        grad["weight"][...], grad["bias"][...] = dg, db
        if measured:
            M = normal.size // self.num_features
            dy = dy - db / M - normal * (dg / M)
        return dy * (self.params["weight"] / s)

    def follow(self, mean, var, M):
        """Let the running mean and variance move towards those (C,) of M numbers."""
        if M < 2:
            what = "one number of each channel has no variance; give larger batches or images"
            raise ValueError(f"BatchNorm2d: in training, {what}")
        for running, seen in zip(self.running(), (mean, var * (M / (M - 1))), strict=True):
            running += self.momentum * (seen - running)
        self.buffers["num_batches_tracked"] += 1

    def running(self):
        """The running mean and variance (C,)."""
        return self.buffers["running_mean"], self.buffers["running_var"]

    def __repr__(self):
        return f"BatchNorm2d({self.num_features}, eps={self.eps:g}, momentum={self.momentum:g})"
