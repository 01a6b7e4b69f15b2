"""What the gradient check finds of state, of memory that is used twice, and of dtypes."""

import numpy as np
import pytest

from device import on_device
from gradient_layers import Function, normal
from minialex import gradcheck
from minialex.layers import Layer


class Kept(Layer):
    """y = 3 x, in a way of its own."""

    def forward(self, x):
        return 3 * x, x

    def backward(self, dy, x, grad):
        return 3 * dy


class Counts(Kept):
    """What it does depends on how often it was called."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return (3 if self.calls < 3 else 4) * x, x


class RunningMean(Layer):
    """In evaluation, less the mean of what it saw in training: kept on self."""

    def __init__(self):
        super().__init__()
        self.mean = 0.0

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * float(x.mean())
        return 3 * x - (0 if self.training else self.mean), x

    def backward(self, dy, x, grad):
        return 3 * dy


class CacheOnSelf(Layer):
    """Squares; backward reads what forward left on self."""

    def forward(self, x):
        self.x = x
        return x * x, None

    def backward(self, dy, cache, grad):
        return 2 * self.x * dy


class Harmless(CacheOnSelf):
    """Keeps what nobody reads."""

    def forward(self, x):
        self.x = x
        return x * x, x

    def backward(self, dy, cache, grad):
        return 2 * cache * dy


class OwnOutput(Kept):
    """Returns memory that the next forward fills again."""

    def forward(self, x):
        self.y = getattr(self, "y", None)
        if self.y is None or self.y.shape != x.shape or self.y.dtype != x.dtype:
            self.y = 3 * x
        self.y[...] = 3 * x
        return self.y, x


class OwnGradient(Kept):
    """The same for dx."""

    dx = None

    def backward(self, dy, x, grad):
        if self.dx is None or self.dx.shape != dy.shape or self.dx.dtype != dy.dtype:
            self.dx = dy.copy()
        self.dx[...] = 3 * dy
        return self.dx


class SpoilsCache(Layer):
    """Multiplies its cache by dy."""

    def forward(self, x):
        return x * x, 2 * x

    def backward(self, dy, slope, grad):
        slope *= dy
        return slope


class SpoilsY(Layer):
    """y is its cache, and backward uses it as scratch memory."""

    def forward(self, x):
        y = np.exp(x)
        return y, y

    def backward(self, dy, y, grad):
        dx = dy * y
        y.fill(0)
        return dx


@pytest.mark.parametrize("layer, words", [
    (Counts(), ["two results for the same x"]),
    (RunningMean(), ["later calls", "buffers"]),
    (CacheOnSelf(), ["left on self", "cache"]),
    (OwnOutput(), ["forward", "y of an earlier"]),
    (OwnGradient(), ["backward", "dx of an earlier"]),
    (SpoilsCache(), ["overwrote its cache"]),
    (SpoilsY(), ["overwrote y"]),
])  # fmt: skip
def test_state_and_memory_that_is_used_twice_are_found(layer, words):
    report = gradcheck(layer, normal(4, 3))
    assert not report and all(word in str(report) for word in words), report


def test_what_is_kept_on_self_and_changes_nothing_is_no_fault():
    assert gradcheck(Harmless(), normal(4, 3))


class Promotes(Kept):
    """y = 3 x, times an array of float64."""

    def __init__(self, forward, backward):
        super().__init__()
        self.one = on_device(np.ones(1))
        self.forth, self.back = forward, backward

    def forward(self, x):
        return 3 * x * (self.one if self.forth else 1), x

    def backward(self, dy, x, grad):
        return 3 * dy * (self.one if self.back else 1)


@pytest.mark.parametrize("forward, backward, word", [
    (True, False, "forward makes float64 of float32"),
    (False, True, "backward makes float64 of float32"),
])  # fmt: skip
def test_promotion_is_found(forward, backward, word):
    report = gradcheck(Promotes(forward, backward), normal(4, 3))
    assert not report and report.error < 1e-7 and word in str(report)
    assert gradcheck(Promotes(False, False), normal(4, 3))


@pytest.mark.parametrize("f, g, words", [
    (lambda x: x + 1, lambda x, dy: dy, "backward returned dy itself or a view of it"),
    (lambda x: x.T, lambda x, dy: dy.T, "backward returned dy itself or a view of it"),
    (lambda x: x, lambda x, dy: 1 * dy, "forward returned x itself or a view of it"),
    (lambda x: 0.5 * x**2 * 0 + x + 1, lambda x, dy: dy + 0 * x, None),
])  # fmt: skip
def test_an_alias_is_said_but_is_not_wrong(f, g, words):
    report = gradcheck(Function(f, g), normal(4, 4))
    assert report and (words in str(report) if words else report.notes == ())
