"""What the gradient check finds beside wrong numbers, what it says of them, and false alarms."""

import time

import numpy as np
import pytest

from device import on_device
from minialex import gradcheck
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Tanh,
)
from minialex.xp import get_xp


class Function(Layer):
    """y = f(x), with dx = g(x, dy)."""

    def __init__(self, f, g):
        super().__init__()
        self.f, self.g = f, g

    def forward(self, x):
        return self.f(x), x

    def backward(self, dy, x, grad):
        return self.g(x, dy)


def normal(*shape, seed=1):
    return on_device(np.random.default_rng(seed).standard_normal(shape))


def linear(*sizes, kind=Linear):
    return on_device(kind(*sizes, rng=np.random.default_rng(0)))


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


# -------------------------------------------------------------------------- state and aliases


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
    assert get_xp(normal(1)) is get_xp(on_device(np.ones(1)))
