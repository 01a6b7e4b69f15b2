"""False alarms that the gradient check must not give: sizes, conventions; and how long it takes."""

import time

import numpy as np
import pytest

from device import on_device
from gradient_layers import Function, linear, normal
from minialex import gradcheck
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Layer,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Tanh,
)

# ---------------------------------------------------------------------------------- false alarms


def square(x):
    return x * x


@pytest.mark.parametrize("size", [1e3, 1e6, 1e8, 1e12])
def test_large_numbers_are_no_alarm(size):
    rng = np.random.default_rng(0)
    image, vector = size * normal(2, 6, 6, 2), size * normal(4, 3)
    for layer, x in (
        (linear(3, 2), vector),
        (Function(square, lambda x, dy: 2 * x * dy), vector),
        (Function(lambda x: x + 1, lambda x, dy: 1 * dy), vector),
        (Function(lambda x: abs(x) ** 0.5, lambda x, dy: dy * x / 2 / abs(x) ** 1.5), vector),
        (Tanh(), vector),
        (Conv2d(2, 3, 3, rng=rng), image), (ReLU(), image), (MaxPool2d(3, 2), image),
        (AvgPool2d(2), image), (LocalResponseNorm(3), image),
        (Sequential(Conv2d(2, 3, 3, rng=rng), ReLU(), MaxPool2d(2)), image),
    ):  # fmt: skip
        report = gradcheck(on_device(layer), x)
        assert report, (layer, report)
        assert not gradcheck(Function(square, lambda x, dy: 2.001 * x * dy), vector)


@pytest.mark.parametrize("f, slope", [
    (np.log, lambda x: 1 / x),
    (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    (lambda x: 1 / x, lambda x: -1 / x**2),
    (np.exp, np.exp),
])  # fmt: skip
@pytest.mark.parametrize("least", [1e-4, 1e-5, 1e-7])
def test_small_numbers_are_no_alarm(f, slope, least):
    x = on_device(least * np.linspace(1, 3, 12).reshape(4, 3))
    report = gradcheck(Function(f, lambda x, dy: dy * slope(x)), x)
    assert report, report
    assert not gradcheck(Function(f, lambda x, dy: 1.001 * dy * slope(x)), x)
    mixed = on_device(np.array([least, 1.0, 1e3, 30 * least]))
    if f is not np.exp:
        assert gradcheck(Function(f, lambda x, dy: dy * slope(x)), mixed)


@pytest.mark.parametrize("value, word", [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_what_is_not_finite_is_one_clear_line(value, word, recwarn):
    x = normal(4, 3)
    x[2, 1] = value
    report = gradcheck(linear(3, 2), x)
    assert not report and str(report).count("\n") == 0
    assert f"x[2, 1] is {word}" in str(report) and "finite" in str(report)
    layer = linear(3, 2)
    layer.params["weight"][1, 1] = value
    report = gradcheck(layer, normal(4, 3))
    assert f"weight[1, 1] is {word}" in str(report) and "\n" not in str(report)
    report = gradcheck(Function(np.log, lambda x, dy: dy / x), on_device(np.array([1.0, 0.0])))
    assert "y[1] is -inf" in str(report) and "\n" not in str(report)
    assert not recwarn.list


@pytest.mark.parametrize("x", [[[1.0, 2.0, 3.0]], 3, None])
def test_what_is_no_array_is_one_line(x):
    with pytest.raises(TypeError, match=r"^gradcheck: expected .* got \w+$"):
        gradcheck(linear(3, 2), x)


# -------------------------------------------------------------------------- another convention


class SharedMaximum(Layer):
    """The maximum of each row; equal maxima share its gradient, or the `share` of each is given."""

    per_image = True

    def __init__(self, share=None):
        super().__init__()
        self.share = share

    def forward(self, x):
        return x.max(axis=1), x

    def backward(self, dy, x, grad):
        wins = x == x.max(axis=1, keepdims=True)
        if self.share is None:
            return dy[:, None] * wins / wins.sum(axis=1, keepdims=True).astype(dy.dtype)
        return dy[:, None] * wins * self.share


def test_a_shared_gradient_of_equal_maxima_is_another_convention_and_not_wrong():
    x = on_device(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [3.0, 1.0, 2.0]]))
    report = gradcheck(SharedMaximum(), x)
    assert report and report.arrays[0].shared == 4 and report.arrays[0].wrong == 0
    assert "another convention" in str(report) and "wrong" not in str(report)
    half = Function(lambda x: np.maximum(x, 0), lambda x, dy: dy * (x > 0) + 0.5 * dy * (x == 0))
    assert gradcheck(half, x).arrays[0].shared == 2
    for share in (1.0, 0.4, -1.0, 2.0):  # they have to add up to 1
        assert not gradcheck(SharedMaximum(share), x), share


# ---------------------------------------------------------------------------------------- speed


def test_in_seconds_for_a_layer():
    started = time.perf_counter()
    layer = on_device(Conv2d(16, 32, 3, padding=1, rng=np.random.default_rng(0)))
    assert gradcheck(layer, normal(2, 8, 8, 16))
    wrong = Function(np.tanh, lambda x, dy: dy)
    assert not gradcheck(wrong, normal(100, 100))
    assert time.perf_counter() - started < 30


def test_dropout_in_a_half_of_the_batch_and_in_evaluation():
    for mode in (True, False):
        assert gradcheck(Dropout(0.5).train(mode), normal(4, 3))
