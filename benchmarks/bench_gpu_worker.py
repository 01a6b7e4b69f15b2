"""What the processes of the benchmark on a GPU share; standard library only, as bench_worker.py.

A worker gets its settings as JSON in its only argument and says in a line of JSON what it runs on.
From then on each line on its standard input, such as {"do": "turn", "seconds": 0.3}, names a
method of the worker with its arguments, and is answered by a line of JSON.

A GPU works behind the back of the program: a call returns when its kernels are queued.  So time is
taken by events, which the GPU notes when it reaches them among its kernels.
"""

import json
import statistics
import sys
import time
from typing import Any, Protocol

from bench_worker import answer, requests

WARM_UP = 3  # steps that allocate memory, compile kernels and choose between them
FEWEST = 3  # steps of a turn, however long they take


class Gpu(Protocol):
    """What a framework is asked for."""

    def mark(self) -> Any:
        """An event: the GPU notes the time when all that was asked of it so far is done."""

    def milliseconds(self, start: Any, end: Any) -> float:
        """From one event to another; waits for the second."""

    def wait(self) -> None:
        """Until the GPU has done all that was asked of it."""


class Worker(Protocol):
    """A framework with its network."""

    gpu: Gpu
    about: dict[str, Any]

    def prepare(self, batch_size: int, precision: str) -> dict[str, Any]:
        """Make the data and warm up; {"peak_mb": the most memory that a step uses, or None}."""

    def step(self) -> None:
        """A training step: forward, loss, backward, Adam.  It does not wait for the GPU."""


def turn(worker: Worker, seconds: float) -> dict[str, float]:
    """Steps of a worker for about twice `seconds`, in milliseconds: medians, and a mean.

    ms        a step by events, begun when the one before had ended
    host_ms   until the program could go on
    loop_ms   of steps back to back, as a training makes them: without a wait between them
    """
    gpu = worker.gpu
    spans: list[float] = []
    hosts: list[float] = []
    end = time.perf_counter() + seconds
    while len(spans) < FEWEST or time.perf_counter() < end:
        gpu.wait()
        start, began = gpu.mark(), time.perf_counter()
        worker.step()
        hosts.append(1e3 * (time.perf_counter() - began))
        spans.append(gpu.milliseconds(start, gpu.mark()))
    gpu.wait()
    began = time.perf_counter()
    for _ in spans:
        worker.step()
    gpu.wait()
    loop = 1e3 * (time.perf_counter() - began) / len(spans)
    return {"ms": statistics.median(spans), "host_ms": statistics.median(hosts), "loop_ms": loop}


def serve(make: Any) -> None:
    """Run the worker that `make(settings)` returns, until there are no more lines to read."""
    asked = requests()
    worker = make(json.loads(sys.argv[1]))
    answer(worker.about)
    for line in asked:
        request = json.loads(line)
        name = request.pop("do")
        method = getattr(worker, name, None)
        answer(method(**request) if method else turn(worker, **request))
