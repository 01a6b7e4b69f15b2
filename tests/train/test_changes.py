"""A schedule as a table: whose rates are scaled, from when on, and until when."""

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from device import DEVICE, on_host
from dots import numbers, two_layers
from minialex.errors import ConfigError
from minialex.xp import to_device, where_is


@pytest.mark.parametrize("kind", [mx.SGD, mx.Adam])
def test_rates_are_scaled_by_name_and_a_rate_of_0_lets_rest(kind):
    model = mx.Sequential(*(mx.Linear(2, 2, rng=np.random.default_rng(i)) for i in range(3)))
    optimizer = kind(model, lr={"*.bias": 0.2, "*": 0.1}, weight_decay=0.1)
    rates = {"0.*": 0, "1.weight": 0.5}

    def moved(factors, steps=1):
        optimizer.scale(factors)
        optimizer.state = {name: optimizer.zeros() for name in optimizer.state}
        optimizer.t = 0
        before = on_host(optimizer.theta).copy()
        for _ in range(steps):
            optimizer.step(np.ones(18, np.float32))
        difference = on_host(optimizer.theta) - before
        optimizer.theta[...] = before
        return difference

    usual, scaled, again = moved({}), moved(rates), moved({})
    want = usual * np.repeat([0, 0.5, 1, 1, 1], [6, 4, 2, 4, 2])
    np.testing.assert_allclose(scaled, want, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(usual, again)
    with refused(ConfigError, "a factor: the pattern 'x' fits no parameter"):
        optimizer.scale({"x": 1})


def after_a_step(optimizer):
    before = on_host(optimizer.theta).copy()
    optimizer.step(to_device(np.ones(12, np.float32), where_is(optimizer.theta)))
    return before - on_host(optimizer.theta)


@pytest.mark.parametrize("factors, left", [
    ({"*.weight": 0.1, "*.bias": 0.1}, 0.1), ({"*.weight": 0, "*.bias": 0}, 0),
    ({"*": 0.1}, 0.1), ({"*": 0.1, "0.*": 3}, 0.1), ({}, 1),
])  # fmt: skip
def test_one_factor_for_all_counts_as_well(factors, left):
    optimizer = mx.SGD(two_layers(), lr=0.5)
    optimizer.scale(factors)
    np.testing.assert_allclose(after_a_step(optimizer), 0.5 * left, rtol=1e-4, atol=1e-6)


def test_what_was_set_by_hand_stays_when_rates_are_scaled():
    optimizer = mx.SGD(two_layers(), lr=0.5, weight_decay=0.25)
    optimizer.lr, optimizer.weight_decay = 0.125, 0.0
    optimizer.scale({"0.*": 0.5})
    assert (optimizer.lr, optimizer.weight_decay) == (0.125, 0.0)
    moved = after_a_step(optimizer)
    np.testing.assert_allclose(moved, np.repeat([0.0625, 0.125], 6), rtol=1e-4, atol=1e-6)


def test_a_table_leaves_no_factor_behind():
    model = two_layers()
    optimizer = mx.SGD(model, lr=0.5)
    mx.fit(model, numbers(), optimizer, epochs=1, schedule=[(0, {"*": 0}, True)], device=DEVICE)
    np.testing.assert_allclose(after_a_step(optimizer), 0.5, rtol=1e-4)


@pytest.mark.parametrize("schedule, words", [
    (None, "a schedule is a name, a function or a table of rows (share, factors, colours), got"),
    (3, "a schedule is a name"), ([(0.5, {})], "a schedule is a name"), ([7], "got 7"),
    ([(0, {}, True), ("half", {}, True)], "a schedule is a name"), ([(0, 2, True)], "got (0, 2,"),
    ([(0, {}, True), (0.9, {"conv": 1}, True)], "a factor: the pattern 'conv' fits no parameter"),
    ([(0.9, {"*": -1}, True)], "a factor must be a number"),
])  # fmt: skip
def test_a_table_that_cannot_work_is_refused_before_the_first_epoch(tmp_path, schedule, words):
    model, run = two_layers(), tmp_path / "run"
    with refused(ConfigError, words):
        mx.fit(model, numbers(), mx.SGD(model, lr=0.1), epochs=9, schedule=schedule, run=run)
    assert not run.exists()
