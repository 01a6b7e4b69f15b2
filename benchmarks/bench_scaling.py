"""How the cost grows: batches of 1 to 256 images on one thread and on all, and growing images.

A training step should take no more than in proportion to its work (the multiply-adds of the
network), and the memory of activations in inference should stop growing once every thread has its
micro-batch (minialex/fast/parallel.py).

    other MB    peak memory less Python and its libraries, the weights (in training also their
                gradient and Adam's two vectors) and the batch itself: activations and scratch
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench_children import in_turn, ours, running
from minialex.fast.threads import cpu_count

Row = dict[str, Any]

BATCHES = (1, 4, 16, 32, 64, 128, 256)
SIDES = (99, 163, 227, 323, 451)
VGG_SIDES = (32, 64, 96, 128)
SIDE_BATCH = 16
SETTINGS = ("variant", "lrn", "phase", "threads", "batch_size", "image_size")


def all_series(settings: Row, phases: list[str]) -> list[list[Row]]:
    """Series of points that grow, per phase: batches on one thread and on all, sides on all."""
    most = settings["threads"] or cpu_count()
    sides = VGG_SIDES if settings["variant"] == "vgg" else SIDES
    result = []
    for phase in phases:
        case = settings | {"phase": phase, "batch_size": SIDE_BATCH}
        for threads in sorted({1, most}):
            grow = {"series": f"batch, {phase}, {plural(threads)}", "threads": threads}
            result.append([case | grow | {"batch_size": batch} for batch in BATCHES])
        grow = {"series": f"side, {phase}, {plural(most)}", "threads": most}
        result.append([case | grow | {"image_size": side} for side in sides])
    return result


def plural(threads: int) -> str:
    """ "1 thread", "2 threads"."""
    return f"{threads} thread{'s' * (threads > 1)}"


def measure(point: Row, rounds: int, seconds: float) -> Row:
    """One point: `rounds` steps, fewer where they would take over `seconds`, at least one."""
    with running([ours(point)]) as children:
        about = children[0].about
        steps = in_turn(children, max(1, min(rounds, int(seconds / about["warm_up"]))))[0]
    median, rss = statistics.median(step["seconds"] for step in steps), steps[-1]["rss_mb"]
    train = point["phase"] == "train"
    flops = 2 * point["batch_size"] * sum(layer["multiply_adds"] for layer in about["layers"])
    flops *= 3 if train else 1  # backward is two products for each one of forward
    other = rss - about["base_mb"] - (4 if train else 1) * about["weights_mb"] - about["data_mb"]
    return {key: point[key] for key in ("series", *SETTINGS)} | {
        "rounds": len(steps), "ours_s": median, "ms_per_image": 1000 * median / point["batch_size"],
        "gflop": flops / 1e9, "gflop_per_s": flops / 1e9 / median,
        "ours_rss_mb": rss, "other_mb": other,
    }  # fmt: skip


def expected_seconds(last: Row, point: Row) -> float:
    """A guess from the point before: start, warm-up and one step."""
    batch, side = (point[key] / last[key] for key in ("batch_size", "image_size"))
    return 3 + 2 * batch * side**2 * last["ours_s"]


def scaling(series: list[list[Row]], rounds: int, seconds: float) -> list[list[Row]]:
    """Measure the series as far as they fit into `seconds`, cheap points before dear ones."""
    end = time.monotonic() + seconds
    results: list[list[Row]] = [[] for _ in series]
    for i in range(max(map(len, series))):  # all first points, then all second ones
        for points, done in zip(series, results, strict=True):
            left = end - time.monotonic()
            if i >= len(points):
                continue
            point = points[i]
            text = f"{point['series']}: batch {point['batch_size']}, {point['image_size']} px"
            if done and left < expected_seconds(done[-1], point):
                progress(f"{text}: left out, the time is up (--minutes)")
            else:
                progress(text)
                done.append(measure(point, rounds, left / 20))
    return [done for done in results if done]


def progress(line: str) -> None:
    """A line on standard error, where it does not get into the table."""
    print(line, file=sys.stderr, flush=True)


def scaling_table(results: list[list[Row]]) -> str:
    """The rows as lines, and after each series how much the time grew with the work."""
    lines = []
    for done in results:
        lines.append(
            f"\n{done[0]['series']:<30}{'batch':>6}{'px':>5}{'s':>9}{'ms/image':>10}"
            f"{'GFLOP':>9}{'GFLOP/s':>9}{'peak MB':>9}{'other MB':>9}"
        )
        for r in done:
            lines.append(
                f"{'':<30}{r['batch_size']:>6}{r['image_size']:>5}{r['ours_s']:>9.3f}"
                f"{r['ms_per_image']:>10.1f}{r['gflop']:>9.1f}{r['gflop_per_s']:>9.1f}"
                f"{r['ours_rss_mb']:>9,.0f}{r['other_mb']:>9,.0f}"
            )
        work, took = (done[-1][key] / done[0][key] for key in ("gflop", "ours_s"))
        growth = f"{work:.1f} times the work, {took:.1f} times the time"
        lines.append(f"{'':<30}from first to last: {growth}")
    return "\n".join(lines)


def draw(results: list[list[Row]], path: Path) -> None:
    """A picture of the table: time by batch, memory by batch, time by side.  Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no window, no global state
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        ("batch", "batch_size", "ms_per_image", "images per step", "ms per image"),
        ("batch", "batch_size", "other_mb", "images per step", "activations and scratch, MB"),
        (
            "side",
            "image_size",
            "ms_per_image",
            "side of the image, pixels",
            f"ms per image, batch {SIDE_BATCH} (dotted: work)",
        ),
    )
    for axes, (kind, x, y, x_label, y_label) in zip(figure.subplots(1, 3), panels, strict=True):
        own = [done for done in results if done[0]["series"].startswith(kind)]
        for done in own:
            label = done[0]["series"].partition(", ")[2]
            at, cost = [r[x] for r in done], [r[y] for r in done]
            axes.plot(at, cost, marker="o", markersize=3, label=label)
            if kind == "side":  # what the first point would become in proportion to the work
                line = [done[0][y] * r["gflop"] / done[0]["gflop"] for r in done]
                axes.plot(at, line, color="grey", linestyle=":", linewidth=1)
        ticks = sorted({r[x] for done in own for r in done})
        axes.set(xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
