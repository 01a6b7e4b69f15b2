"""What fits into a budget, and how to stop in time.

You say how long you can wait, and get the best experiment that fits.  So the speed of each arm is
measured first (runs.py).  With it, a run of E epochs over I training images costs

    seconds(arm)  =  E I train(arm) + (E + 1) (images that are evaluated) evaluate(arm) + STARTUP

and J processes that take one run after the other need at most

    sum of all runs / J  +  the longest run (1 - 1/J)

`make_plan` takes the most epochs, up to the design's, for which SAFETY times this fits; where not
even MIN_EPOCHS fit, it takes fewer images, to train on and to be tested on.  And if the machine
turns out slower than planned?  Then `run_in_time` begins no run that it does not expect to end in
time, and every run gives up at the deadline.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from minialex.errors import ConfigError

SAFETY = 1.3  # the machine may become slower by this factor
STARTUP = 1.0  # seconds to read the images and build the network
MIN_EPOCHS = 5
MIN_IMAGES = 64
CHECKED = 500  # training images on which the training error is measured after each epoch

Task = TypeVar("Task")


@dataclass(frozen=True)
class Design:
    """The size of an experiment: the network's width, the image side, the images, the most epochs.

    `test_images` is for drawings; photos have their own.  `threads` compute each run (0: one per
    core), and as many runs go on at a time as the cores allow.
    """

    width: float = 0.25
    side: int | None = 99
    images: int = 300
    test_images: int = 500
    epochs: int = 40
    threads: int = 1


SMALL = Design()
PHOTOS = Design(images=2000, epochs=20)  # they vary more than drawings
FULL = Design(width=1.0, side=None, images=2000, epochs=20, threads=0)


@dataclass(frozen=True)
class Speed:
    """Seconds per image: in training and in evaluation."""

    train: float
    evaluate: float


@dataclass(frozen=True)
class Plan:
    """Epochs and images of each run, the seconds of a run of each arm, and of everything."""

    epochs: int
    images: int
    test_images: int
    run_seconds: Mapping[str, float]
    seconds: float


def cost(
    speeds: Mapping[str, Speed], seeds: int, jobs: int, epochs: int, images: int, test_images: int
) -> Plan:
    """The plan for these numbers of epochs and images, by the formulas above."""
    evaluated = (epochs + 1) * (min(images, CHECKED) + test_images)
    runs = {
        arm: epochs * images * s.train + evaluated * s.evaluate + STARTUP
        for arm, s in speeds.items()
    }
    jobs = min(jobs, seeds * len(runs))
    total = seeds * sum(runs.values()) / jobs + max(runs.values()) * (1 - 1 / jobs)
    return Plan(epochs, images, test_images, runs, total)


def make_plan(
    speeds: Mapping[str, Speed], seeds: int, jobs: int, left: float, design: Design
) -> Plan:
    """The most that fits into `left` seconds.  Raises ConfigError where not even the least does."""
    images, tests = design.images, design.test_images
    while True:
        least = min(MIN_EPOCHS, design.epochs)
        for epochs in range(design.epochs, least - 1, -1):
            plan = cost(speeds, seeds, jobs, epochs, images, tests)
            if plan.seconds * SAFETY <= left:
                return plan
        if max(images, tests) <= MIN_IMAGES:
            need = math.ceil((plan.seconds * SAFETY - left) / 60)
            raise ConfigError(
                f"--budget is too small: add at least {need} minute(s), or choose one experiment"
            )
        images, tests = (max(min(n, MIN_IMAGES), n * 3 // 4) for n in (images, tests))


def with_images(design: Design, images: int, test_images: int) -> Design:
    """`design` for a source that has at most `images`, and `test_images` to be tested on."""
    return replace(design, images=min(design.images, images), test_images=test_images)


def run_in_time(
    tasks: Iterable[Task],
    submit: Callable[[Task], "Future[Any]"],
    seconds: Callable[[Task], float],
    jobs: int,
    deadline: float,
    clock: Callable[[], float],
) -> Iterator[tuple[Task, Any]]:
    """Run `tasks` in order, `jobs` at a time; yield each with its result as it ends.

    `seconds(task)` is what it is expected to take.  The ratio of all time taken to all time
    expected corrects the next expectation, and a task that would end after `deadline` (on `clock`)
    is left out.
    """
    waiting, running = deque(tasks), dict[Future[Any], tuple[Task, float]]()
    taken = expected = 0.0
    while waiting or running:
        while waiting and len(running) < jobs:
            task = waiting.popleft()
            if clock() + seconds(task) * (taken / expected if expected else 1) <= deadline:
                began = clock()
                running[submit(task)] = task, began
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task, began = running.pop(future)
            taken, expected = taken + clock() - began, expected + seconds(task)
            yield task, future.result()
