"""Type command lines with odd values: no traceback, no hang, one line, nothing overwritten.

Options are drawn at random, with numbers that are none, or endless, texts that are empty, long or
of strange letters, and paths to folders, to files of other kinds, to pipes and to nothing; some
options come twice.  Training that does begin is stopped by Ctrl-C after two steps.  All files that
were there must be as they were, but those that a command was asked to write.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
from pathlib import Path

from common import Report, call, make_photos, scratch, snapshot, start
from minialex.commands import main as program
from minialex.train.loop import Training

NUMBERS = (
    "", " ", "0", "-0", "-1", "1", "2", "3", "0.5", "-0.5", "1.0", "1e3", "1e-300", "1e400", "-1e9",
    "nan", "-nan", "inf", "-inf", "0x10", "1_000", "1,5", "٣", "½", "None", "True", "99999999",
    "9" * 25, "9" * 5000, "1e99", "2GB", "-2GB", "1B", "0x", "--", "twelve", "1\n2",
)  # fmt: skip
TEXTS = ("", " ", "adam", "GPU", "cpu", "nonsense", "ü", "狗", "\u202ex", "a" * 5000, "a\nb", "-x",
         "--lr", "%s", "{0}", "\x1b[31m", "\udcff", "*", "~", "None", "paper")  # fmt: skip
PATHS = (
    "", " ", ".", "..", "/", "photos", "photos/train", "photos/train/cat", "photos/train/cat/0.png",
    "run", "run/config.json", "run/best.safetensors", "run/last.safetensors", "run/history.csv",
    "stopped", "file", "file/below", "empty", "missing", "missing/below", "pipe", "loop", "dead",
    "new", "new/deep", "n" * 300, "ü/狗", "a\nb", "-dash", "/dev/null", "/dev/full",
    "/proc/self/mem",
    "/dev/stdin", "one.txt", "closed", "new.png", "new.xyz", "drawings", "pets2", "~", "\udcff",
)  # fmt: skip
PLACES = {"train": 0, "predict": 2, "evaluate": 2, "pictures": 1, "curves": 1, "doctor": 0}
HARMLESS = ("--device=cpu", "--width=0.02", "--image-size=67", "--limit=16", "--batch-size=4",
            "--workers=0", "--no-cache", "--epochs=1")  # fmt: skip
MEMORY = 4 << 30  # bytes that a command may take at most


def make_scene(folder: Path) -> None:
    """All that the paths name."""
    make_photos(folder / "photos", train=4, test=2)
    how = ("train", *HARMLESS, "--data=photos", "--keep-last")
    assert call(*how, "--out=run").status == 0
    shutil.copytree("run", "stopped")
    for name in ("result.json", "curves.svg"):
        Path("stopped", name).unlink()
    Path("file").write_text("a file")
    Path("one.txt").write_text("a text")
    Path("empty").mkdir()
    Path("closed").mkdir(mode=0o500)
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("dead").symlink_to("nowhere")
    Path("new.png").write_bytes(Path("photos/train/cat/0.png").read_bytes())


def some(action: argparse.Action, rng: random.Random) -> str:
    """An odd value for an option."""
    if action.choices and rng.random() < 0.5:
        return rng.choice(list(map(str, action.choices)))
    if action.dest in (
        "data",
        "weights",
        "out",
        "resume",
        "checkpoint",
        "photos",
        "runs",
        "csv",
        "report",
    ):
        return rng.choice(PATHS + PATHS + TEXTS)
    return rng.choice(NUMBERS if action.type else TEXTS + NUMBERS[:6])


def command_line(rng: random.Random) -> list[str]:
    """A random command line."""
    if rng.random() < 0.04:
        return rng.sample((*TEXTS, *NUMBERS, *PATHS, "train", "--help", "--version"), 2)
    command = rng.choices(list(PLACES), (12, 3, 3, 2, 3, 1))[0]
    parser = program.importlib.import_module(f"minialex.commands.{command}").parser()
    named = [action for action in parser._actions if action.option_strings]
    named = named[rng.random() < 0.95 :] or named  # the first one is --help
    placed = [action for action in parser._actions if not action.option_strings]
    words = []
    if command == "train":
        words += rng.choice((["--data=photos"], ["--data=photos"], ["--data=drawings"],
                             ["--resume=stopped"], ["--resume=run"]))  # fmt: skip
        words += [] if "--resume" in words[0] else HARMLESS
    for action in rng.choices(named, k=rng.choice((0, 1, 1, 2, 2, 4))):
        name = rng.choice(action.option_strings)
        words += [name] if action.nargs == 0 else [f"{name}={some(action, rng)}"]
        if action.nargs is None and rng.random() < 0.1:
            words += words[-1:]
    good = {"checkpoint": "run", "photos": "photos/test", "runs": "run", "data": "photos"}
    for action in placed:
        for _ in range(rng.choice((1, 1, 1, 2)) if action.nargs == "+" else 1):
            right = rng.random() < 0.5
            words.append(good[action.dest] if right else some(action, rng))
    if rng.random() < 0.05:
        words.append(rng.choice(TEXTS + PATHS))
    return [command, *words]


def limited() -> None:
    """Ctrl-C after two steps, and no more memory than a small machine has."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    real, steps = Training.step, []

    def step(self: Training, *batch: object) -> object:
        steps.append(1)
        if len(steps) > 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *batch)

    Training.step = step


def may_change(words: list[str]) -> tuple[str, ...]:
    """The paths that a command line asks to be written, and a run that goes on."""
    asked = []
    for name in ("--out", "--resume", "--csv", "--report"):
        for word in words:
            if word.partition("=")[0] and name.startswith(word.partition("=")[0]):
                asked.append(os.path.normpath(word.partition("=")[2]))
    return (*asked, "curves.svg", "pictures", "runs")


def main() -> None:
    options, rng = start(__doc__.splitlines()[0], 500, "command lines")
    report = Report(options.verbose)
    with scratch() as folder:
        scene = folder / "scene"
        scene.mkdir()
        os.chdir(scene)
        make_scene(scene)
        before = snapshot(scene)
        subprocess.run(["cp", "-a", scene, folder / "template"], check=True)
        for number in range(options.count):
            words = command_line(rng)
            try:
                ended = call(*words, before=limited, timeout=30)
            except ValueError:  # a zero byte cannot be typed
                continue
            faults = ended.faults((0, 1, 2, 130), lines=3 if words[0] == "predict" else 1)
            after, asked = snapshot(scene), may_change(words)
            for name in before.keys() | after.keys():
                new = name not in before and "." in asked
                if after.get(name) != before.get(name) and not name.startswith(asked) and not new:
                    faults.append(f"{name} has changed" if name in before else f"{name} is new")
            name = " ".join(word if len(word) < 60 else f"{word[:50]}..." for word in words)
            report.case(f"{number} {name!r}", f"status {ended.status}", faults)
            if options.verbose:
                print("   ", ended.err.strip()[:300])
            os.chdir(folder)
            subprocess.run(["rm", "-rf", scene], check=True)
            subprocess.run(["cp", "-a", "template", "scene"], check=True)
            os.chdir(scene)
        os.chdir(folder)
    report.end()


if __name__ == "__main__":
    main()
