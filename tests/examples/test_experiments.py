"""The improvements as experiments: statistics by hand, verdicts, plans, stops, the table."""

import json
import math
from concurrent.futures import Future

import numpy as np
import pytest

import paired as paired_module
from bad_input import refused
from claims import ARMS, EXPERIMENTS, SHARED, arms_of
from minialex.errors import ConfigError
from paired import paired, steps_to, student
from plan import (
    CHECKED,
    MIN_IMAGES,
    SAFETY,
    SMALL,
    STARTUP,
    Design,
    Speed,
    cost,
    make_plan,
    run_in_time,
)
from report import row, rows_of, rule, table

# --------------------------------------------------------------------------------------- statistics


def test_paired_differences_by_hand():
    """1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, variance 7, standard error sqrt(7 / 3)."""
    result = paired([1.0, 2.0, 6.0])
    assert (result.n, result.mean) == (3, 3.0)
    assert math.isclose(result.error, math.sqrt(7 / 3))
    assert result.verdict == "not decided"  # 3 < 4.303 * 1.53


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.30, 0.31, 0.32], "held"),  # 0.31 > 4.303 * 0.0058
        ([-0.30, -0.31, -0.32], "did not hold"),
        ([4.0, 5.0, 6.0], "held"),  # SE 0.5774: t SE = 2.48 < 5
        (
            [1.4, 2.4, 3.4],
            "not decided",
        ),  # t SE = 2.484 > 2.4: more than two standard errors are not enough for three
        ([1.5, 2.5, 3.5], "held"),  # 2.5 > 2.484
        ([0.0, 0.0, 0.0], "not decided"),
        ([2.0, 2.0], "held"),  # no spread at all
        ([5.0], "not decided"),
        ([], "not measured"),
    ],
)
def test_verdicts(differences, verdict):
    assert paired(differences).verdict == verdict


def test_students_quantiles_are_those_of_his_distribution():
    """97.5 % of the distribution lie below: its density integrated by Simpson's rule."""
    for n in (*range(2, 11), 11, 12, 16, 31, 101):
        nu, t = n - 1, student(n)
        x = np.linspace(0, t, 20_001)
        scale = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(nu * math.pi)
        f = scale * (1 + x**2 / nu) ** (-(nu + 1) / 2)
        share = 0.5 + (x[1] / 3) * (f[0] + f[-1] + 4 * f[1:-1:2].sum() + 2 * f[2:-1:2].sum())
        assert abs(share - 0.975) < (1e-4 if nu <= len(paired_module.QUANTILES) else 1e-3), n


def test_steps_to_a_level_by_hand():
    assert steps_to([0.5, 0.3, 0.2], 10) == pytest.approx(15)  # half way from 0.3 to 0.2
    assert steps_to([0.5, 0.25, 0.1], 10) == pytest.approx(10)
    assert steps_to([0.5, 0.0], 8) == pytest.approx(4)
    assert steps_to([0.2, 0.1], 10) == 0
    assert steps_to([0.5, 0.4], 10) is None


# --------------------------------------------------------------------------------- what is compared


