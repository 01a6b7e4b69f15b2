"""What the gradient check finds beside wrong numbers, and what it says of them."""

import numpy as np
import pytest

from device import on_device
from gradient_layers import Function, linear, normal
from minialex import gradcheck
from minialex.layers import (
    Conv2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)

# ------------------------------------------------------------------- the same stream as the user's


class Spoiled(Linear):
    """A square Linear, wrong in one place."""

    def __init__(self, way, rng):
        super().__init__(4, 4, rng=rng)
        self.way = way

    def backward(self, dy, x, grad):
        dx = super().backward(dy, x, grad)
        if self.way == "dW transposed":
            grad["weight"][...] = grad["weight"].T.copy()
        return dy @ self.params["weight"] if self.way == "dx transposed" else dx


@pytest.mark.parametrize("seed", range(4))
def test_dy_is_of_no_stream_that_a_user_takes_x_from(seed):
    for draw in (np.random.default_rng(seed), np.random.RandomState(seed)):
        x = on_device(draw.standard_normal((4, 4)))
        assert not gradcheck(Function(lambda x: x * x, lambda x, dy: 2 * x * x), x, seed=seed)
        report = gradcheck(Function(lambda x: x * x, lambda x, dy: 2 * x * dy), x, seed=seed)
        assert report
    for way in ("dW transposed", "dx transposed"):
        layer = on_device(Spoiled(way, np.random.default_rng(seed)))
        x = on_device(np.random.default_rng(seed).standard_normal((4, 4)))
        assert not gradcheck(layer, x, seed=seed)


# ----------------------------------------------------------------- all entries moved together


@pytest.mark.parametrize("seed", range(5))
def test_one_wrong_entry_of_ten_thousand_is_found_and_named(seed):
    place = tuple(np.random.default_rng(seed).integers(0, 100, 2))

    def g(x, dy):
        dx = dy.copy()
        dx[place] *= 2
        return dx

    report = gradcheck(Function(lambda x: 1 * x, g), normal(100, 100), max_entries=200, seed=seed)
    assert not report and report.index == place
    assert f"x[{place[0]}, {place[1]}]" in str(report) and report.arrays[0].wrong == 1


def test_two_entries_exchanged_are_found_though_their_sum_is_right():
    def g(x, dy):
        dx = dy.copy()
        dx[7, 3], dx[50, 60] = dy[50, 60], dy[7, 3]
        return dx

    assert not gradcheck(Function(lambda x: 1 * x, g), normal(100, 100), max_entries=50)


def test_large_arrays_are_sampled_unless_all_is_asked_for():
    x = normal(40, 50)
    layer = Function(np.tanh, lambda x, dy: dy * (1 - np.tanh(x) ** 2))
    assert gradcheck(layer, x).checked == 500
    assert gradcheck(layer, x, max_entries=None).checked == 2000
    assert "500 of its 2,000" in str(gradcheck(Function(np.tanh, lambda x, dy: dy), x))


def test_moved_together_where_relus_and_maxima_have_kinks():
    x = normal(4, 12, 12, 3)
    network = Sequential(
        Conv2d(3, 4, 3, rng=np.random.default_rng(0)), ReLU(), MaxPool2d(2),
        Conv2d(4, 4, 3, rng=np.random.default_rng(1)), ReLU(),
    )  # fmt: skip
    assert gradcheck(on_device(network), x, max_entries=10)
    assert gradcheck(ReLU(), np.round(x), max_entries=10)  # many at their kinks
    wrong = Function(
        lambda x: np.maximum(x, 0), lambda x, dy: dy * (x > 0) * (1 + (x == x[3, 2, 1]))
    )
    assert not gradcheck(wrong, np.round(x) + 0.1 * (x > 1.5), max_entries=10)


def test_steep_functions_of_many_entries_are_right():
    x = normal(2000)
    for f, slope in (
        (lambda x: np.exp(x.sum() / 50), lambda x: np.exp(x.sum() / 50) / 50),
        (lambda x: (x * x).sum(), lambda x: 2 * x),
        (lambda x: x**3, lambda x: 3 * x**2),
    ):
        report = gradcheck(Function(f, lambda x, dy, slope=slope: dy * slope(x) + 0 * x), x)
        assert report, report


