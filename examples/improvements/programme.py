"""All of it, within a budget: read the images, measure the speed, plan, and train pair by pair.

Every core takes one run after the other.
"""

import contextlib
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import runs
from claims import SHARED, arms_of
from minialex.data import open_source
from minialex.errors import ConfigError
from minialex.fast.threads import cpu_count
from plan import Design, Plan, make_plan, run_in_time, with_images

Report = Callable[[str], None]
MEASURED = 1.5  # seconds that it takes to measure the speed of an arm, or a fiftieth of all


@contextlib.contextmanager
def processes(jobs: int, threads: int, folder: str) -> Iterator[tuple[ProcessPoolExecutor, Path]]:
    """A pool of processes, and a file that, once it is there, ends their runs after their step.

    (An event would have a lock, and a process that is killed may hold it for ever.)

    Where the caller fails, the runs end in the same way; where it is killed, they die, and remove
    `folder`.  Raises ConfigError where one of them is killed before the first run.
    """
    # Not "fork", which would copy locks that other threads hold.
    context = multiprocessing.get_context("spawn")
    stop = Path(folder) / "stop"
    pool = ProcessPoolExecutor(jobs, context, runs.begin_process, (threads, stop))
    try:
        yield pool, stop
    except BrokenProcessPool:
        raise ConfigError("a process was killed, perhaps for want of memory") from None
    except BaseException:
        stop.touch()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def run_programme(
    experiments: list[str],
    data: str,
    seeds: int,
    budget: float,
    design: Design,
    began: float,
    report: Report,
    keep: Callable[[dict[str, Any]], Any] = lambda results: None,
) -> dict[str, Any]:
    """Train all arms of `experiments` with `seeds` seeds, within `budget` seconds from `began`.

    `began` is on time.time().  Returns what goes into results.json: {"data", "description",
    "shared", "design", "plan", "runs", "seconds"}.  `keep` gets the same after each run, with those
    that are finished.
    """
    arms = arms_of(experiments)
    if data != "drawings":
        # Downloads what is missing, before many processes look for it at once.
        open_source(data, seed=1, limit=design.images)
    jobs = max(1, cpu_count() // design.threads) if design.threads else 1
    # For the last evaluation, the pictures, and whatever else delays us.
    reserve = max(min(10, budget / 20), budget / 50)
    deadline = began + budget - reserve
    with (
        tempfile.TemporaryDirectory() as folder,
        processes(jobs, design.threads, folder) as (pool, stop),
    ):
        # Seeds from 1 on, since the learning rate was chosen on seed 0 (claims.py).
        files = {seed: Path(folder) / f"{seed}.safetensors" for seed in range(1, seeds + 1)}
        ready = [
            pool.submit(runs.prepare, data, seed, design, file) for seed, file in files.items()
        ]
        sizes = [future.result() for future in ready]
        images, tests, description = min(size[0] for size in sizes), sizes[0][1], sizes[0][2]
        report(description)
        design = with_images(design, images, tests)
        plan = _planned(arms, files[1], design, seeds, jobs, deadline, pool, report)
        done: list[dict[str, Any]] = []

        def results() -> dict[str, Any]:
            return {
                "data": data, "description": description, "shared": SHARED,
                "design": asdict(design), "plan": asdict(plan), "seconds": time.time() - began,
                "runs": sorted(done, key=lambda run: (arms.index(run["arm"]), run["seed"])),
            }  # fmt: skip

        try:
            for _ in _train_all(arms, files, design, plan, jobs, deadline, pool, done, report):
                keep(results())
        except KeyboardInterrupt:
            stop.touch()
            report("stopped by Ctrl-C: what follows are the runs that were finished")
        except BrokenProcessPool:
            report("a process was killed: what follows are the runs that were finished")
    return results()


def _planned(
    arms: list[str],
    file: Path,
    design: Design,
    seeds: int,
    jobs: int,
    deadline: float,
    pool: ProcessPoolExecutor,
    report: Report,
) -> Plan:
    """The plan, by the speeds of all arms, measured while all cores are busy as they will be."""
    left = deadline - time.time()
    each = min(MEASURED, 0.02 * left)
    measured = {arm: pool.submit(runs.measure_speed, arm, file, design, each) for arm in arms}
    speeds = {arm: future.result() for arm, future in measured.items()}
    for arm, speed in speeds.items():
        report(
            f"  {arm}: {1 / speed.train:,.0f} images/s in training,"
            f" {1 / speed.evaluate:,.0f} in evaluation"
        )
    plan = make_plan(speeds, seeds, jobs, deadline - time.time(), design)
    report(
        f"{len(arms)} arms x {seeds} seeds, {jobs} at a time: {plan.epochs} epochs of"
        f" {plan.images:,} images, {plan.test_images:,} to be tested on,"
        f" about {plan.seconds / 60:.1f} min"
    )
    return plan


def _train_all(
    arms: list[str],
    files: dict[int, Path],
    design: Design,
    plan: Plan,
    jobs: int,
    deadline: float,
    pool: ProcessPoolExecutor,
    done: list[dict[str, Any]],
    report: Report,
) -> Iterator[None]:
    """Add to `done` the runs that end in time; yields after each.

    All arms of one seed come before the next seed, so that an early end leaves complete pairs.
    """
    tasks = [(arm, seed) for seed in files for arm in arms]

    def submit(task: tuple[str, int]) -> Future[dict[str, Any]]:
        arm, seed = task
        return pool.submit(runs.train, arm, seed, files[seed], design, plan, deadline)

    for (arm, seed), run in run_in_time(
        tasks, submit, lambda task: plan.run_seconds[task[0]], jobs, deadline, time.time
    ):
        if "failed" in run:
            report(f"  {arm}, seed {seed}: {run['failed']}; not counted")
            continue
        done.append(run)
        last = run["curve"][-1]
        report(
            f"  {len(done)}/{len(tasks)}  {arm}, seed {seed}:"
            f" error {last['train_error']:.1%} training, {last['test_error']:.1%} test;"
            f" {run['seconds']:.0f} s"
        )
        yield
    if len(done) < len(tasks):
        report(
            f"{len(tasks) - len(done)} of {len(tasks)} runs are missing:"
            " only complete pairs are compared"
        )
