"""Train on disks that are too small, then give the run room and let it go on.

Each size is tried on a disk that says how little is free, and on one that does not say it (as with
a quota), so that a write fails at any moment of a save; and on one that another program fills while
the run trains.  The run must end, or be refused by one line; what it wrote before is whole, and
with room it comes to the bits of an undisturbed run.  The disks are file systems in memory where
they may be mounted, else writes are counted and refused.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from common import (
    TINY,
    Ended,
    Report,
    call,
    difference,
    make_photos,
    outcome,
    resume,
    scratch,
    start,
    without,
)
from minialex.train.loop import Training
from watch import FileCall, watch

SMALLEST, LARGEST = 4_000, 700_000  # bytes; the run needs 350,000, and asks for 600,000
ROOM = 100_000_000
WAYS = ("said", "not said", "filled")


def mount(disk: Path, size: int, *how: str) -> bool:
    """Mount a file system of so many bytes in the folder `disk`; whether that may be done."""
    options = ",".join((f"size={size}", *how))
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
    with open(os.devnull, "wb") as nowhere:
        return subprocess.run(command, stderr=nowhere, check=False).returncode == 0


def used(disk: Path) -> int:
    """The bytes of all files on a disk."""
    return sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())


def small(disk: Path, size: int, way: str, mounted: bool, step: int) -> Callable[[], None]:
    """What makes a disk small for a process: see above.  It is filled after so many steps."""

    def note(one: FileCall) -> None:
        if one.kind == "write" and used(disk) + len(one.data) > size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def begin() -> None:
        if not mounted:
            watch(note)
        if way != "said" or not mounted:
            free = ROOM if way != "said" else size
            shutil.disk_usage = lambda _: shutil._ntuple_diskusage(ROOM, 0, free)
        if way == "filled":
            real = Training.step

            def fill(self: Training, *batch: object) -> object:
                if self.steps_done() == step:
                    with open(disk / "other", "wb", buffering=0) as file:
                        while file.write(bytes(4096)) == 4096:
                            pass
                return real(self, *batch)

            def until_full(self: Training, *batch: object) -> object:
                try:
                    return fill(self, *batch)
                except OSError:
                    return real(self, *batch)

            Training.step = until_full

    return begin


def whole(run: Path) -> list[str]:
    """What is wrong with the files of a run that a full disk stopped."""
    left = [name for name in os.listdir(run) if name.endswith(".tmp")] if run.is_dir() else []
    return [f"{left[0]} was left"] if left else []


def main() -> None:
    options, rng = start(__doc__.splitlines()[0], 20, "disk sizes")
    report = Report(options.verbose)
    with scratch() as folder:
        how = (*TINY, f"--data={make_photos(folder / 'photos')}", "--epochs=3", "--keep-last")
        assert call("train", *how, "--out", "whole").status == 0
        expected, disk = outcome(folder / "whole"), folder / "disk"
        disk.mkdir()
        run = disk / "run"
        mounted = mount(disk, ROOM)
        print("file systems in memory" if mounted else "writes are counted", flush=True)
        try:
            for number in range(options.count):
                size = SMALLEST + (LARGEST - SMALLEST) * number // max(1, options.count - 1)
                size += rng.randrange(4096)
                for way in WAYS:
                    without(run)
                    without(disk / "other")
                    if mounted:
                        room = ROOM if way == "filled" else size
                        mount(disk, room if way != "filled" else max(size, LARGEST), "remount")
                    step = rng.randrange(9)
                    begin = small(disk, size, way, mounted, step)
                    ended = call("train", *how, "--out", run, before=begin)
                    faults = ended.faults() + whole(run)
                    without(disk / "other")
                    if mounted:
                        mount(disk, ROOM, "remount")
                    faults += goes_on(ended, run, how, expected)
                    came = "stopped, then the same" if ended.status else "never stopped"
                    report.case(f"{size:,} bytes, {way}", f"{way}: {came}", faults)
                    if options.verbose:
                        print("   ", ended.err.strip(), flush=True)
        finally:
            if mounted:
                subprocess.run(["umount", str(disk)], check=True)
    report.end()


def goes_on(ended: Ended, run: Path, how: tuple[str, ...], expected: dict) -> list[str]:
    """What is wrong with how a run goes on that may have been stopped."""
    if ended.status != 0:
        again = resume(run, *how)
        if faults := again.faults(statuses=(0,), lines=0):
            return [f"resumed: {fault}" for fault in faults]
    differ = difference(outcome(run), expected)
    return [f"another outcome: {differ}"] if differ else []


if __name__ == "__main__":
    main()
