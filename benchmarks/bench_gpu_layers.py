"""Layer by layer on a GPU: the time seen beside the least that the roofline allows.

A layer's time is that between two events around its forward or backward.  Where the GPU has to wait
for the program, as with small batches, that wait counts as well.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from bench_gpu_worker import FEWEST
from roofline_model import H100_TF32, LayerWork, Machine, step_work

DIRECTIONS = ("forward", "backward")


class EventWatch:
    """Notes an event before and after each call of chosen methods."""

    def __init__(self, gpu: Any):
        self.gpu = gpu
        self.watched: list[tuple[Any, str]] = []
        self.calls: list[tuple[str, Any, Any]] = []

    def watch(self, thing: Any, method: str, name: str) -> None:
        """From now on note the calls of `thing.method` as `name`."""
        setattr(thing, method, self._noted(getattr(thing, method), name))
        self.watched.append((thing, method))

    def _noted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def noted(*arguments: Any, **how: Any) -> Any:
            start = self.gpu.mark()
            result = function(*arguments, **how)
            self.calls.append((name, start, self.gpu.mark()))
            return result

        return noted

    def read(self) -> dict[str, float]:
        """Milliseconds by name since the last reading."""
        self.gpu.wait()
        found: dict[str, float] = {}
        for name, start, end in self.calls:
            found[name] = found.get(name, 0.0) + self.gpu.milliseconds(start, end)
        self.calls.clear()
        return found

    def end(self) -> None:
        """Note nothing any more."""
        for thing, method in self.watched:
            delattr(thing, method)
        self.watched.clear()


def layer_times(worker: Any, seconds: float) -> list[dict[str, Any]]:
    """A row for each layer, Adam, and a step: times seen and predicted, in milliseconds."""
    watch = EventWatch(worker.gpu)
    seen: list[dict[str, float]] = []
    for name, layer in worker.model.leaves():
        for direction in DIRECTIONS:
            watch.watch(layer, direction, f"{name} {type(layer).__name__}.{direction}")
    watch.watch(worker.adam, "step", "Adam.backward")
    watch.watch(worker, "step", "a step.forward")
    try:
        end = time.perf_counter() + seconds
        while len(seen) < FEWEST or time.perf_counter() < end:
            worker.step()
            seen.append(watch.read())
    finally:
        watch.end()
    medians = {name: statistics.median(times[name] for times in seen) for name in seen[0]}
    machine = Machine(products=H100_TF32 if worker.tf32 else None)
    rows = [
        row(work, medians, machine)
        for work in step_work(worker.model, len(worker.x), 1 if worker.tf32 else 3)
        if work.name != "pixels"  # made beside the step
    ]
    least = sum(r[f"{direction}_least_ms"] for r in rows for direction in DIRECTIONS)
    step = medians["a step.forward"]
    inside = sum(r[f"{direction}_ms"] for r in rows for direction in DIRECTIONS)
    between = {"name": "loss, and between", "forward_ms": max(0.0, step - inside)}
    whole = {"name": "a step", "forward_ms": step, "forward_least_ms": least}
    return [*rows, *({**EMPTY, **extra} for extra in (between, whole))]


EMPTY = {f"{direction}{kind}": 0.0 for direction in DIRECTIONS for kind in ("_ms", "_least_ms")}


def row(work: LayerWork, medians: dict[str, float], machine: Machine) -> dict[str, Any]:
    """A layer's row."""
    result: dict[str, Any] = {"name": work.name}
    for direction in DIRECTIONS:
        result[f"{direction}_ms"] = medians.get(f"{work.name}.{direction}", 0.0)
        works = getattr(work, direction)
        result[f"{direction}_least_ms"] = sum(one.seconds(machine) * 1e3 for one in works)
    return result


def layer_table(rows: list[dict[str, Any]]) -> str:
    """The rows as lines."""
    lines = [
        f"{'milliseconds':<28}{'forward':>9}{'predicted':>11}{'backward':>10}{'predicted':>11}"
        f"{'seen / predicted':>18}"
    ]
    for r in rows:
        cells = [r[f"{d}{kind}"] for d in DIRECTIONS for kind in ("_ms", "_least_ms")]
        seen, least = cells[0] + cells[2], cells[1] + cells[3]
        if seen or least:
            line = "".join(f"{cell:{w}.3f}" for cell, w in zip(cells, (9, 11, 10, 11), strict=True))
            times = f"{seen / least:18.1f}" if least else ""
            lines.append(f"{r['name']:<28}{line}{times}")
    lines.append("predicted: the least on an H100 by roofline_model.py; on another GPU compare no")
    lines.append("more than the layers with each other")
    return "\n".join(lines)
