"""The gradient check itself: what it reports, what it leaves alone."""

import numpy as np
import pytest

import minialex
from device import on_device, on_host
from minialex import gradcheck
from minialex.attach import accelerate
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Layer,
    Linear,
    ReLU,
    Sequential,
)
from minialex.params import flatten, named_arrays


class Function(Layer):
    """y = f(x) with the derivative g(x)."""

    def __init__(self, f, g):
        super().__init__()
        self.f, self.g = f, g

    def forward(self, x):
        return self.f(x), x

    def backward(self, dy, cache, grad):
        return dy * self.g(cache)


def linear():
    return on_device(Linear(3, 2, rng=np.random.default_rng(0)))


@pytest.fixture
def x():
    return on_device(np.random.default_rng(1).standard_normal((4, 3)))


def test_report(x):
    report = minialex.gradcheck(linear(), x)
    assert report and report.ok and report.checked == 12 + 6 + 2
    assert report.kinks == 0 and report.problems == ()
    assert report.error < 1e-9 and abs(report.numeric - report.analytic) < 1e-8
    assert report.name in ("x", "weight", "bias")
    assert "\n" not in str(report) and "20 entries" in str(report)
    assert report.name + "[" in str(report)
    report.raise_if_bad()


def test_report_of_a_wrong_gradient_names_the_place(x):
    def g(x):
        return np.where(x == x[2, 1], 3.0, 1.0)

    report = gradcheck(Function(lambda x: x, g), x)
    assert not report and report.name == "x" and report.index == (2, 1)
    assert report.analytic == pytest.approx(3 * report.numeric, rel=1e-6)
    # |numeric - analytic| over the largest of the two and of the array
    assert report.error == pytest.approx(2 / 3, rel=1e-6) or report.error < 2 / 3
    with pytest.raises(AssertionError, match=r"FAILED.*x\[2, 1\]"):
        report.raise_if_bad()


def test_the_error_is_measured_as_the_page_says():
    one = on_device(np.ones(1))
    report = gradcheck(Function(lambda x: 2 * x, lambda x: 2 + 1e-4 + 0 * x), one)
    assert report.error == pytest.approx(1e-4 / 2.0001, rel=1e-4)
    # below 0.001: measured against it
    small = gradcheck(Function(lambda x: 0 * x, lambda x: 1e-5 + 0 * x), one)
    assert small.error == pytest.approx(abs(small.analytic) / 1e-3, rel=1e-9)


def test_the_error_of_central_differences_falls_with_the_square_of_h():
    errors = [
        gradcheck(Function(np.exp, np.exp), on_device(np.ones(1)), eps=h, tolerance=1).error
        for h in (1e-1, 1e-2, 1e-3)
    ]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.02)


def test_layer_and_input_are_left_as_they_were():
    rng = np.random.default_rng(2)
    layer = accelerate(on_device(Sequential(Conv2d(2, 3, 3, rng=rng), ReLU(), AvgPool2d(2))))
    assert layer[1].inplace
    theta = flatten(layer)
    before = [(owner[key], owner[key].copy()) for owner, key, _ in named_arrays(layer.params)]
    x = on_device(rng.standard_normal((2, 4, 4, 2)).astype(np.float32))
    copy = x.copy()
    assert gradcheck(layer, x)
    assert np.array_equal(x, copy) and x.dtype == theta.dtype == np.float32
    for (owner, key, _), (array, values) in zip(named_arrays(layer.params), before, strict=True):
        assert owner[key] is array and np.may_share_memory(array, theta)
        assert np.array_equal(array, values)


def test_parameters_come_back_after_an_error():
    layer = linear()
    weight = layer.params["weight"]
    with pytest.raises(ValueError, match="Linear"):
        gradcheck(layer, on_device(np.ones((2, 5))))
    assert layer.params["weight"] is weight and weight.dtype == np.float32


def test_max_entries_and_seed(x):
    few = gradcheck(linear(), x, max_entries=4)
    assert few.checked == 4 + 4 + 2
    assert few == gradcheck(linear(), x, max_entries=4)
    assert few.numeric != gradcheck(linear(), x, max_entries=4, seed=1).numeric


def test_input_grad_false_checks_the_parameters_alone():
    layer = on_device(Conv2d(2, 3, 2, rng=np.random.default_rng(0)))
    accelerate(layer, input_grad=False)
    report = gradcheck(layer, on_device(np.random.default_rng(1).standard_normal((2, 4, 3, 2))))
    assert report and report.checked == 24 + 3


