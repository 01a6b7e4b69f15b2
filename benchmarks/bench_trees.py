"""minialex against another checkout of itself, such as the commit before a change.

    python benchmarks/benchmark.py --against PATH

A process of each checkout takes turns with the other, and the one that goes first changes from pair
to pair.  What slows the machine down for longer than a pair slows both down, so it cancels in the
ratio of a pair, and the median of these ratios is what counts, not the ratio of the medians.

Its interval is that of order statistics.  A ratio lies below the true median with probability 1/2,
whatever the distribution, so of n independent ratios the number below it, b, is binomial, and the
median lies between the k-th lowest and the k-th highest ratio with probability 1 - 2 P(b < k).  We
take the largest k for which that is at least 95 %: of 15 pairs the 4th, with 96.5 %.  Fewer than 6
pairs have no such k; then the interval is from the lowest to the highest, and says less.

The interval is of what varies from turn to turn.  It does not know of what two starts of the same
program have different, such as where their arrays lie in memory: a checkout against itself shows
how much that is.
"""

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench_children import BenchmarkError, Contender, import_from
from bench_rows import CASE, Row, result_lines, summary

PAIRS = 15  # by default
HERE = Path(__file__).resolve().parents[1]
WORKERS = ("benchmarks/bench_ours.py", "examples/bench_ours.py")  # the latter in older checkouts
NAMES = ("this tree", "other tree")


class Interval(NamedTuple):
    """The median lies between `low` and `high` with probability `confidence`."""

    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The interval of order statistics of the median of `values`; see the head of this page."""
    n = len(values)

    def outside(k: int) -> float:  # 2 P(b < k)
        return 2 * sum(math.comb(n, b) for b in range(k)) / 2**n

    k = 1
    while outside(k + 1) <= 1 - confidence:
        k += 1
    ordered = sorted(values)
    return Interval(ordered[k - 1], ordered[-k], 1 - outside(k))


def problem(path: str) -> str | None:
    """Why `path` is no checkout of minialex that can be measured, in a line; None if it is one."""
    if not os.path.isdir(path):
        return f"--against takes torch or a checkout of minialex; there is no folder {path!r}"
    if not os.path.isfile(os.path.join(path, "minialex", "__init__.py")):
        return f"--against: {path!r} is no checkout of minialex, it has no minialex/__init__.py"
    if not any(os.path.isfile(os.path.join(path, worker)) for worker in WORKERS):
        return f"--against: {path!r} has none of {', '.join(WORKERS)}, it cannot be measured"
    return None


def tree_contenders(settings: Row, path: str) -> list[Contender]:
    """The processes of this checkout and of the one in `path`."""
    contenders = []
    for name, root in zip(NAMES, (HERE, Path(path).resolve()), strict=True):
        worker = next(root / worker for worker in WORKERS if (root / worker).is_file())
        contenders.append(Contender(name, sys.executable, str(worker), settings, str(root)))
    return contenders


def check_imports(contenders: Sequence[Contender]) -> None:
    """Raise BenchmarkError where a worker would not import minialex from its own checkout."""
    for contender in contenders:
        assert contender.root is not None
        command = [contender.python, "-c", "import minialex; print(minialex.__file__)"]
        folder = os.path.dirname(contender.file)  # where the worker, and this, look first
        environment = import_from(contender.root)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise BenchmarkError(f"{contender.name}: minialex cannot be imported ({reason})")
        found = Path(done.stdout.strip().splitlines()[-1]).resolve().parents[1]
        if found != Path(contender.root).resolve():
            raise BenchmarkError(
                f"{contender.name}: minialex would be imported from {str(found)!r},"
                f" not from {contender.root!r}"
            )


def tree_comparison(settings: Row, steps: Sequence[list[Row]], path: str) -> Row:
    """The row of one phase and batch size; `steps` are those of this and of the other process."""
    ours, other = (summary(own, settings["batch_size"]) for own in steps)
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(*steps, strict=True)]
    interval = median_interval(ratios)
    return {key: settings[key] for key in CASE} | {
        "against": path, "rounds": len(ratios),
        "ours_s": ours["s"], "ours_rss_mb": ours["rss_mb"], "ours": ours,
        "other_s": other["s"], "other_rss_mb": other["rss_mb"], "other": other,
        "ratio": statistics.median(ratios), "interval": [interval.low, interval.high],
        "confidence": interval.confidence, "ratios": ratios,
    }  # fmt: skip


def tree_table(row: Row) -> str:
    """A row of `tree_comparison` as lines: one per process, and the ratio with its interval."""
    lines = result_lines(dict(zip(NAMES, (row["ours"], row["other"]), strict=True)), row["phase"])
    low, high = row["interval"]
    return "\n".join(lines) + (
        f"\nthis / other: time {row['ratio']:.3f}, interval {low:.3f} to {high:.3f}"
        f" ({row['confidence']:.1%}, order statistics of {row['rounds']} pairs),"
        f" memory {row['ours_rss_mb'] / row['other_rss_mb']:.2f}"
    )
