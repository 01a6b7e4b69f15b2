"""Dropout -- in training, drop each number with probability p; in evaluation, drop none.

Why.  A unit that cannot rely on any particular neighbour has to be useful by itself; and each step
trains another of the 2^units networks that share these weights, of which evaluation uses something
like the mean.  The paper drops the outputs of the two hidden dense layers with p = 1/2, and says
that this roughly doubles the number of steps needed.

    training     y = x * m,   m = 0 with probability p, else 1/(1-p)          dx = dy * m
    evaluation   y = x                                                        dx = dy

Shapes     x, y, m, dx, dy all the same, (N, ...).  m does not depend on x, so dy/dx is m.

Why divide by 1-p.  The mean of m is p * 0 + (1-p) * 1/(1-p) = 1, so the next layer sees inputs of
the same mean in training and in evaluation, where nothing has to be done then.  (The paper halves
the outputs in evaluation instead.)

What came out here, on drawings: 2.1 points less error, with a standard error of 1.0, so that it is
not decided.  `examples/improvements/improvements.py dropout` runs it again; the numbers are in
docs/improvements.md.

The random numbers are a function of (seed, stream, step, position), see `philox.py`: any part of a
mask can be drawn at any time, on any device, with the same bits.  You need not think of stream and
step: containers number their Dropouts, so that no two share a mask, and a Dropout counts its
forward passes in training, so that each gets a new one.  Whoever knows better, such as a run that
is resumed or a batch that is taken in parts, says so with `set_step`.

References: Krizhevsky, Sutskever, Hinton (2012), section 4.2; Hinton et al. (2012), "Improving
neural networks by preventing co-adaptation of feature detectors".
"""

from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.philox import new_stream, random_uint16
from minialex.xp import get_xp


class Dropout(Layer):
    """y = x * m in training, x otherwise; x (N, ...).  p is rounded to a multiple of 1/65536.

    `seed` is that of the masks (default: see seeds.py).
    Raises ValueError unless p is at least 0 and below 1.
    """

    per_image, step, first = True, 0, 0  # of the next forward: its number, that of its first image

    def __init__(self, p=0.5, *, seed=None):
        super().__init__()
        if not (hasattr(p, "__float__") and 0 <= p < 1):
            raise ValueError(f"Dropout: p must be at least 0 and below 1, got {p}")
        self.p, (self.seed, self.stream) = min(round(p * 65536), 65535) / 65536, new_stream(seed)

    def set_step(self, step, first=0):
        self.step, self.first = step, first

    def forward(self, x):
        check_input(self, x)
        if not self.training or self.p == 0:
            return x, get_xp(x).ones_like(x)
        # numbers of 0..65535 for this part of the batch; an image takes x[:1].size of them
        numbers = random_uint16(x, self.seed, self.stream, self.step, self.first * x[:1].size)
        m = (numbers >= 65536 * self.p).astype(x.dtype) / (1 - self.p)
        self.step, self.first = self.step + 1, 0
        return x * m, m

    def backward(self, dy, m, grad):
        check_gradient(self, dy, m.shape, grad)
        return dy * m

    def __repr__(self):
        return f"Dropout({self.p:.4g})"
