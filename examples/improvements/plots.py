"""A picture of each experiment: its curves, per seed and on average, and its paired differences."""

from pathlib import Path
from typing import Any

import numpy as np

from claims import EXPERIMENTS
from paired import student
from report import Run, mean, ratio_shown, shown

COLOURS = ("tab:blue", "tab:orange", "tab:green")
TITLES = {
    "relu": "ReLU, tanh and sigmoid, as in the paper's Figure 1",
    "pooling": "Pooling",
    "lrn": "Local response normalization (LRN)",
    "augmentation": "Augmentation",
    "dropout": "Dropout",
}


def labels_of(experiment: str) -> dict[str, str]:
    """The arms of an experiment, and what they are called in it."""
    pairs = [(a, n) for c in EXPERIMENTS[experiment] for a, n in zip(c.arms, c.names, strict=True)]
    return dict(pairs)


def draw(experiment: str, rows: list[dict[str, Any]], runs: list[Run], path: Path) -> None:
    """Draw an experiment into a PNG file.  Raises ImportError where matplotlib is not installed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    rows = [r for r in rows if r["experiment"] == experiment]
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(TITLES[experiment])
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _curves(left, experiment, runs)
    if experiment == "relu":
        _steps(right, rows)
    else:
        _differences(right, rows)
    figure.savefig(path, dpi=110)


def _curves(axes: Any, experiment: str, runs: list[Run]) -> None:
    """Errors against epochs: a thin line per seed, a thick one for their mean.

    Training is dashed, test solid.
    """
    parts = {"relu": ("train",), "augmentation": ("train", "test"), "dropout": ("train", "test")}
    for (arm, label), colour in zip(labels_of(experiment).items(), COLOURS, strict=False):
        own = [run["curve"] for run in runs if run["arm"] == arm]
        for part in parts.get(experiment, ("test",)):
            curves = np.array([[100 * point[f"{part}_error"] for point in curve] for curve in own])
            if not len(curves):
                continue
            style, name = "-", f"{label}, {'training' if part == 'train' else 'test'}"
            if experiment == "relu":  # shows training alone, so the axis says it
                name = label
            elif part == "train":
                style = "--"
            axes.plot(curves.T, style, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(curves.mean(axis=0), style, color=colour, linewidth=2, label=name)
    if experiment == "relu":
        axes.axhline(25, color="black", linewidth=0.8, linestyle=":", label="25 %")
    axes.set_xlabel("epochs")
    axes.set_ylabel("training error, %" if experiment == "relu" else "error, %")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()


def _steps(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Steps to 25 % training error: a bar for the mean, a dot per seed, and the ratio to ReLU."""
    bars = [(rows[0]["names"][0], rows[0]["improved"], rows[0]["bounds"][0], "")]
    bars += [(r["names"][1], r["plain"], r["bounds"][1], ratio_shown(r).strip(" ()")) for r in rows]
    for x, ((label, values, bound, ratio), colour) in enumerate(zip(bars, COLOURS, strict=False)):
        if not values:
            continue
        hatch = "//" if bound else None
        axes.bar(x, mean(values), color=colour, alpha=0.5, hatch=hatch, label=label)
        axes.plot([x] * len(values), values, ".", color="black")
        text = shown(mean(values), "steps", bound) + (f"\n{ratio}" if ratio else "")
        above = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
        axes.annotate(text, (x, max(values)), (0, 4), **above)
    axes.set_xticks(range(len(bars)), [bar[0] for bar in bars])
    axes.set_ylabel("steps to 25 % training error")
    axes.margins(y=0.25)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, axis="y")


def _differences(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Paired differences in points, a dot per seed; their mean, its 95 % interval, the verdict."""
    axes.axvline(0, color="black", linewidth=0.8)
    for y, r in enumerate(rows):
        values = [100 * d for d in r["differences"]]
        axes.plot(values, [y] * len(values), "o", color="tab:grey", alpha=0.6, markersize=5)
        if r["error"] is not None:
            reach = 100 * student(len(values)) * r["error"]
            style = {"fmt": "D", "color": "black", "capsize": 5, "markersize": 6}
            axes.errorbar(100 * r["mean"], y, xerr=reach, **style)
        text = f"{r['claim']}: {r['verdict']}"
        units = ("axes fraction", "data")  # of x and y
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(text, (0.5, y - 0.28), xycoords=units, ha="center", fontsize=9, bbox=behind)
    axes.set_yticks([])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.set_xlabel(
        "without minus with, in points (a dot: one seed;\n"
        "diamond and bar: mean and its 95 % interval)"
    )
    axes.margins(x=0.15)
    axes.grid(alpha=0.3, axis="x")
