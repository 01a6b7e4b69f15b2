"""Convolution without im2col's matrix, with other numbers: how exact each arithmetic is, what
becomes of NaN and infinity, the same bits each time, and what is left to im2col."""

import inspect
import math

import numpy as np
import pytest

from device import assert_array_equal, on_device, on_host
from implicit_cases import FLOAT32, TF32, THREE_TF32, Case, Problem, force, take_turns
from minialex.gpu import implicit
from minialex.layers import Conv2d
from minialex.params import zeros_like
from minialex.twin import TWINS

ARITHMETICS = (FLOAT32, TF32, THREE_TF32)
FOURS, ONES = Case(2, 11, 10, 24, 40, 3, 1, 1, 1), Case(2, 9, 11, 9, 11, 4, 2, 1, 1)


@pytest.fixture(autouse=True)
def _turns():
    yield
    take_turns(0)


def normal(name, shape):
    return np.random.default_rng(len(name)).standard_normal(shape, dtype=np.float32)


def uniform(name, shape):
    return np.random.default_rng(len(name)).uniform(1, 2, shape).astype(np.float32)


def normal_but(array, place, bits):
    """The same; of `array`, one number (the nearest to `place`) has these bits."""

    def draw(name, shape):
        numbers = normal(name, shape)
        if name == array:
            at = tuple(min(i, size - 1) for i, size in zip(place, shape, strict=True))
            numbers.view(np.uint32)[at] = bits
        return numbers

    return draw


def exact(problem):
    """In float64, by the page."""
    layer = problem.case.layer()
    layer.params = {key: value.astype(float) for key, value in problem.page.params.items()}
    y, cache = layer.forward(problem.x.astype(float))
    grad = zeros_like(layer.params)
    dx = layer.backward(problem.dy.astype(float), cache, grad)
    return {"y": y, **grad, "dx": dx}


@pytest.mark.parametrize("case", [FOURS, ONES])
@pytest.mark.parametrize(
    "arithmetic, least, most", [(FLOAT32, 0, 1e-6), (TF32, 1e-4, 4e-4), (THREE_TF32, 0, 1e-6)]
)
def test_rounding(arithmetic, least, most, case, monkeypatch):
    force(monkeypatch, arithmetic, 64)
    problem = Problem(case, normal)
    found = problem.solve()
    for name, expected in exact(problem).items():
        error = np.linalg.norm(on_host(found[name]) - expected) / np.linalg.norm(expected)
        assert least <= error < most, name


@pytest.mark.parametrize("arithmetic, most", [(FLOAT32, 1e-6), (TF32, 1.5e-4), (THREE_TF32, 1e-6)])
def test_sums_of_positive_numbers_are_neither_too_small_nor_too_large(
    arithmetic, most, monkeypatch
):
    """As they were if tensor cores cut the factors (by 3e-4 on average) and nobody cared."""
    force(monkeypatch, arithmetic, 64)
    problem = Problem(FOURS, uniform)
    found = problem.solve()
    for name, expected in exact(problem).items():
        assert abs(np.mean(on_host(found[name]) / expected - 1)) < most, name


# ------------------------------------------------------------------------- NaN and infinity

NANS = (0x7FFFFFFF, 0x7FC00000, 0xFFC00000, 0x7F800001)  # the GPU's first; the last is all low bits
PLACES = [
    (FOURS, (0, 0, 0, 3)), (FOURS, (1, 10, 9, 23)), (FOURS, (1, 5, 4, 0)), (ONES, (0, 8, 10, 8)),
    (ONES, (1, 0, 5, 0)), (Case(2, 6, 5, 8, 8, 3, 2, 1, 2), (0, 5, 4, 7)),
    (Case(3, 4, 5, 6, 10, 2, 1, 0, 2), (1, 3, 0, 2)),
    (Case(2, 5, 6, 4, 8, 2, 1, 0, 1), (0, 2, 5, 1)),
    (Case(2, 5, 6, 3, 8, 3, 2, 0, 1), (1, 4, 5, 2)),
]  # fmt: skip


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("array", ["x", "dy"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_one_nan_spoils_what_it_is_part_of_and_nothing_else(arithmetic, array, relu, monkeypatch):
    force(monkeypatch, arithmetic, 64)
    for i, (case, place) in enumerate(PLACES):
        with np.errstate(invalid="ignore"):
            problem = Problem(case, normal_but(array, place, NANS[i % len(NANS)]), relu)
        take_turns(i % 2)
        for name, found in problem.solve().items():
            expected = np.isnan(problem.expected[name])
            np.testing.assert_array_equal(np.isnan(on_host(found)), expected, f"{name} of {case}")


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_relu_beside_a_convolution_treats_every_number_as_the_page(arithmetic, monkeypatch):
    """A convolution by 1 of values that ReLUs treat in their own ways; also as the mask."""
    force(monkeypatch, arithmetic)
    values = np.array([-math.inf, -1, -0.0, 0, 1, math.inf, math.nan, 3], np.float32)
    if arithmetic == THREE_TF32:  # infinity less infinity
        values[[0, 5]] = -2, 2
    layer = Conv2d(8, 8, 1)
    layer.params["weight"][...] = np.diag(np.ones(8, np.float32))
    x, dy = np.zeros((8, 1, 1, 8), np.float32), np.ones((8, 1, 1, 8), np.float32)
    x[range(8), 0, 0, range(8)] = values
    y = implicit.forward(layer.to("gpu"), on_device(x), relu=True)
    np.testing.assert_array_equal(
        on_host(y)[range(8), 0, 0, range(8)], np.maximum(values, 0), str(values)
    )
    mask = np.broadcast_to(values, x.shape)
    dx = implicit.input_gradient(layer, on_device(dy), on_device(mask), masked=True)
    assert_array_equal(dx, np.where(mask <= 0, np.float32(0), dy))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_what_infinity_is_part_of_is_not_finite(arithmetic, monkeypatch):
    force(monkeypatch, arithmetic, 64)
    problem = Problem(FOURS, normal_but("x", (0, 3, 4, 5), 0x7F800000))
    for name, found in problem.solve().items():
        expected, found = problem.expected[name], on_host(found)
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected), name)
        if arithmetic != THREE_TF32:  # which makes it NaN
            at = ~np.isfinite(expected)
            np.testing.assert_array_equal(found[at], expected[at], name)


