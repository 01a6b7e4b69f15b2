"""Beside the loop: what a run was told, how far it has come, and whether it is to stop.

Ctrl-C ends a run after the step that it is at, with a checkpoint; a second one, at once.  So does
whoever ends the process by SIGTERM, and a terminal that is closed (SIGHUP, not on Windows), unless
the program was started by nohup.
"""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from minialex.data import DataLoader
from minialex.errors import CheckpointError, ConfigError, MinialexError, check_whole, is_number
from minialex.train.ranks import HERE
from minialex.xp import Array, get_xp, to_cpu

COUNTS = {"epochs": 1, "log_interval": 1, "warm_up": 0, "plateau": 1, "patience": 1,
          "memory_limit": 1}  # and the least of each  # fmt: skip
MAY_BE_NONE = ("patience", "memory_limit")


def check_arguments(run: Any) -> None:
    """Raise ConfigError where `run`, a Training, has arguments that cannot work."""
    if getattr(run.optimizer, "model", None) is not run.model:
        raise ConfigError("fit: the optimizer is another model's; make it as Adam(model)")
    loaders = {"loader": run.loader} if run.val is None else {"loader": run.loader, "val": run.val}
    for name, found in loaders.items():
        if not isinstance(found, DataLoader):
            line = f"fit: {name} must be a DataLoader, got {type(found).__name__}"
            raise ConfigError(f"{line}; make it as DataLoader(dataset, batch_size)")
    for name, least in COUNTS.items():
        if name not in MAY_BE_NONE or getattr(run, name) is not None:
            check_whole(f"fit: {name}", getattr(run, name), least)
    if run.plain and run.memory_limit is not None:
        raise ConfigError("fit: plain pages keep to no memory_limit; leave one of them out")
    if not is_number(run.label_smoothing, below=1):
        raise ConfigError(f"fit: label_smoothing must be in [0, 1), got {run.label_smoothing!r}")


class TrainingError(MinialexError):
    """Training cannot go on."""


