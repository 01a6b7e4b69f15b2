"""Convolution without im2col's matrix, with whole numbers: its sums are exact in each arithmetic
and order, so that they must be those of the page to the last bit, and no wrong index can hide.

The convolutions are dealt to the modules of kernels (see implicit_cases.py), to both orders of
threads (in one of which copies to shared memory arrive at once, in the other as late as allowed),
with and without ReLU, and to layouts of arrays.
"""

import math

import cupy
import numpy as np
import pytest

from device import assert_array_equal, on_device, on_host
from forms import spread
from implicit_cases import (
    BY_HAND,
    FLOAT32,
    TF32,
    THREE_TF32,
    Case,
    Problem,
    fits,
    force,
    generated,
    kinds,
    take_turns,
)
from minialex.errors import pair
from minialex.gpu import implicit

GENERATED = {FLOAT32: 24, TF32: 12, THREE_TF32: 12}  # of each kind
# The largest whole numbers of a factor that each arithmetic keeps; 3xTF32 leaves out the product of
# the lower halves, so one factor at a time may have one.
LARGEST = {FLOAT32: 8191, TF32: 2047, THREE_TF32: 8191}


def unaligned(array):
    """`array`, 4 bytes behind a multiple of 16."""
    room = cupy.empty(array.size + 1, array.dtype)[1:].reshape(array.shape)
    room[...] = array
    return room


LAYOUTS = (
    lambda array: array, unaligned, lambda array: spread(array, "strided"),
    lambda array: spread(array, "reversed"),
)  # fmt: skip


def wholes(case, largest, wide, seed):
    """A function that draws whole numbers up to 3; those of the array `wide` up to `largest`, but
    so that no sum is above 2^24."""
    rng, of_group = np.random.default_rng(seed), math.prod([*pair(case.K), case.C + case.F])
    terms = max(of_group, case.N * math.prod(case.places()))
    limits = {wide: max(3, min(largest, 2**24 // (3 * terms + 3)))}

    def draw(name, shape):
        limit = limits.get(name, 3)
        return rng.integers(-limit, limit + 1, shape).astype(np.float32)

    return draw


def check(kind, case, seed):
    """Equal to the page; what is not said by the kind is dealt out by `seed`."""
    wide = ("x", "weight", "dy")[seed % 3]
    problem = Problem(case, wholes(case, LARGEST[kind.math], wide, seed), relu=seed // 2 % 2)
    take_turns(seed % 2)
    found = problem.solve(LAYOUTS[seed % 7] if seed % 7 < 4 else LAYOUTS[0])
    for name, expected in problem.expected.items():
        wrong = np.sum(on_host(found[name]) != expected)
        assert wrong == 0, f"{kind}, {case}: {wrong} of {expected.size} numbers of {name}"


@pytest.fixture(autouse=True)
def _turns():
    yield
    take_turns(0)


def cases(kind):
    """Generated ones, and this kind's share of those by hand."""
    alike = [k for k in kinds(kind.math) if k[2:] == kind[2:]]
    by_hand = [case for case in BY_HAND if fits(case, kind)]
    return by_hand[alike.index(kind) :: len(alike)] + generated(kind, GENERATED[kind.math])


def check_all(kind, monkeypatch):
    force(monkeypatch, kind.math, kind.columns)
    for seed, case in enumerate(cases(kind)):
        check(kind, case, seed)


@pytest.mark.parametrize("kind", kinds(FLOAT32), ids=str)
def test_float32(kind, monkeypatch):
    check_all(kind, monkeypatch)


@pytest.mark.parametrize("kind", kinds(TF32), ids=str)
def test_tf32(kind, monkeypatch):
    check_all(kind, monkeypatch)


@pytest.mark.parametrize("kind", kinds(THREE_TF32), ids=str)
def test_three_tf32(kind, monkeypatch):
    check_all(kind, monkeypatch)


def test_these_are_more_than_300():
    everything = {case for math in GENERATED for kind in kinds(math) for case in cases(kind)}
    assert len(everything) > 300 and everything >= set(BY_HAND)


def parts_of_dw(case, monkeypatch):
    """Checks dw and db; in how many parts their sums were made."""
    problem, parts, launch = Problem(case, wholes(case, 3, "", 0)), [], implicit.Kernels.__call__

    def watched(self, name, *arguments):
        parts.append(int(arguments[-1]))
        launch(self, name, *arguments)

    monkeypatch.setattr(implicit.Kernels, "__call__", watched)
    grad = {key: on_device(value + math.nan) for key, value in problem.page.params.items()}
    implicit.weight_gradient(problem.layer(), on_device(problem.x), on_device(problem.dy), grad)
    assert_array_equal(grad["weight"], problem.expected["weight"])
    assert_array_equal(grad["bias"], problem.expected["bias"])
    return parts[-1]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    "processors, case, parts",
    [
        (132, Case(4, 20, 21, 8, 12, 2, 1, 0, 1), 2),  # at most one for 512 places
        (132, Case(4, 24, 24, 4, 8, 3, 1, 1, 2), 4),
        (1, Case(4, 20, 27, 8, 68, 3, 1, 1, 1), 2),  # one multiprocessor: four tiles in all
        (1, Case(4, 24, 24, 12, 12, 1, 1, 0, 3), 1),
        (132, Case(3, 33, 33, 5, 3, 3, 1, 0, 1), 5),
        (132, Case(4, 54, 95, 4, 4, 1, 1, 0, 1), 40),  # the last part is empty
    ],
)
def test_dw_in_parts(processors, case, parts, backwards, monkeypatch):
    force(monkeypatch, TF32, 64)
    monkeypatch.setattr(implicit, "processors", lambda: processors)
    take_turns(backwards)
    assert parts_of_dw(case, monkeypatch) == parts


@pytest.mark.parametrize("math", [FLOAT32, TF32, THREE_TF32])
def test_tiles_as_they_are_chosen(math, monkeypatch):
    """For a small GPU, on which few tiles fill a round: 64, 96 and 128 columns."""
    force(monkeypatch, math)
    monkeypatch.setattr(implicit, "processors", lambda: 2)
    chosen = {implicit.tiling(900, n, 1, narrow=False)[1] for n in (32, 64, 96, 128)}
    assert chosen == ({64} if math == FLOAT32 else {64, 96, 128})
    for seed, case in enumerate(BY_HAND[-4:]):
        problem = Problem(case, wholes(case, 3, "", seed), relu=True)
        for name, array in problem.solve().items():
            assert_array_equal(array, problem.expected[name])
