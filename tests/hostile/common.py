"""What the programs of this folder share: tiny runs, commands in processes of their own, a report.

A command runs in a forked process, which costs no start of Python, and may be killed or hang.
"""

import argparse
import contextlib
import csv
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))  # the package beside these programs

from minialex.commands import main as program
from minialex.train.checkpoint import load_checkpoint

PRELOADED = [f"minialex.commands.{name}" for name in program.COMMANDS]
PRELOADED += ["fcntl", "multiprocessing"]
TINY = ("--device=cpu", "--width=0.02", "--image-size=67", "--batch-size=4", "--workers=0")
LONGEST = 500  # letters of an error's line
CRASHED, HUNG = 70, "hung"


def start(text: str, count: int, forms: str) -> tuple[argparse.Namespace, random.Random]:
    """The options --seed and --count of a program, and random numbers of that seed.

    Enters a new folder, which is gone at the end.
    """
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=count, help=f"{forms} (default {count})")
    parser.add_argument("--verbose", action="store_true", help="say what each case came to")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.count} {forms}", flush=True)
    for name in PRELOADED:
        importlib.import_module(name)
    return options, random.Random(options.seed)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new folder, entered, and gone at the end."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        before, folder = Path.cwd(), Path(name).resolve()
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


# ------------------------------------------------------------------------------ commands


@dataclass
class Ended:
    """How a command ended: its exit status (or HUNG), what it printed, and how long it took."""

    status: int | str
    out: str
    err: str
    seconds: float

    def faults(self, statuses: tuple[int, ...] = (0, 2), lines: int = 1) -> list[str]:
        """What no command may do, whatever it is given; none is well."""
        errors = [line for line in self.err.splitlines() if line.strip()]
        found = []
        if self.status == HUNG:
            found.append(f"hung for {self.seconds:.0f} s")
        elif "Traceback" in self.err or self.status == CRASHED:
            found.append(f"a traceback: {errors[-1] if errors else self.out[-200:]}")
        elif self.status not in statuses:
            found.append(f"status {self.status}: {self.err[-200:]}")
        elif len(errors) > lines:
            found.append(f"{len(errors)} lines on stderr: {self.err[:300]!r}")
        elif self.status == 2 and not errors:
            found.append("status 2 without a word")
        if long := [line for line in errors if len(line) > LONGEST]:
            found.append(f"a line of {len(long[0])} letters: {long[0][:200]!r} ...")
        return found


def call(
    *arguments: object,
    timeout: float = 60,
    before: Callable[[], None] = lambda: None,
    kill_after: float | None = None,
) -> Ended:
    """`minialex ARGUMENTS` in a process of its own, in the current folder.

    `before` is called there first.  The process is killed after `timeout` seconds, which is a
    fault, or after `kill_after`, which is not.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _as_child(list(map(str, arguments)), before, out.fileno(), err.fileno())
        status = _wait(child, began + (timeout if kill_after is None else kill_after))
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    ended: int | str = status if status is not None else HUNG if kill_after is None else -9
    return Ended(ended, *texts, time.monotonic() - began)


def _wait(child: int, until: float) -> int | None:
    """The exit status of a process, None where it goes on at the time `until`."""
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def _as_child(arguments: list[str], before: Callable[[], None], out: int, err: int) -> None:
    status: object = CRASHED
    try:
        for target, source in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
            os.dup2(source, target)
        before()
        program.run_main(lambda: program.main(arguments))
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # as at the end of Python: waits for all threads
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


# ---------------------------------------------------------------------------- runs and their files


def make_photos(folder: Path, train: int = 7, test: int = 3, seed: int = 0) -> Path:
    """Photos of noise: so many of each of two classes for training and for the test."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", train), ("test", test)):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (72, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    """The content of all files below a folder, by their paths in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def outcome(run: Path) -> dict[str, object]:
    """All that a finished run leaves, except how long it took: what has to be equal to the bit."""
    found: dict[str, object] = {"files": sorted(os.listdir(run))}
    for name in ("best", "last"):
        tensors, header = load_checkpoint(run / f"{name}.safetensors")
        header.pop("settings", None)  # of config.json
        progress = header.get("progress", {"history": []})
        progress.pop("seconds", None)
        for row in progress["history"]:
            row.pop("images_per_s")
        found[name] = {key: array.tobytes() for key, array in tensors.items()}
        found[f"{name}, header"] = header
    result = json.loads((run / "result.json").read_text())
    found["result"] = {k: v for k, v in result.items() if k not in ("seconds", "images_per_s")}
    with open(run / "history.csv", newline="") as file:
        found["history"] = [row[:-1] for row in csv.reader(file)]
    for name in ("config.json", "photos.json", "curves.svg"):
        found[name] = (run / name).read_text()
    return found


def difference(one: dict[str, object], other: dict[str, object]) -> str:
    """Which parts of two outcomes differ, "" for none."""
    return ", ".join(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def resume(run: Path, *how: object, **options: object) -> Ended:
    """Go on with a run as a user would: from its folder, or anew where it never began."""
    if (run / "config.json").exists():
        return call("train", "--resume", run, **options)
    return call("train", *how, "--out", run, **options)


def without(folder: Path) -> Path:
    """The path, with nothing there."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    return folder


# ------------------------------------------------------------------------------------ report


class Report:
    """Counts cases by what came of them, prints failures as they come, and the closing line."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose, self.failures, self.began = verbose, 0, time.monotonic()
        self.counts: Counter[str] = Counter()

    def case(self, name: str, came: str, faults: list[str]) -> None:
        """Note how a case ended, and what is wrong about that."""
        self.counts["failed" if faults else came] += 1
        self.failures += bool(faults)
        if self.verbose and not faults:
            print(f"{name}: {came}", flush=True)
        for fault in faults:
            print(f"FAILED {name}: {fault}", flush=True)

    def end(self) -> None:
        """Print the closing line and exit: 1 where something failed."""
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.counts.items()))
        seconds = time.monotonic() - self.began
        print(f"{Path(sys.argv[0]).stem}: {counts}; {self.failures} failures, {seconds:.0f} s")
        sys.exit(1 if self.failures else 0)
