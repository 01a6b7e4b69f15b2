"""The benchmark's side of its processes: start them, let them step in turn, end them always."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minialex.errors import MinialexError

HERE = Path(__file__).parent
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "PYTHON_CPU_COUNT",
)  # fmt: skip


class BenchmarkError(MinialexError):
    """Something that is to be measured cannot run."""


class Contender(NamedTuple):
    """What a process runs: `python file` with `settings` for its worker; `name` is for tables.

    The worker imports minialex from the folder `root`, or without one from where this process does
    by itself.  `through` is a program that runs the file in its place: see run_through().
    """

    name: str
    python: str
    file: str
    settings: dict[str, Any]
    root: str | None = None
    through: tuple[str, ...] = ()


def run_through() -> tuple[str, ...]:
    """The program that Python programs for a GPU are run by, if any: one that emulates a GPU."""
    return tuple(filter(None, [os.environ.get("MINIALEX_RUN_THROUGH")]))


def ours(settings: dict[str, Any]) -> Contender:
    """minialex, in this Python."""
    return Contender("minialex", sys.executable, "bench_ours.py", settings)


def import_from(root: str | None) -> dict[str, str]:
    """The environment of a Python that looks for modules in the folder `root` before others."""
    if root is None:
        return dict(os.environ)
    paths = filter(None, (root, os.environ.get("PYTHONPATH")))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


class Child:
    """A running worker, warmed up; `about` is what it said of itself.

    Raises BenchmarkError where it fails.
    """

    def __init__(self, contender: Contender):
        self.name, threads = contender.name, contender.settings.get("threads")
        environment = import_from(contender.root)
        if threads:
            environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by end()
        with on_cores(threads):
            # In a session of its own, so that Ctrl-C reaches the benchmark alone, which then ends
            # the workers.
            self.process = subprocess.Popen(
                [
                    contender.python, *contender.through, str(HERE / contender.file),
                    json.dumps(contender.settings),
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=environment,
                start_new_session=True, text=True,
            )  # fmt: skip
        self.about: dict[str, Any] = {}

    def step(self, request: str = "") -> dict[str, Any]:
        """Let the worker have its turn, or do what is in `request`, and return what it measured."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: answer() says why
            self.process.stdin.write(f"{request}\n")
            self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The worker's next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            raise BenchmarkError(f"{self.name} failed: {self.last_words()}")
        return json.loads(line)

    def last_words(self) -> str:
        """The last line that a worker wrote before it ended, or the signal that ended it."""
        status = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        if status == -9:  # SIGKILL
            return "it was killed, perhaps for want of memory; use a smaller --batch-size"
        return lines[-1] if lines else f"it ended with status {status} and said nothing"

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


@contextlib.contextmanager
def on_cores(threads: int | None) -> Iterator[None]:
    """Processes started inside use the first `threads` cores only, on systems that can do this."""
    if not threads or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running(contenders: Sequence[Contender]) -> Iterator[list[Child]]:
    """The contenders' processes, started one after the other, and ended when the block is left."""
    children: list[Child] = []
    try:
        for contender in contenders:
            children.append(Child(contender))
            children[-1].about = children[-1].answer()
            check_memory(children)
        yield children
    finally:
        for child in children:
            child.end()


def check_memory(children: Sequence[Child]) -> None:
    """Raise BenchmarkError where the processes need more memory than there is: they would swap."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    need = sum(child.about["rss_mb"] for child in children)
    if need > 0.95 * machine:
        raise BenchmarkError(
            f"{len(children)} processes need {need:,.0f} of {machine:,.0f} MB;"
            " use a smaller --batch-size"
        )


def in_turn(
    children: Sequence[Child], rounds: int, swap: bool = False
) -> list[list[dict[str, Any]]]:
    """The steps of each child; they take turns, so that what disturbs one disturbs all.

    With `swap` every other round is in reverse order: A B, B A, A B.
    """
    steps: list[list[dict[str, Any]]] = [[] for _ in children]
    for i in range(rounds):
        turns = list(zip(children, steps, strict=True))
        for child, own in reversed(turns) if swap and i % 2 else turns:
            own.append(child.step())
    return steps
