"""What the processes of the benchmark share; standard library only: PyTorch may live elsewhere.

A worker gets its settings as JSON in its only argument, builds its network, makes one step to warm
up, and says so in a line of JSON.  From then on each line on its standard input is answered by a
turn and a line of JSON.  It ends with its input, even in the middle of a step, so it does not
outlive the benchmark, however that ends.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLASSES = 2  # cats and dogs, as in the training example
LEARNING_RATE = 1e-4
# The second network: filters of its 3 x 3 convolutions, which come in pairs, each followed by a
# 2 x 2 maximum.  Simonyan, Zisserman (2015), "Very Deep Convolutional Networks", table 1, column B
# without its last pair.
VGG_CHANNELS = (64, 128, 256, 512)
VGG_HIDDEN = 512

# Seconds of a turn: short steps are repeated, as in a loop, and their median is the turn's.
TURN = 0.5
# Returns "seconds" and "parts", name -> seconds, which add up to them.
Step = Callable[[], dict[str, Any]]


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB of 2**20 bytes.

    Linux counts `ru_maxrss` on from the process that started this one, VmHWM from its own start.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB; bytes on a Mac
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def serve(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Step]]) -> None:
    """Run a worker; `prepare(settings)` returns what it has to say about itself, and its step."""
    asked = requests()
    about, step = prepare(json.loads(sys.argv[1]))
    started = time.perf_counter()
    step()  # first steps allocate memory and choose kernels
    answer(about | {"warm_up": time.perf_counter() - started, "rss_mb": peak_memory_mb()})
    for _ in asked:
        result = turn(step)
        answer(result | {"rss_mb": peak_memory_mb()})


def requests() -> Iterator[str]:
    """The lines that the benchmark writes, from now on; the process ends with them."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return iter(lines.get, None)


def turn(step: Step) -> dict[str, Any]:
    """The median of as many steps as take TURN seconds, at least one; if even, the lower."""
    steps = [step()]
    while sum(one["seconds"] for one in steps) < TURN:
        steps.append(step())
    return sorted(steps, key=lambda one: one["seconds"])[(len(steps) - 1) // 2]


def answer(message: dict[str, Any]) -> None:
    """One line of JSON to the benchmark."""
    print(json.dumps(message), flush=True)