def test_dropout_is_held_at_one_step_and_then_counts_on():
    layer = on_device(Sequential(Linear(3, 8, rng=np.random.default_rng(0)), Dropout(0.5)))
    layer.set_step(7)
    x = on_device(np.random.default_rng(1).standard_normal((4, 3)))
    before = on_host(layer(x.astype(np.float32)))
    layer.set_step(7)
    assert gradcheck(layer, x)
    assert layer[1].step == 7
    np.testing.assert_array_equal(on_host(layer(x.astype(np.float32))), before)
    assert layer[1].step == 8


@pytest.mark.parametrize(
    "layer, problem",
    [
        (Function(lambda x: x.astype(np.float32), lambda x: 1 + 0 * x), "forward returned float32"),
        (Function(lambda x: np.add(x, 1, out=x), lambda x: 1 + 0 * x), "overwrote x"),
        (Function(lambda x: x, lambda x: (1 + 0 * x).astype(np.complex128)), "expected"),
        (Function(lambda x: x, lambda x: np.nan + x), "not finite"),
        (Function(lambda x: np.nan + x, lambda x: 1 + 0 * x), "y[0, 0] is nan"),
    ],
)
def test_problems_are_named(layer, problem, x):
    report = gradcheck(layer, x, tolerance=1)
    assert not report and problem in str(report)


def test_random_layer_is_found(x):
    rng = np.random.default_rng(0)
    report = gradcheck(Function(lambda x: x + rng.random(), lambda x: 1 + 0 * x), x, tolerance=1e9)
    assert "forward gave two results for the same x" in report.problems


def test_a_layer_that_gives_no_gradient_at_all_fails(x):
    class Nothing(Function):
        def backward(self, dy, cache, grad):
            return None

    report = gradcheck(Nothing(lambda x: x, None), x)
    assert not report and "no gradient of x" in str(report) and "nothing to compare" in str(report)


def test_a_gradient_that_is_added_instead_of_written_is_found(x):
    class Adds(Linear):
        def backward(self, dy, cache, grad):
            before = grad["bias"].copy()
            dx = super().backward(dy, cache, grad)
            grad["bias"] += before
            return dx

    report = gradcheck(on_device(Adds(3, 2, rng=np.random.default_rng(0))), x)
    assert not report and "bias is not finite anywhere, or was not written" in str(report)


# ------------------------------------------------------------------------------- per_image


class MeanOfBatch(Function):
    """y = x less the mean of the batch, rightly derived."""

    def __init__(self, per_image):
        super().__init__(lambda x: x - x.mean(axis=0), None)
        self.per_image = per_image

    def backward(self, dy, cache, grad):
        return dy - dy.mean(axis=0)


def test_a_page_that_lies_about_per_image_is_found(x):
    assert gradcheck(MeanOfBatch(per_image=False), x)
    report = gradcheck(MeanOfBatch(per_image=True), x)
    assert not report and report.error < 1e-9
    assert report.problems == (
        "per_image is True, but halves of the batch give another y",
        "per_image is True, but halves of the batch give another gradient of x",
    )
    assert gradcheck(MeanOfBatch(per_image=True), x[:1])  # nothing to be seen in one image


def test_a_gradient_of_a_parameter_that_is_a_mean_over_the_batch_is_found(x):
    class Mean(Linear):
        def forward(self, x):
            y, cache = super().forward(x)
            return y / len(x), cache

        def backward(self, dy, cache, grad):
            return super().backward(dy / len(dy), cache, grad)

    layer = on_device(Mean(3, 2, rng=np.random.default_rng(0)))
    report = gradcheck(layer, x)
    assert not report and report.error < 1e-9
    assert any("another gradient of weight" in problem for problem in report.problems)


def test_a_page_with_per_image_whose_output_has_no_images_is_found(x):
    class Sum(Layer):
        per_image = True

        def forward(self, x):
            return x.sum(), x.shape

        def backward(self, dy, shape, grad):
            return dy + 0 * x

    report = gradcheck(Sum(), x)
    assert not report and "y does not have one entry for each image" in str(report)


def test_a_dropout_is_told_which_half_it_sees(x):
    seen = []

    class Told(Dropout):
        def set_step(self, step, first=0):
            seen.append((step, first))
            super().set_step(step, first)

    assert gradcheck(Told(0.5), x[:3])
    assert {(0, 0), (0, 1)} == set(seen)

    class Deaf(Dropout):
        def set_step(self, step, first=0):
            super().set_step(step)

    assert "per_image" in str(gradcheck(Deaf(0.5), on_device(np.ones((4, 50)))))
