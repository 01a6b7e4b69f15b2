"""What the runs say about the claims: a row for each comparison, as data and as a table.

A row: {"experiment", "claim", "quantity", "names", "arms", "seeds", "improved", "plain",
"differences", "mean", "error", "verdict", "bounds"}.  `improved` and `plain` hold a number per
seed, and `differences` their paired differences, positive where the claim holds.

What if a network never reaches 25 % training error?  To leave it out would flatter it, so it counts
with all the steps that it made; its `bounds` entry is True, since its number, and so the
difference, is a lower bound.
"""

import math
from typing import Any

from claims import EXPERIMENTS, Comparison
from paired import paired, steps_to, student

Run = dict[str, Any]


def quantity(run: Run, name: str) -> tuple[float, bool]:
    """A quantity of a run, as in claims.py, and whether it is only a lower bound.

    Errors are shares of 1.
    """
    curve = run["curve"]
    if name == "steps":
        steps = steps_to([point["train_error"] for point in curve], run["steps_per_epoch"])
        if steps is None:
            return (len(curve) - 1) * run["steps_per_epoch"], True
        return steps, False
    gap = curve[-1]["train_error"] if name == "gap" else 0.0
    return curve[-1]["test_error"] - gap, False


def row(experiment: str, comparison: Comparison, runs: list[Run]) -> dict[str, Any]:
    """The row of a comparison, from those seeds for which both arms were trained."""
    by_arm = {
        arm: {run["seed"]: run for run in runs if run["arm"] == arm} for arm in comparison.arms
    }
    improved, plain = (by_arm[arm] for arm in comparison.arms)
    seeds = sorted(improved.keys() & plain.keys())
    ours, theirs = (
        [quantity(arm[s], comparison.quantity) for s in seeds] for arm in (improved, plain)
    )
    differences = [b[0] - a[0] for a, b in zip(ours, theirs, strict=True)]
    result = paired(differences)
    return {
        "experiment": experiment, "claim": comparison.claim, "quantity": comparison.quantity,
        "names": comparison.names, "arms": comparison.arms, "seeds": seeds,
        "improved": [value for value, _ in ours], "plain": [value for value, _ in theirs],
        "differences": differences, "mean": result.mean if seeds else None, "error": result.error,
        "verdict": result.verdict,
        "bounds": [any(bound for _, bound in ours), any(bound for _, bound in theirs)],
    }  # fmt: skip


def rows_of(experiments: list[str], runs: list[Run]) -> list[dict[str, Any]]:
    """The rows of all comparisons of these experiments."""
    return [row(name, comparison, runs) for name in experiments for comparison in EXPERIMENTS[name]]


def mean(values: list[float]) -> float:
    """The mean; of nothing, not a number."""
    return sum(values) / len(values) if values else math.nan


def shown(value: float, name: str, bound: bool = False) -> str:
    """A quantity as text: steps as a whole number, errors in percent."""
    text = f"{value:,.0f}" if name == "steps" else f"{100 * value:.1f} %"
    return f"at least {text}" if bound else text


def difference_shown(entry: dict[str, Any]) -> str:
    """The mean of the paired differences of a row, ± its standard error."""
    if entry["mean"] is None:
        return "-"
    factor, unit = (1, "") if entry["quantity"] == "steps" else (100, " points")
    digits = 0 if entry["quantity"] == "steps" else 1
    text = f"{round(factor * entry['mean'], digits) + 0.0:+,.{digits}f}"  # + 0.0: never "-0"
    error = "" if entry["error"] is None else f" ± {factor * entry['error']:,.{digits}f}"
    return text + error + unit


def ratio_shown(entry: dict[str, Any]) -> str:
    """For steps: how many times as many the plain network needed, by the means."""
    ours = mean(entry["improved"])
    if entry["quantity"] != "steps" or not entry["seeds"] or ours == 0 or entry["bounds"][0]:
        return ""
    return f" (ratio {'at least ' if entry['bounds'][1] else ''}{mean(entry['plain']) / ours:.2g})"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| experiment | claim | quantity | with | without"
        " | without minus with, mean ± standard error | seeds | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        name = "steps to 25 % training error" if r["quantity"] == "steps" else r["quantity"]
        arms = zip(r["names"], ("improved", "plain"), r["bounds"], strict=True)
        ours, theirs = (
            f"{label}: {shown(mean(r[key]), r['quantity'], bound)}" if r["seeds"] else f"{label}: -"
            for label, key, bound in arms
        )
        difference = difference_shown(r) + ratio_shown(r)
        cells = (r["experiment"], r["claim"], name, ours, theirs, difference)
        lines.append(f"| {' | '.join((*cells, str(len(r['seeds'])), r['verdict']))} |")
    return "\n".join(lines)


def rule(rows: list[dict[str, Any]]) -> str:
    """How the verdicts of these rows were reached, in a line."""
    counts = sorted({len(r["seeds"]) for r in rows if len(r["seeds"]) > 1})
    factors = ", ".join(f"{student(n):.2f} for {n} seeds" for n in counts) or "student(n)"
    return (
        "held: the mean of the paired differences exceeds t standard errors; did not hold: it is"
        " below -t of them; not decided: between"
        f" (t from Student's distribution, 95 %: {factors})"
    )
