"""What a run keeps: its best weights, and all that it takes to go on as if it never stopped.

With a folder, they are files (see `run.py`); without one, the best weights wait in memory.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from minialex.errors import CheckpointError, ConfigError
from minialex.train.checkpoint import (
    load_checkpoint,
    load_state_dict,
    plain_number,
    save_checkpoint,
    state_dict,
)
from minialex.train.memory import show_bytes
from minialex.train.model_file import header_of
from minialex.train.progress import Progress
from minialex.train.run import RunFolder
from minialex.xp import to_cpu, to_device

SMALL = 10**7  # bytes of weights that are not worth a line
MAY_CHANGE = {"epochs", "patience"}  # of what `fit` was told, when a run is resumed


class Saved:
    """The weights and the progress of `run`, a Training; opens its folder and resumes it."""

    def __init__(self, run: Any):
        self.run = run
        self.weights: dict[str, np.ndarray] | None = None
        # As it is now: a cache of decoded images may take over its first steps later.
        self.transform = (run.val or run.loader).transform
        self.folder = None if run.run is None else RunFolder(Path(run.run))
        if self.folder is not None:
            self.open(self.folder)

    def open(self, folder: RunFolder) -> None:
        """Begin a folder, or resume the run in it.

        Raises CheckpointError where that is another run, or damaged.
        """
        settings = self.run.settings or {"fit": told(self.run)}
        self.check_disk(folder)
        if not (folder.path / "config.json").exists():
            RunFolder.create(folder.path, settings)
            return
        found = folder.settings()
        if self.run.settings is None:
            check_same(folder.path, found, settings["fit"])
        if folder.last.exists():
            self.resume(folder)
        elif (folder.path / "history.csv").exists():  # else it has not finished an epoch
            self.extend(folder)
        if found != settings:
            folder.write_settings(settings)

    def check_disk(self, folder: RunFolder) -> None:
        """Say how much of the disk the run will take.  Raises ConfigError where that is not free.

        While last.safetensors is replaced, it is there twice.
        """
        best = self.run.optimizer.theta.nbytes
        last = best * (1 + len(self.run.optimizer.state))
        after = best + last * self.run.keep_last
        if best >= SMALL:
            self.run.screen.line(f"disk: {show(best + last)} while it runs, {show(after)} after it")
        there = sum(path.stat().st_size for path in (folder.best, folder.last) if path.is_file())
        parents = (folder.path, *folder.path.absolute().parents)
        free = shutil.disk_usage(next(path for path in parents if path.exists())).free
        if free < best + 2 * last - there:
            raise ConfigError(
                f"the disk of {str(folder.path)!r} has {show(free)} free, but the run needs"
                f" {show(best + 2 * last - there)} at the moments when it saves; free some, or"
                " choose another folder"
            )

    def header(self) -> dict[str, Any]:
        """What a user of the weights must know."""
        return header_of(self.run.model, self.run.classes, self.transform)

    def best(self) -> None:
        """Keep the weights as they are now."""
        if self.folder is not None:
            save_checkpoint(self.folder.best, state_dict(self.run.model), self.header())
        elif self.run.val is not None:
            self.weights = state_dict(self.run.model)

    def last(self) -> None:
        """Everything that the next step depends on, in one file; and the history beside it."""
        if self.folder is None:
            return
        run = self.run
        tensors = state_dict(run.model)
        tensors |= {f"optimizer.{k}": to_cpu(v) for k, v in run.optimizer.state.items()}
        save_checkpoint(
            self.folder.last, tensors, {**self.header(), "progress": vars(run.progress)}
        )
        self.folder.write_history(run.history)

    def finish(self) -> None:
        """Give the model its best weights, and drop what only a run under way needs."""
        if self.folder is not None and self.run.history:
            load_state_dict(self.run.model, load_checkpoint(self.folder.best)[0])
            if not self.run.keep_last:
                self.folder.last.unlink(missing_ok=True)
        elif self.weights is not None:
            load_state_dict(self.run.model, self.weights)

    def resume(self, folder: RunFolder) -> None:
        """Go on from `last`.  Raises CheckpointError where it is damaged or does not fit."""
        run, name = self.run, repr(str(folder.last))
        tensors, header = load_checkpoint(folder.last)
        progress, own = header.get("progress"), self.header()
        if header.get("model") is not None:  # version 0.1.0 named no layer: it knew AlexNet alone
            header["model"] = {"layer": "AlexNet", **header["model"]}
        if progress is None or any(header.get(key) != own[key] for key in ("model", "classes")):
            raise CheckpointError(f"{name} belongs to another model, other classes or no run")
        state, theta = run.optimizer.state, run.optimizer.theta
        moments = {key: tensors.pop(f"optimizer.{key}", None) for key in state}
        load_state_dict(run.model, tensors)
        for key, vector in moments.items():
            if vector is None or vector.shape != theta.shape:
                raise CheckpointError(f"{name} has no fitting optimizer.{key}")
            state[key][...] = to_device(vector, run.device)
        run.progress = Progress(**progress)
        run.optimizer.t = run.progress.steps
        folder.write_history(run.history)

    def extend(self, folder: RunFolder) -> None:
        """Let a finished run go on: from its best weights, with an optimizer that begins anew."""
        run = self.run
        load_state_dict(run.model, load_checkpoint(folder.best)[0])
        progress = run.progress
        progress.history = [to_row(row) for row in folder.read_history()]
        progress.epoch = len(progress.history)
        progress.best_acc = max((row.get("val_acc", -1.0) for row in run.history), default=-1.0)
        seconds = [row["images_per_s"] for row in run.history]
        progress.seconds = sum(len(run.loader.dataset) / rate for rate in seconds)
        if progress.epoch < run.epochs and not run.seen_enough():
            run.optimizer.t = 0  # `fit` may have been called before, with the same one
            for vector in run.optimizer.state.values():
                vector[...] = 0
            run.screen.line(f"{folder.path} goes on from its best weights, with a new optimizer")
            self.last()
        else:
            run.screen.line(f"{folder.path} is finished: nothing is left to train")


def show(count: int) -> str:
    """Bytes for a reader, such as "933 MB"."""
    return show_bytes(count) if count >= 1e9 or count < 1e7 else f"{count / 1e6:.0f} MB"


def to_row(row: dict[str, float]) -> dict[str, float]:
    """A row of history.csv as it was in memory: the epoch is a whole number."""
    return {**row, "epoch": int(row["epoch"])}


def told(run: Any) -> dict[str, Any]:
    """What `fit` was told, for config.json: what a run must have in common with its files."""
    loader, val = run.loader, run.val
    settings = {
        "model": re.sub(r"  # .*", "", repr(run.model)),  # without the forms that run
        "optimizer": run.optimizer.settings(),
        "images": len(loader.dataset), "batch_size": loader.batch_size, "shuffle": loader.shuffle,
        "seed": loader.seed, "drop_last": loader.drop_last,
        "transform": without_address(loader.transform),
        # The best epoch is chosen on these: two sets of images have no common best.
        "val": None if val is None else [len(val.dataset), without_address(val.transform)],
        "schedule": run.schedule if isinstance(run.schedule, str) else "a function",
        "warm_up": run.warm_up, "label_smoothing": run.label_smoothing, "plateau": run.plateau,
        "epochs": run.epochs, "patience": run.patience,
    }  # fmt: skip
    return json.loads(json.dumps(settings, default=plain_number))


def without_address(thing: Any) -> str:
    """`repr` as the next process gives it, too."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def check_same(path: Path, found: Any, now: dict[str, Any]) -> None:
    """Raise CheckpointError where a folder's run was told something else than this one."""
    before = found.get("fit") if isinstance(found, dict) else None
    if not isinstance(before, dict):
        raise CheckpointError(
            f"{str(path)!r} holds a run of `minialex train`; resume it with --resume, or choose"
            " another folder"
        )
    for key in now:
        if key not in MAY_CHANGE and before.get(key) != now[key]:
            what = f"{key} {before.get(key)!r}, and now it is {now[key]!r}"
            what = f"another {key}" if "\n" in what or len(what) > 120 else what
            raise CheckpointError(f"{str(path)!r} holds a run with {what}; choose another folder")