@dataclass
class Progress:
    """All that the next step depends on, beside the weights and the optimizer's vectors.

    epoch, batch              the next batch to train on
    sums                      of this epoch so far: loss and right answers of the images, and images
    steps                     that the optimizer has made
    seconds, epoch_seconds    of training steps, loading included: in finished epochs, in this one
    history                   a row per finished epoch
    best_acc                  the best validation accuracy
    """

    epoch: int = 0
    batch: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    steps: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_acc: float = -1.0

    @classmethod
    def of(cls, saved: Any, name: str) -> "Progress":
        """What `vars` of a progress became in the file `name`.

        Raises CheckpointError where it is no such thing.
        """
        kinds = {key: type(value) for key, value in vars(cls()).items()}
        if isinstance(saved, dict) and {key: type(saved[key]) for key in saved} == kinds:
            rows = [row if isinstance(row, dict) else {} for row in saved["history"]]
            numbers = saved["sums"] + [value for row in rows for value in row.values()]
            whole = [row.get("epoch") for row in rows] == [*range(1, saved["epoch"] + 1)]
            whole &= len(saved["sums"]) == 3 and min(saved["batch"], saved["steps"]) >= 0
            if whole and {type(number) for number in numbers} <= {int, float}:
                return cls(**saved)
        raise CheckpointError(f"{name} is of no run that could go on")

    def means(self) -> tuple[float, float]:
        """The loss and accuracy of this epoch so far."""
        loss, right, images = self.sums
        return loss / images, right / images

    def end_epoch(self, row: dict[str, float]) -> None:
        """Add a row to the history, and begin the next epoch."""
        self.best_acc = max(self.best_acc, row.get("val_acc", -1.0))
        self.history.append(row)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, [0.0, 0.0, 0.0]
        self.seconds, self.epoch_seconds = self.seconds + self.epoch_seconds, 0.0

    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy; of equal ones, that of the lowest loss."""
        return int(max(self.history, key=score)["epoch"])

    def is_best(self, row: dict[str, float]) -> bool:
        """Whether the epoch of `row` is better than those before; without validation, always."""
        return "val_acc" not in row or all(score(row) > score(old) for old in self.history)

    def is_over(self, told: dict[str, Any]) -> bool:
        """Whether a run that was told these "epochs" and "patience" ends here."""
        epochs, patience = told.get("epochs"), told.get("patience")
        enough = isinstance(patience, int) and self.waited() >= patience
        return enough or (isinstance(epochs, int) and self.epoch >= epochs)

    def waited(self) -> int:
        """How many epochs have passed since the one with the best validation accuracy."""
        accuracies = [row["val_acc"] for row in self.history if "val_acc" in row]
        return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0


def score(row: dict[str, float]) -> tuple[float, float]:
    """What tells which epoch is better: the validation accuracy; of equal ones, the loss."""
    return row["val_acc"], -row["val_loss"]


class Meter:
    """Losses and right answers, which stay on the device until they are read back.

    To read a number is to wait for a GPU, so that is done for up to `most` of them at once.
    """

    def __init__(self, theta: Array, most: int):
        self.log = get_xp(theta).zeros((most, 2), dtype=theta.dtype)
        self.images: list[int] = []  # of each row that was not read back yet
        self.classes = 0  # of the logits that were added last

    def add(self, loss: Array, logits: Array, labels: Array) -> None:
        """Note the mean loss of some images, and how many of them have their right answer."""
        row = self.log[len(self.images)]
        row[0], row[1] = loss, (logits.argmax(axis=1) == labels).sum()
        self.images.append(len(labels))
        self.classes = logits.shape[1]

    def read_back(self, progress: Progress) -> None:
        """Add to the sums of the epoch.  Raises TrainingError where a loss is not finite."""
        rows = to_cpu(self.log[: len(self.images)]).tolist()
        for (loss, right), n in zip(rows, self.images, strict=True):
            check_finite(loss, "loss", progress)
            sums = progress.sums
            progress.sums = [sums[0] + loss * n, sums[1] + right, sums[2] + n]
        self.images.clear()


def check_finite(value: float, name: str, progress: Progress) -> None:
    """Raise TrainingError where a loss is infinite or not a number."""
    if not math.isfinite(value):
        line = f"the {name} became {value} in epoch {progress.epoch + 1}, step {progress.batch};"
        raise TrainingError(f"{line} lower the learning rate (--lr) and start again")


def stopped(run: Any) -> KeyboardInterrupt:
    """What ends `run`, a Training that was asked to stop; a notebook shows no more than its line.

    (A notebook asks an error for its lines, and else shows all code between it and the cell.)
    """
    start = repr(str(run.saved.folder.path)) if run.saved.folder else "the model as it is"
    text = f"stopped after step {run.steps_done():,}; fit, called again, goes on from {start}"
    error = KeyboardInterrupt(text)
    vars(error)["_render_traceback_"] = lambda: [f"KeyboardInterrupt: {text}"]
    return error


class Stop:
    """Whether somebody asked the run to stop."""

    asked = False

    def is_asked(self) -> bool:
        """Whether this process, or another rank of the run, was asked to stop."""
        if found := HERE.any(self.asked):
            self.asked = True
        return found

    @contextlib.contextmanager
    def on_signal(self, say: Callable[[str], None]) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and SIGHUP ask, while the block runs; `say` shows a line about it.

        Python takes signals in the main thread only; in others they stay as they are.
        """

        def stop(number: int, frame: Any) -> None:
            if not self.asked:
                self.asked = True
                with contextlib.suppress(RuntimeError):  # it came in the middle of another print
                    say("stopping after this step (Ctrl-C again: at once, without a checkpoint)")
            elif number != hang_up:  # which a terminal may say twice
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt

        hang_up = getattr(signal, "SIGHUP", None)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if hang_up and signal.getsignal(hang_up) is not signal.SIG_IGN:
            numbers.append(hang_up)
        takes = threading.current_thread() is threading.main_thread()
        before = {n: signal.signal(n, stop) for n in numbers if takes}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