# ------------------------------------------------------------------- a verdict per array, hints


class Wrong(Linear):
    """A Linear whose backward `spoil` changes: spoil(dx, grad, dy, x) -> dx."""

    def __init__(self, *sizes, spoil, **options):
        super().__init__(*sizes, **options)
        self.spoil = spoil

    def backward(self, dy, x, grad):
        return self.spoil(super().backward(dy, x, grad), grad, dy, x)


def spoiled(spoil, inputs=3, outputs=3, N=8):
    layer = on_device(Wrong(inputs, outputs, spoil=spoil, rng=np.random.default_rng(0)))
    return gradcheck(layer, normal(N, inputs))


def change(name, function):
    def spoil(dx, grad, dy, x):
        grad[name][...] = function(grad[name].copy(), dy, x)
        return dx

    return spoil


@pytest.mark.parametrize("name, spoil, words", [
    ("weight", change("weight", lambda g, dy, x: 8 * g), ["8 times", "1/N"]),
    ("weight", change("weight", lambda g, dy, x: g / 8), ["1/8 of", "1/N"]),
    ("bias", change("bias", lambda g, dy, x: dy.mean(axis=0)), ["1/8 of", "1/N"]),
    ("weight", change("weight", lambda g, dy, x: 2 * g), ["2 times"]),
    ("weight", change("weight", lambda g, dy, x: 0.3 * g), ["0.3 times"]),
    ("weight", change("weight", lambda g, dy, x: -g), ["sign"]),
    ("weight", change("weight", lambda g, dy, x: g.T), ["axes 0 and 1", "exchanged"]),
    ("weight", change("weight", lambda g, dy, x: g[::-1]), ["axis 0", "reversed"]),
    ("weight", change("weight", lambda g, dy, x: 0 * g), ["0 everywhere"]),
    ("bias", change("bias", lambda g, dy, x: dy[0]), ["the first of axis 0 of dy", "sum"]),
    ("bias", change("bias", lambda g, dy, x: dy[-1]), ["the last of axis 0 of dy", "sum"]),
    ("x", lambda dx, grad, dy, x: -dx, ["sign"]),
    ("x", lambda dx, grad, dy, x: x.copy(), ["does not depend on dy"]),
    ("x", lambda dx, grad, dy, x: dx[::-1].copy(), ["axis 0", "reversed"]),
])  # fmt: skip
def test_verdicts_and_hints(name, spoil, words):
    report = spoiled(spoil)
    verdicts = {verdict.name: verdict for verdict in report.arrays}
    assert not report and set(verdicts) == {"x", "weight", "bias"}
    assert [key for key, verdict in verdicts.items() if verdict.wrong] == [name]
    bad = verdicts.pop(name)
    assert bad.checked == bad.size >= bad.wrong > 0
    line = next(line for line in str(report).splitlines() if line.startswith(f"  {name}: "))
    assert f"{bad.wrong} of its {bad.size} entries are wrong" in line, line
    assert all(word in line for word in words), line
    for other in verdicts:
        assert f"\n  {other}: right" in str(report)


@pytest.mark.parametrize("spoil, words", [
    (lambda dx, grad, dy, x: dx[..., None] + 0 * dx[:, None],
     ["gradient of x is (8, 3, 3)", "expected (8, 3)", "sum over axis"]),
    (lambda dx, grad, dy, x: grad.update(weight=8 * grad["weight"]) or dx,
     ["replaced grad['weight']", "write into it"]),
    (lambda dx, grad, dy, x: np.copyto(grad["bias"], np.nan) or dx, ["bias", "not written"]),
    (lambda dx, grad, dy, x: np.where(x > 1, np.nan, dx), ["gradient of x", "not finite"]),
])  # fmt: skip
def test_gradients_of_the_wrong_form(spoil, words):
    report = spoiled(spoil)
    assert not report and all(word in str(report) for word in words), report


def test_a_filter_turned_round_is_called_so():
    class Turned(Conv2d):
        def backward(self, dy, x, grad):
            dx = super().backward(dy, x, grad)
            grad["weight"][...] = grad["weight"][:, ::-1].copy()
            return dx

    report = gradcheck(linear(2, 3, 3, kind=Turned), normal(2, 5, 5, 2))
    assert "axis 1" in str(report) and "reversed" in str(report)
