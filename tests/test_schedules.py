"""Schedules of the learning rate, at steps done by hand."""

import math

import pytest

from minialex import schedules
from minialex.errors import ConfigError
from minialex.schedules import make_schedule


@pytest.mark.parametrize(
    "name, total, warm, factors",
    [
        ("constant", 10, 0, {0: 1, 9: 1}),
        ("step", 9, 0, {0: 1, 2: 1, 3: 0.1, 5: 0.1, 6: 0.01, 8: 0.01}),
        ("step", 10, 0, {3: 1, 4: 0.1, 8: 0.01}),  # a third of 10, rounded up
        ("step", 1, 0, {0: 1}),
        ("cosine", 8, 0, {0: 1, 2: (1 + math.sqrt(0.5)) / 2, 4: 0.5, 8: 0, 20: 0}),
        ("cosine", 8, 0, {6: (1 - math.sqrt(0.5)) / 2}),
        ("cosine", 0, 0, {0: 1, 1: 0}),
        ("constant", 10, 4, {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 9: 1}),
        ("cosine", 8, 3, {0: 0.25, 2: 0.75 * (1 + math.sqrt(0.5)) / 2, 4: 0.5}),
    ],
)
def test_schedules(name, total, warm, factors):
    schedule = make_schedule(name, total, warm)
    for step, factor in factors.items():
        assert schedule(step) == pytest.approx(factor, abs=1e-12), step


@pytest.mark.parametrize(
    "errors, patience, factor",
    [
        ([], 2, 1),
        ([0.5, 0.4, 0.3], 1, 1),
        ([0.5, 0.4, 0.4], 2, 1),
        ([0.5, 0.4, 0.4, 0.41], 2, 0.1),  # two epochs without a new best; to equal it is not enough
        ([0.5, 0.4, 0.4, 0.39, 0.4, 0.38], 2, 1),  # a new best each second epoch
        ([0.5, 0.5, 0.5, 0.5], 2, 0.1),  # the count starts anew after each drop
        ([0.5, 0.5, 0.5, 0.5, 0.5], 2, 0.01),
        ([0.5, 0.6, 0.55, 0.55, 0.55], 2, 0.01),  # the best is the best of all epochs
        ([0.5] * 50, 2, 0.001),  # three times, as in the paper
    ],
)
def test_plateau(errors, patience, factor):
    schedule = make_schedule("plateau", 100, errors=lambda: errors, patience=patience)
    for step in (0, 99, 1000):  # it follows the errors alone
        assert schedule(step) == pytest.approx(factor, rel=1e-12)


def test_plateau_asks_for_the_errors_at_each_step_and_warms_up():
    errors = []
    schedule = make_schedule("plateau", 100, 1, errors=lambda: errors, patience=1)
    assert schedule(0) == 0.5 and schedule(1) == 1
    errors += [0.3, 0.3]
    assert schedule(0) == pytest.approx(0.05) and schedule(1) == pytest.approx(0.1)
    with pytest.raises(ConfigError, match="patience"):
        schedules.plateau(list, patience=0)


def test_schedule_options():
    cosine = schedules.cosine(10, final=0.2)
    assert cosine(10) == pytest.approx(0.2) and cosine(5) == pytest.approx(0.6)
    assert schedules.step_decay(5, factor=0.5)(14) == 0.25
    known = "choose constant, step, cosine, plateau"
    with pytest.raises(ConfigError, match=f"unknown schedule 'linear'; {known}"):
        make_schedule("linear", 10)
