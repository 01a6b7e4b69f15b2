"""Cut the power at every file call of a run: each state the disk may be in must resume.

A run is recorded: each write, fsync, rename and removal.  A disk owes a file's content only after
fsync of the file, and a name only after fsync of its folder.  So after each call, the folder is
built anew as a disk may have it: of the names that are owed nothing, none, the first or all are
there (file systems with a journal keep their order); of content that is owed nothing, nothing, a
part, zeros or all.  Each state is resumed, and must come to the bits of the undisturbed run.
"""

import json
import os
import random
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

from common import (
    TINY,
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
from watch import FileCall, watch

HOW = (*TINY, "--data=photos", "--epochs=2", "--keep-last")
KEPT = ("nothing", "names", "first names", "some", "zeros", "all")
Files = dict[str, bytes]


def recording(log: str):
    """A function that records all file calls of its process in the file `log`, a line each."""

    def begin() -> None:
        lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

        def note(one: FileCall) -> None:
            row = one.kind, one.path, one.to, b64encode(one.data).decode()
            os.write(lines, (json.dumps(row) + "\n").encode())

        watch(note)

    return begin


def recorded(log: Path, run: Path) -> list[FileCall]:
    """The calls in a log that are about files of `run`, which they name without their folder."""
    found = []
    for line in log.read_text().splitlines():
        kind, path, to, data = json.loads(line)
        inside = Path(path).parent == run or (kind == "fsync folder" and Path(path) == run)
        if (inside and Path(path).name != run.name) or kind == "fsync folder":
            names = Path(path).name, Path(to).name
            found.append(FileCall(kind, *names, data=b64decode(data)))
    return found


class Disk:
    """A folder as programs see it, and what of it would outlive a power cut."""

    def __init__(self) -> None:
        self.content: list[bytes] = []  # of each file ever made
        self.owed: list[bytes] = []  # the same at its last fsync
        self.names: dict[str, int] = {}  # of files, at the last fsync of the folder
        self.pending: list[tuple[str, str | int]] = []  # (name, number or name before), since then

    def now(self, pending: list[tuple[str, str | int]]) -> dict[str, int]:
        """The names after some of the pending changes."""
        names = dict(self.names)
        for name, what in pending:
            if what == "":
                names.pop(name, None)
            elif isinstance(what, int):
                names[name] = what
            elif what in names:
                names[name] = names.pop(what)
        return names

    def do(self, one: FileCall) -> None:
        """One call."""
        if one.kind == "create":
            self.pending.append((one.path, len(self.content)))
            self.content.append(b"")
            self.owed.append(b"")
        elif one.kind == "rename":
            self.pending.append((one.to, one.path))
        elif one.kind == "remove":
            self.pending.append((one.path, ""))
        elif one.kind == "fsync folder":
            self.names, self.pending = self.now(self.pending), []
        elif one.kind in ("write", "fsync"):
            number = self.now(self.pending)[one.path]
            self.content[number] += one.data
            if one.kind == "fsync":
                self.owed[number] = self.content[number]

    def left(self, kept: str, rng: random.Random) -> Files:
        """The files after a power cut, of which so much is `kept` (one of KEPT) that need not."""
        pending = [] if kept == "nothing" else self.pending
        if kept in ("some", "first names"):
            pending = pending[: rng.randrange(len(pending) + 1)]
        files = {}
        for name, number in self.now(pending).items():
            owed, more = self.owed[number], self.content[number][len(self.owed[number]) :]
            part = more[: rng.randrange(len(more) + 1)] if kept == "some" else b""
            part = bytes(len(more)) if kept == "zeros" else more if kept == "all" else part
            files[name] = owed + part
        return files


def states(calls: list[FileCall], rng: random.Random) -> Iterator[tuple[str, Files]]:
    """All different states after a power cut, with a name each."""
    disk, seen = Disk(), set()
    for number, one in enumerate(calls):
        disk.do(one)
        for kept in (*KEPT, "some", "some", "first names"):
            files = disk.left(kept, rng)
            key = tuple(sorted((re.sub(r"[0-9a-f]{8}\.tmp", "", k), v) for k, v in files.items()))
            if key not in seen:
                seen.add(key)
                yield f"after call {number} ({one}), {kept} kept", files


def main() -> None:
    options, rng = start(__doc__.splitlines()[0], 250, "states")
    report = Report(options.verbose)
    with scratch() as folder:
        make_photos(folder / "photos")
        whole = call("train", *HOW, "--out", folder / "run", before=recording("log"))
        assert whole.status == 0, whole.err
        expected, run = outcome(folder / "run"), folder / "run"
        calls = recorded(folder / "log", run)
        found = list(states(calls, rng))
        print(f"{len(calls)} file calls, {len(found)} different states", flush=True)
        chosen = rng.sample(range(len(found)), min(len(found), options.count))
        for name, files in map(found.__getitem__, sorted(chosen)):
            without(run).mkdir()
            for file, content in files.items():
                (run / file).write_bytes(content)
            ended = resume(run, *HOW)
            faults = ended.faults(statuses=(0,), lines=0)
            if not faults and (differ := difference(outcome(run), expected)):
                faults = [f"another outcome: {differ}"]
            report.case(name, "the same", faults)
    report.end()


if __name__ == "__main__":
    main()
