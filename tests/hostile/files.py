"""Damage the files of finished and stopped runs, and give them to every command.

Bits are flipped, files are cut, spliced, emptied, swapped, removed or become folders.  A command
may refuse them by one line, and then leaves every file as it was.  If it does not, what it prints
and draws must be what it prints and draws of the whole files: never another number.  (Of text files
that you may edit it counts how often another valid text was taken, and of checkpoints that were
swapped, how often another one of the same run.)
"""

import os
import random
import re
import shutil
from pathlib import Path

from common import (
    TINY,
    Ended,
    Report,
    call,
    difference,
    make_photos,
    outcome,
    scratch,
    snapshot,
    start,
    without,
)
from minialex.train.loop import Training

COMMANDS = {  # {run}: the folder; what it draws comes into the folder out
    "resume": ("train", "--resume", "{run}"),
    "predict": ("predict", "{run}", "photos/test", "--json"),
    "evaluate": ("evaluate", "{run}"),
    "pictures": ("pictures", "{run}", "photos/test/cat/0.png", "--out", "out"),
    "curves": ("curves", "{run}", "--out", "out/curves.svg"),
}
SHARES = {"resume": 6, "predict": 5, "evaluate": 4, "pictures": 1, "curves": 2}
RUNS = ("done", "stopped")
TEXTS = ("history.csv", "result.json")  # and config.json, for what does not go on with the run


def make_runs() -> None:
    """`done`, which keeps its last state, and `stopped` after two of three epochs."""
    how = ("train", *TINY, "--data=photos", "--epochs=3", "--keep-last")
    assert call(*how, "--out", "done").status == 0

    def stop() -> None:
        real = Training.step

        def step(self: Training, *batch: object) -> object:
            if self.progress.epoch == 2:
                os._exit(0)
            return real(self, *batch)

        Training.step = step

    assert call(*how, "--out", "stopped", before=stop).status == 0
    assert not Path("stopped/result.json").exists()


def damage(run: Path, rng: random.Random) -> str:
    """Damage a file of a run; what was done."""
    files = sorted(path for path in run.iterdir() if path.suffix != ".png")
    weights = [path for path in files if path.suffix == ".safetensors"]
    path = rng.choice(weights if rng.random() < 0.5 else files)
    other = rng.choice([one for one in files if one != path])
    data, what = path.read_bytes(), rng.choice((*("flip",) * 6, *("cut",) * 3, *("splice",) * 3,
        "swap", "remove", "empty", "folder", "noise"))  # fmt: skip
    at, end = sorted((rng.randrange(len(data)), rng.randrange(len(data) + 1)))
    if what == "flip":
        changed = bytearray(data)
        reach = rng.choice((len(data), min(len(data), 4096)))
        for _ in range(rng.choice((1, 1, 1, 4))):
            changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        data = bytes(changed)
    elif what == "cut":
        data = data[:at] if rng.random() < 0.5 else data[:at] + data[end:]
    elif what == "splice":
        piece = other.read_bytes()
        start = rng.randrange(len(piece))
        piece = piece[start : start + rng.randrange(1, 500)]
        data = data[:at] + piece + data[at + rng.choice((0, len(piece))) :]
    elif what == "noise":
        data = rng.randbytes(len(data))
    if what == "swap":
        data, old = other.read_bytes(), data
        other.write_bytes(old)
    path.write_bytes(b"" if what == "empty" else data)
    if what in ("remove", "folder"):
        path.unlink()
    if what == "folder":
        path.mkdir()
    return f"{what} {path.name}" + f" with {other.name}" * (what in ("swap", "splice"))


def tried(command: str, run: Path) -> tuple[Ended, dict[str, object]]:
    """A command on a run, and all that comes of it but times."""
    without(Path("out")).mkdir()
    finished = (run / "result.json").is_file()
    arguments = [word.format(run=run) for word in COMMANDS[command]]
    ended = call(*arguments)
    if ended.status != 0:
        return ended, {}
    if command == "resume" and not finished:
        return ended, outcome(run)
    printed = re.sub(r"'\S*photos'", "'photos'", ended.out)  # with their folder or without
    return ended, {"printed": printed, **snapshot(Path("out"))}


def main() -> None:
    options, rng = start(__doc__.splitlines()[0], 500, "damaged runs")
    report = Report(options.verbose)
    with scratch() as folder:
        make_photos(folder / "photos")
        make_runs()
        whole = {(command, run): outcome_of_whole(command, run)
                 for command in COMMANDS for run in RUNS}  # fmt: skip
        run, photos = folder / "run", snapshot(folder / "photos")
        for number in range(options.count):
            name = rng.choice(RUNS)
            command = rng.choices(list(SHARES), list(SHARES.values()))[0]
            shutil.copytree(name, without(run))
            what = damage(run, rng)
            before = snapshot(run)
            ended, found = tried(command, run)
            faults, came = ended.faults(), "refused"
            if ended.status != 0:
                if snapshot(run) != before:
                    faults.append("files have changed, though it was refused")
            else:
                # Both runs come to the same end.
                like = (command, name) if "printed" in found else ("resume", "stopped")
                expected = whole[like]
                if command == "pictures":  # it says which it cannot draw
                    missing = re.findall(r"^no (\S+):", ended.out, re.MULTILINE)
                    expected = {k: v for k, v in expected.items() if k not in (*missing, "printed")}
                    found.pop("printed")
                differ = difference(found, expected)
                swapped = re.match(r"swap \S+safetensors with \S+safetensors", what)
                came = "the same" if not differ else "another valid file"
                texts = TEXTS + ("config.json",) * (command != "resume")
                if differ and not swapped and not any(text in what for text in texts):
                    faults.append(f"silently another {differ}")
                elif differ:
                    print(f"{number}: {what}, {command} {name}: another {differ}", flush=True)
            if snapshot(folder / "photos") != photos:
                faults.append("photos have changed")
            report.case(f"{number} ({what}, {command} {name})", came, faults)
            if options.verbose and ended.err:
                print("   ", ended.err.strip()[:300])
    report.end()


def outcome_of_whole(command: str, name: str) -> dict[str, object]:
    """What comes of a command on a copy of a whole run."""
    ended, found = tried(command, Path(shutil.copytree(name, without(Path.cwd() / "run"))))
    assert ended.status == 0, ended.err
    return found


if __name__ == "__main__":
    main()