def test_arms_of_a_comparison_differ_in_one_thing():
    """Apart from the initial weights, which suit the activation (claims.py says so)."""
    for name, comparisons in EXPERIMENTS.items():
        for comparison in comparisons:
            a, b = ({**SHARED, **ARMS[arm]} for arm in comparison.arms)
            different = {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
            assert len(different - ({"init"} if name == "relu" else set())) == 1, (name, different)
    assert len(arms_of(list(EXPERIMENTS))) == len(ARMS)  # each arm once, and none for nothing


def run(arm, seed, train, test):
    curve = [{"train_error": a, "test_error": b} for a, b in zip(train, test, strict=True)]
    return {"arm": arm, "seed": seed, "steps_per_epoch": 10, "curve": curve, "seconds": 1.0}


def test_rows_by_hand():
    (test_error, gap) = EXPERIMENTS["dropout"]
    runs = [run("standard", s, [0.5, 0.1], [0.5, 0.2 + 0.01 * s]) for s in range(3)]
    runs += [
        run("no dropout", s, [0.5, 0.0], [0.5, 0.3]) for s in (0, 1, 3)
    ]  # seed 2 is missing, 3 has no partner
    entry = row("dropout", test_error, runs)
    assert entry["seeds"] == [0, 1]
    assert entry["differences"] == pytest.approx([0.1, 0.09])
    assert entry["mean"] == pytest.approx(0.095) and entry["error"] == pytest.approx(0.005)
    entry = row("dropout", gap, runs)
    assert entry["improved"] == pytest.approx([0.1, 0.11])
    assert entry["plain"] == pytest.approx([0.3, 0.3])


def test_a_network_that_never_learns_counts_with_all_its_steps():
    tanh, _ = EXPERIMENTS["relu"]
    runs = [run("no dropout", s, [0.5, 0.25, 0.0], [0.5] * 3) for s in range(3)]
    runs += [run("tanh", s, [0.5, 0.5, 0.4], [0.5] * 3) for s in range(3)]
    entry = row("relu", tanh, runs)
    assert entry["improved"] == [10] * 3 and entry["plain"] == [20] * 3
    assert entry["bounds"] == [False, True] and entry["verdict"] == "held"
    text = table([entry])
    assert "tanh: at least 20" in text and "+10 ± 0 (ratio at least 2)" in text
    assert table([entry | {"bounds": [True, True]}]).count("ratio") == 0


def test_the_table_says_it_all_also_where_nothing_was_measured():
    rows = rows_of(["lrn"], [])
    lines = table(rows).splitlines()
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1
    assert lines[2].endswith("| - | 0 | not measured |")
    runs = [
        run(arm, s, [0.5, 0.1], [0.5, e + 0.001 * s])
        for arm, e in (("LRN", 0.2), ("standard", 0.25))
        for s in range(3)
    ]
    rows = rows_of(["lrn"], runs)
    assert "| LRN: 20.1 % | no LRN: 25.1 % | +5.0 ± 0.0 points | 3 | held |" in table(rows)
    assert "4.30 for 3 seeds" in rule(rows)
    json.dumps(rows, allow_nan=False)


# ----------------------------------------------------------------------------------------- planning

SPEEDS = {"a": Speed(0.01, 0.002), "b": Speed(0.02, 0.004)}


def test_cost_by_hand():
    plan = cost(SPEEDS, seeds=3, jobs=2, epochs=10, images=600, test_images=100)
    looked = 11 * (CHECKED + 100)
    a, b = 6000 * 0.01 + looked * 0.002 + STARTUP, 6000 * 0.02 + looked * 0.004 + STARTUP
    assert plan.run_seconds == {"a": pytest.approx(a), "b": pytest.approx(b)}
    assert plan.seconds == pytest.approx(3 * (a + b) / 2 + b / 2)
    assert cost(SPEEDS, 3, 100, 10, 600, 100).seconds == pytest.approx(3 * (a + b) / 6 + b * 5 / 6)


def test_a_plan_fits_and_is_the_largest_that_does():
    design = Design(images=600, test_images=100, epochs=40)
    for left in (60, 100, 300, 1000, 3000):
        plan = make_plan(SPEEDS, 3, 2, left, design)
        assert plan.seconds * SAFETY <= left
        if plan.images == 600 and plan.epochs < 40:
            assert cost(SPEEDS, 3, 2, plan.epochs + 1, 600, 100).seconds * SAFETY > left
    assert (plan.epochs, plan.images) == (40, 600)
    small = make_plan(SPEEDS, 3, 2, 60, design)
    assert small.epochs >= 5
    assert MIN_IMAGES <= small.images < 600 and MIN_IMAGES <= small.test_images < 100
    few = make_plan(SPEEDS, 3, 2, 60, Design(images=40, test_images=30, epochs=3))
    assert (few.epochs, few.images, few.test_images) == (3, 40, 30)


def test_too_small_a_budget_is_refused_in_one_line():
    with refused(ConfigError, "--budget is too small: add at least 1 minute(s)"):
        make_plan(SPEEDS, 3, 2, 10, Design(images=600, test_images=100))


class Machine:
    """A fake clock, and a machine on which each task in turn takes the time that it takes."""

    def __init__(self, takes):
        self.now, self.takes, self.begun = 0.0, takes, []

    def submit(self, task):
        self.begun.append(task)
        self.now += self.takes[task]
        future = Future()
        future.set_result(f"result of {task}")
        return future


def in_time(takes, expected, deadline, jobs=1):
    machine = Machine(takes)
    done = list(
        run_in_time(takes, machine.submit, lambda _: expected, jobs, deadline, lambda: machine.now)
    )
    return machine, done


def test_all_tasks_run_where_there_is_time():
    _, done = in_time(dict.fromkeys("abcd", 10), 10, 40)
    assert done == [(task, f"result of {task}") for task in "abcd"]


def test_no_task_begins_that_would_end_too_late():
    machine, done = in_time(dict.fromkeys("abcd", 10), 10, 39)
    assert machine.begun == list("abc") and machine.now == 30 and len(done) == 3


def test_a_slower_machine_is_noticed():
    """Expected 10 s each, 20 s in truth.

    After the first, the second is expected to end at 40, a third at 60.
    """
    machine, _ = in_time(dict.fromkeys("abcd", 20), 10, 59)
    assert machine.begun == ["a", "b"]


def test_a_deadline_in_the_past_runs_nothing():
    machine, done = in_time(dict.fromkeys("ab", 1), 1, 0.5)
    assert machine.begun == [] and done == []


def test_what_fails_in_a_task_is_raised():
    future = Future()
    future.set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        list(run_in_time("a", lambda _: future, lambda _: 1, 1, 10, lambda: 0))


def test_the_default_is_a_small_network():
    assert SMALL.width < 1 and SMALL.threads == 1
