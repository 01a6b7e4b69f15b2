"""The gradient check where a function has kinks, as at 0 of a ReLU and at equal maxima."""

import math

import numpy as np
import pytest

from device import on_device
from gradient_layers import Function
from minialex import gradcheck
from minialex.layers import (
    Dropout,
    Layer,
    MaxPool2d,
    ReLU,
    Tanh,
)

ZEROS = on_device(np.array([[0.0, 1.5, -2.0], [1.0, 0.0, 0.0]]))


def test_kinks_are_counted_and_both_slopes_allowed():
    for layer in (ReLU(), Function(lambda x: np.maximum(x, 0), lambda x, dy: dy * (x >= 0))):
        report = gradcheck(layer, ZEROS)
        assert report and report.kinks == 3 and report.checked == 6


@pytest.mark.parametrize("at_zero", [-1, 2, 1.001, -0.001])
def test_a_value_beyond_both_slopes_is_wrong(at_zero):
    layer = Function(
        lambda x: np.maximum(x, 0), lambda x, dy: dy * np.where(x == 0, at_zero, x > 0)
    )
    assert not gradcheck(layer, ZEROS)


@pytest.mark.parametrize("distance", [2e-5, 9.99e-6, 5e-6, 3e-6, 1e-6, 4e-7, 2e-7])
def test_a_kink_near_an_entry_is_stepped_around(distance):
    x = on_device(np.array([distance, -distance, 1.0]))
    report = gradcheck(ReLU(), x)
    assert report and report.kinks == 0
    assert not gradcheck(Function(lambda x: np.maximum(x, 0), lambda x, dy: 0.5 * dy), x)


def test_ties_of_a_maximum():
    x = on_device(np.zeros((1, 5, 5, 1)))
    report = gradcheck(
        MaxPool2d(3, stride=1), x
    )  # every window is one tie, and the windows overlap
    assert report and report.kinks == 25


def test_ties_that_all_get_the_gradient_are_found_by_moving_all_entries():
    def f(x):
        return x.max(axis=1)

    class All(Layer):
        def forward(self, x):
            return f(x), x

        def backward(self, dy, cache, grad):
            return dy[:, None] * (cache == f(cache)[:, None])

    report = gradcheck(All(), on_device(np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])))
    assert not report and report.index == () and "all entries" in str(report)
    assert gradcheck(All(), on_device(np.array([[1.0, 1.1, 0.0], [2.0, 1.0, 0.0]])))


def test_smooth_but_steep_is_no_kink():
    report = gradcheck(Tanh(), on_device(np.linspace(-20, 20, 41)))
    assert report and report.kinks == 0
    square = gradcheck(
        Function(lambda x: x * x, lambda x, dy: 2 * x * dy), ZEROS
    )  # slope 0 at 0, curvature not
    assert square and square.kinks == 0


def test_an_array_without_axes_and_a_dropout_in_use():
    cube = Function(lambda x: x**3, lambda x, dy: 3 * x * x * dy)
    assert gradcheck(cube, on_device(np.array(2.0))).checked == 1
    assert not math.isnan(gradcheck(Dropout(0.5).train(False), ZEROS).error)
