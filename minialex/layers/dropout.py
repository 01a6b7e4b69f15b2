"""Dropout -- in training, silence each number with probability p; in use, silence none.

    training     y = x * m,   m = 0 with probability p, else 1/(1-p)          dx = dy * m
    evaluation   y = x                                                       dx = dy

A unit that cannot rely on any particular neighbour has to be useful by itself.  The paper halves the outputs in
use instead; dividing by 1-p in training ("inverted" dropout) keeps the mean as well, and costs nothing in use.
`examples/improvements/improvements.py dropout` measures what it does to the error, and to the gap between training and test.

The mask is a function of (seed, stream, training step, place) by `philox.py`: the same forward pass gives the
same mask on every device and after every restart, and two layers with different streams never share one.
p is rounded to a multiple of 1/65536.

Reference: Krizhevsky, Sutskever, Hinton (2012), section 4.2; Hinton et al. (2012), "Improving neural networks by
preventing co-adaptation of feature detectors".
"""

from typing import Any

from minialex.backend import Array, Kernel, get_xp, plain_form
from minialex.layers.layer import Layer, Params, check_float
from minialex.philox import random_uint16

SILENCE = Kernel(
    "dropout", "T x, uint16 number, int32 threshold, T scale", "T y, T m",
    "m = number >= threshold ? scale : T(0); y = x * m",
)  # fmt: skip


@plain_form
def silence(x: Array, numbers: Array, threshold: int) -> tuple[Array, Array]:
    """y = x * m and m, shaped like x, where numbers (uint16, one for each of x) below `threshold` silence."""
    m = (numbers >= threshold).astype(x.dtype).reshape(x.shape)
    m *= 65536 / (65536 - threshold)
    return x * m, m


@silence.on_gpu
def _silence_on_gpu(x: Array, numbers: Array, threshold: int) -> tuple[Array, Array]:
    xp = get_xp(x)
    y, m = xp.empty(x.shape, dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype)
    SILENCE(x, numbers.reshape(x.shape), threshold, 65536 / (65536 - threshold), y, m)
    return y, m


class Dropout(Layer):
    """y = x * m in training, x itself otherwise; x of any shape.  `set_step(t)` chooses the mask of step t."""

    def __init__(self, p: float = 0.5, *, seed: int = 0, stream: int = 0):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p must be at least 0 and below 1, got {p}")
        self.p, self.seed, self.stream = p, seed, stream
        self.step = self.first = 0

    def set_step(self, step: int, first: int = 0) -> None:
        self.step, self.first = step, first

    def forward(self, x: Array) -> tuple[Array, Any]:
        check_float(self, x)
        if not self.training or self.p == 0:
            return x, None
        threshold = min(round(self.p * 65536), 65535)  # p just below 1: not all may be silenced
        first = self.first * (x.size // max(1, len(x)))
        place = {"seed": self.seed, "stream": self.stream, "step": self.step, "first": first}
        numbers = random_uint16(get_xp(x), x.size, **place)
        return silence(x, numbers, threshold)

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        m = cache
        return dy if m is None else dy * m

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"
