"""What a run keeps: its best weights, and all that it takes to go on as if it never stopped.

With a folder, they are files (see `run.py`); without one, the best weights wait in memory.
"""

import contextlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from minialex.errors import CheckpointError, ConfigError
from minialex.files import locked, remove_temporary, write_json
from minialex.train import checkpoint
from minialex.train.config import flag, options
from minialex.train.memory import show_bytes
from minialex.train.model_file import header_of, read_model
from minialex.train.progress import Progress, TrainingError
from minialex.train.run import NAMES, RunFolder
from minialex.xp import to_cpu, to_device

# A save that takes longer than LONG seconds is not made again before SELDOM times as long.
LONG, SELDOM = 0.5, 10
SMALL = 10**7  # bytes of weights that are not worth a line
OTHERS = 1 << 18  # bytes of the small files, and the headers of the large ones
FIXED = {field.name for field in options() if not field.metadata["may_change"]}
MAY_CHANGE = {"epochs", "patience"}  # of what `fit` was told, when a run is resumed


class Saved:
    """The weights and the progress of `run`, a Training; opens its folder and resumes it."""

    def __init__(self, run: Any):
        self.run = run
        self.weights: dict[str, np.ndarray] | None = None  # the best, where no file has them yet
        self.not_before = 0.0  # when it is time to save again
        # As it is now: a cache of decoded images may take over its first steps later.
        self.transform = (run.val or run.loader).transform
        vectors = (run.optimizer.theta, *run.optimizer.state.values())
        self.last_bytes = sum(vector.nbytes for vector in vectors)
        given: Any = run.run
        self.folder = given if given is None or isinstance(given, RunFolder) else RunFolder(given)
        if self.folder is not None:
            self.open(self.folder)

    def open(self, folder: RunFolder) -> None:
        """Begin a folder, or resume the run in it.

        Raises CheckpointError where that is another run, or damaged, or another program writes it.
        """
        settings = self.run.settings or {"fit": told(self.run)}
        self.check_disk(folder)
        begins = folder.new or not folder.config.exists()
        saved = any(path.exists() for path in (folder.last, folder.before, folder.best))
        if file := None if saved else settings.get("weights"):
            read_model(file, self.run.model, self.run.screen.line)
        if begins:
            folder.claim()
        with locked(folder.path):
            if begins:
                folder.check_new()  # another program may have been faster
                write_json(folder.config, settings)
                folder.new = False
            remove_temporary(folder.path, NAMES.values())
            found = folder.settings()
            if self.run.settings is None:
                check_same(folder.path, found, settings["fit"])
            if (saved or folder.history.exists()) and not self.resume(folder):
                self.extend(folder, found)
            elif file:
                self.last()  # from now on, that file may change
            if found != settings:
                write_json(folder.config, settings)

    def writing(self) -> Any:
        """A block in which no other program writes to the folder: see `locked`."""
        return contextlib.nullcontext() if self.folder is None else locked(self.folder.path)

    def needs(self, folder: RunFolder) -> int:
        """The bytes that a save still needs: while one `last` is written, there is one other."""
        there = filter(Path.is_file, (folder.best, folder.last, folder.before))
        all_of_it = self.run.optimizer.theta.nbytes + 2 * self.last_bytes + OTHERS
        return max(0, all_of_it - sum(path.stat().st_size for path in there))

    def check_disk(self, folder: RunFolder) -> None:
        """Say how much of the disk the run takes.  Raises ConfigError where that is not free."""
        best, need = self.run.optimizer.theta.nbytes, self.needs(folder)
        if best >= SMALL:
            during, after = (best + n * self.last_bytes for n in (2, self.run.keep_last))
            line = f"{show_bytes(during)} while it runs, {show_bytes(after)} after it"
            self.run.screen.line(f"disk: {line}")
        parents = filter(Path.exists, (folder.path, *folder.path.absolute().parents))
        free = shutil.disk_usage(next(parents)).free
        if free < need:
            line = f"the disk has {show_bytes(free)} free, but the run needs {show_bytes(need)}"
            raise ConfigError(f"{line} when it saves; free some, or choose another folder")

    def header(self) -> dict[str, Any]:
        """What a user of the weights must know."""
        return header_of(self.run.model, self.run.classes, self.transform)

    def finite(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The tensors.  Raises TrainingError where they are not finite, and old ones are better."""
        for name, array in tensors.items():
            if array.size and not np.isfinite([array.min(), array.max()]).all():
                line = f"{name} is not finite in epoch {self.run.progress.epoch + 1}, and not saved"
                raise TrainingError(f"{line}; lower the learning rate (--lr) and start again")
        return tensors

    def is_due(self) -> bool:
        """Whether to save after this epoch: not where that takes long and was done just now."""
        is_last = self.run.progress.epoch + 1 >= self.run.epochs
        return is_last or time.monotonic() >= self.not_before

    def best(self, to_disk: bool = True) -> None:
        """Keep the weights as they are now, in a file or in memory."""
        views = self.finite(checkpoint.state_views(self.run.model))
        if self.folder is None or not to_disk:
            keeps = self.folder is not None or self.run.val
            self.weights = checkpoint.state_dict(self.run.model) if keeps else None
            return
        if not self.folder.last.exists():
            self.last()  # so that there are no best weights without it
        self.write_best(self.folder, views)

    def write_best(self, folder: RunFolder, weights: dict[str, np.ndarray]) -> None:
        """Write the file of the best weights."""
        folder.before.unlink(missing_ok=True)  # room for two of the best
        checkpoint.save_checkpoint(folder.best, weights, self.header())
        self.weights = None

    def write_waiting(self) -> None:
        """Write the best weights, if they are only in memory and there is a folder."""
        if self.folder is not None and self.weights is not None:
            self.write_best(self.folder, self.weights)

    def last(self) -> None:
        """Everything that the next step depends on, in one file; and the history beside it."""
        run, folder, started = self.run, self.folder, time.monotonic()
        if folder is None:
            return
        self.write_waiting()
        tensors = checkpoint.state_views(run.model)
        tensors |= {f"optimizer.{k}": to_cpu(v) for k, v in run.optimizer.state.items()}
        self.finite(tensors)
        folder.before.unlink(missing_ok=True)  # room for the one that is written
        header = {**self.header(), "progress": vars(run.progress), "settings": run.settings}
        checkpoint.save_checkpoint(folder.last, tensors, header, keep=folder.before)
        folder.write_history(run.history)
        now = time.monotonic()
        if now - started > LONG:
            self.not_before = now + SELDOM * (now - started)

    def finish(self) -> None:
        """Give the model its best weights, and drop what only a run under way needs."""
        if self.folder is not None and self.run.history:
            read_model(self.folder.best, into=self.run.model)
            self.folder.before.unlink(missing_ok=True)
            if not self.run.keep_last:
                self.folder.last.unlink(missing_ok=True)
        elif self.weights is not None:
            checkpoint.load_state_dict(self.run.model, self.weights)

    def resume(self, folder: RunFolder) -> bool:
        """Go on from the newest `last` that is whole, and say whether there is one.

        Raises CheckpointError where all are damaged, or it does not fit.
        """
        run, problem = self.run, None
        for path in filter(Path.exists, (folder.last, folder.before)):
            try:
                tensors, header = checkpoint.load_checkpoint(path)
                break
            except CheckpointError as error:
                problem = problem or error
        else:
            if problem:
                raise problem
            return False
        if problem:
            run.screen.line(f"{problem}: the run goes on from {path.name}")
        name, own = repr(str(path)), self.header()
        if any(header.get(key) != own[key] for key in ("model", "classes")):
            raise CheckpointError(f"{name} belongs to another model or other classes")
        progress = Progress.of(header.get("progress"), name)
        state = run.optimizer.state
        moments = {key: tensors.pop(f"optimizer.{key}", None) for key in state}
        checkpoint.load_state_dict(run.model, tensors)
        now, before = run.settings or {}, header.get("settings") or {}
        for key in FIXED & now.keys() & before.keys():
            if now[key] != before[key]:
                raise CheckpointError(f"{name} had {flag(key)} {before[key]}, not {now[key]}")
        if folder.best.exists():  # the end needs it, and should not be the first to find damage
            checkpoint.load_checkpoint(folder.best)
        for key, vector in moments.items():
            if vector is None or vector.shape != state[key].shape:
                raise CheckpointError(f"{name} has no fitting optimizer.{key}")
            state[key][...] = to_device(vector, run.device)
        run.progress, run.optimizer.t = progress, progress.steps
        if path != folder.last:  # else the next to be saved would drop it
            path.replace(folder.last)
        folder.write_history(run.history)
        return True

    def extend(self, folder: RunFolder, found: Any) -> None:
        """Without a `last`, let a finished run go on: from its best weights, by a new optimizer.

        Raises CheckpointError where it is not finished, and so lacks its `last`.
        """
        run, rows = self.run, folder.read_history()
        progress = run.progress = Progress(epoch=len(rows), history=rows)
        if not progress.is_over(found.get("fit", found)):
            what = "lacks last.safetensors, without which it cannot go on; for a new run with its"
            raise CheckpointError(f"{str(folder.path)!r} {what} weights: --weights {folder.best}")
        read_model(folder.best, into=run.model)
        progress.best_acc = max(row.get("val_acc", -1.0) for row in rows)
        progress.seconds = sum(len(run.loader.dataset) / row["images_per_s"] for row in rows)
        if progress.epoch < run.epochs and not run.seen_enough():
            run.optimizer.t = 0  # `fit` may have been called before, with the same one
            for vector in run.optimizer.state.values():
                vector[...] = 0
            run.screen.line(f"{folder.path} goes on from its best weights, with a new optimizer")
            self.last()
        else:
            run.screen.line(f"{folder.path} is finished: nothing is left to train")


def told(run: Any) -> dict[str, Any]:
    """What `fit` was told, for config.json: what a run must have in common with its files."""
    loader, val = run.loader, run.val
    settings = {
        "model": re.sub(r"  # .*", "", repr(run.model)),  # without the forms that run
        "optimizer": run.optimizer.settings(), "edition": getattr(loader.dataset, "edition", None),
        "images": len(loader.dataset), "batch_size": loader.batch_size, "shuffle": loader.shuffle,
        "seed": loader.seed, "drop_last": loader.drop_last, "same_crop": loader.same_crop,
        "transform": without_address(loader.transform),
        # The best epoch is chosen on these: two sets of images have no common best.
        "val": None if val is None else [len(val.dataset), without_address(val.transform)],
        "schedule": "a function" if callable(run.schedule) else run.schedule,
        "warm_up": run.warm_up, "label_smoothing": run.label_smoothing, "plateau": run.plateau,
        "epochs": run.epochs, "patience": run.patience,
    }  # fmt: skip
    try:
        return json.loads(json.dumps(settings, default=checkpoint.plain_number))
    except TypeError as error:  # of an optimizer of one's own
        line = f"{error}: let the name of such an attribute of the optimizer begin with _"
        raise ConfigError(line) from None


def without_address(thing: Any) -> str:
    """`repr` as the next process gives it, too."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def check_same(path: Path, found: Any, now: dict[str, Any]) -> None:
    """Raise CheckpointError where a folder's run was told something else than this one."""
    before = found.get("fit") if isinstance(found, dict) else None
    if not isinstance(before, dict):
        raise CheckpointError(f"{str(path)!r} is of `minialex train`: resume it with --resume")
    before = {"same_crop": 1, **before}  # which older folders do not tell
    for key in now:
        if key not in MAY_CHANGE and before.get(key) != now[key]:
            what = f"{key} {before.get(key)!r}, and now it is {now[key]!r}"
            what = f"another {key}" if "\n" in what or len(what) > 120 else what
            raise CheckpointError(f"{str(path)!r} holds a run with {what}; choose another folder")