# ------------------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("case", [FOURS, ONES])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_every_run_and_every_order_of_threads_gives_the_same_bits(arithmetic, case, monkeypatch):
    force(monkeypatch, arithmetic, 64)
    problem, runs = Problem(case, normal, relu=True), []
    for backwards in (0, 0, 1):
        take_turns(backwards)
        found = problem.solve()
        runs.append({name: on_host(array).tobytes() for name, array in found.items()})
    assert runs[0] == runs[1] == runs[2]


# -------------------------------------------------------------------------- what im2col does


def uses_implicit(layer, x, algorithm, patch):
    """Whether the twin of `layer` computes x by these kernels, checked in both directions."""
    used = []
    for name in ("forward", "weight_gradient", "input_gradient"):
        function = getattr(implicit, name)
        patch.setattr(implicit, name, lambda *a, f=function, **k: used.append(f) or f(*a, **k))
    twin = layer.to("gpu")
    twin.__class__, twin.algorithm = TWINS[Conv2d, "gpu"], algorithm
    y, cache = twin.forward(on_device(x))
    twin.backward(y, cache, zeros_like(twin.params))
    assert len(used) in (0, 3)
    return len(used) == 3


@pytest.mark.parametrize("algorithm", ["auto", "implicit", "im2col"])
@pytest.mark.parametrize("capability", [75, 80, 90, 120])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_who_computes_a_convolution(dtype, capability, algorithm, monkeypatch):
    force(monkeypatch, FLOAT32)
    monkeypatch.setattr(implicit, "capability", lambda: capability)
    layer = Conv2d(4, 4, 3, rng=np.random.default_rng(0)).to(dtype=dtype)
    expected = dtype == np.float32 and (
        algorithm == "implicit" or (algorithm == "auto" and capability in (80, 90))
    )
    assert uses_implicit(layer, np.ones((1, 4, 4, 4), dtype), algorithm, monkeypatch) == expected


@pytest.mark.parametrize("capability, tf32, expected", [
    (75, "0", FLOAT32), (75, "1", FLOAT32), (80, "0", THREE_TF32), (90, "1", TF32),
])  # fmt: skip
def test_the_arithmetic_of_a_gpu(capability, tf32, expected, monkeypatch):
    monkeypatch.setattr(implicit, "capability", lambda: capability)
    monkeypatch.setenv("CUPY_TF32", tf32)
    assert inspect.unwrap(implicit.arithmetic)() == expected


@pytest.mark.parametrize("shape, F, can", [
    ((2, 2**15, 2**14, 1), 1, True), ((2, 2**15, 2**14 + 1, 1), 1, False),
    ((1, 2**15, 2**14, 1), 3, False), ((1, 2**15, 2**14, 1), 2, True), ((0, 5, 5, 1), 1, False),
])  # fmt: skip
def test_arrays_above_a_billion_numbers_are_left_to_im2col(shape, F, can):
    x = np.broadcast_to(np.float32(0), shape)
    assert implicit.can(Conv2d(1, F, 1), x) == can


def test_a_grid_of_too_many_groups_and_parts_is_left_to_im2col():
    x = np.broadcast_to(np.float32(0), (1, 8, 8, 2048))
    assert implicit.can(Conv2d(2048, 2048, 1, 4, groups=2048), x)
    assert not implicit.can(Conv2d(2048, 2048, 1, 6, groups=2048), x)
