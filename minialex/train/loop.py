"""The training loop: batches in, a trained network out, and a run that you can stop at any moment.

The loop is `train`, `epoch` and `step` of the class `Training`, from batch to update.  What else a
run needs stands beside it, in small objects:

    Chunks      takes a batch in parts where memory is short                  memory.py
    Meter       reads losses back from the device, now and then               progress.py
    Progress    how far the run has come: what the next step depends on       progress.py
    Saved       the best weights, and all that it takes to resume             saving.py
    Screen      bars, and a line per epoch; in a notebook also curves         screen.py, curves.py
    Stop        Ctrl-C                                                        progress.py

MPI may start several processes for one run (ranks.py).  Random draws are functions of (seed, epoch,
step); so a run that goes on from its files makes the same steps, to the bit, as one never stopped.
"""

import contextlib
import copy
import inspect
import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minialex import attach
from minialex.data import DataLoader
from minialex.errors import DataError
from minialex.fast.threads import spare_memory
from minialex.gpu.devices import choose_device
from minialex.layers import Layer
from minialex.optimizer import Optimizer
from minialex.schedules import Schedule, make_schedule, warm_up
from minialex.seeds import number_streams
from minialex.train import advice, changes, dealt, memory
from minialex.train.curves import History, choose_screen
from minialex.train.evaluation import evaluate, evaluating
from minialex.train.frozen import upper_part
from minialex.train.memory import Chunks
from minialex.train.prefetch import device_batches
from minialex.train.progress import Meter, Progress, Stop, check_arguments, check_finite, stopped
from minialex.train.ranks import HERE
from minialex.train.resident import keep_images
from minialex.train.run import RunFolder
from minialex.train.saving import Saved
from minialex.train.screen import epoch_line
from minialex.xp import Array


@dataclass
class Training:
    """A training run; the arguments are those of `fit`.  `stop.asked = True` ends it after a step.

    Raises ConfigError for arguments that cannot work, CheckpointError where `run` is another run's.
    """

    model: Layer
    loader: DataLoader
    optimizer: Optimizer
    epochs: int
    val: DataLoader | None = None
    run: str | Path | RunFolder | None = None
    device: str = "auto"
    schedule: str | Schedule | list[Any] = "constant"
    warm_up: int = 0
    label_smoothing: float = 0.0
    memory_limit: int | None = None
    patience: int | None = None
    plateau: int = 5
    plain: bool = False
    algorithm: str = "auto"
    log_interval: int = 20
    keep_last: bool = False
    cache: bool | None = None
    settings: dict[str, Any] | None = None
    screen: Any = None

    # ------------------------------------------------------------------------------- the loop

    def train(self) -> list[dict[str, float]]:
        """Train to the last epoch; the model has its best weights then.  Returns the history."""
        with self.saved.writing():
            keep_images(self)  # or what frozen layers make of them
            with self.stop.on_signal(self.screen.line), self.in_training():
                while self.progress.epoch < self.epochs and not self.seen_enough():
                    self.epoch()
                    self.end_epoch()
                    if self.stop.is_asked():  # since the last step
                        dealt.save(self)
                        raise stopped(self)
            dealt.finish(self)
        return History(self.history)

    def epoch(self) -> None:
        """The rest of this epoch: the batches that it has not seen yet."""
        for x, labels in self.batches():
            self.step(x, labels)

    def step(self, x: Array, labels: Array) -> None:
        """Images x (N, H, W, C) and labels (N,) of a batch: forward, loss, backward, update."""
        for images, share, grad in self.chunks.of(len(labels)):  # one, unless memory is short
            self.model.set_step(self.steps_done(), images.start)  # chooses what Dropout drops
            logits, cache = self.net.forward(x[images])
            loss, dlogits = self.loss(logits, labels[images], self.label_smoothing)
            self.net.backward(dlogits if share == 1 else dlogits * share, cache, grad)
            self.meter.add(loss, logits, labels[images])
        self.optimizer.step(lr=self.learning_rate())

    # ---------------------------------------------------------------------------- beside the loop

    def __post_init__(self) -> None:
        check_arguments(self)
        self.screen = self.screen or choose_screen(self.log_interval)
        self.stop, self.progress = Stop(), Progress()
        dealt.prepare(self)
        classes = getattr(self.loader.dataset, "classes", None)
        self.classes = None if classes is None else list(map(str, classes))
        self.device, chosen = HERE.together(lambda: choose_device(self.device))
        HERE.check({"device": chosen if self.device == "gpu" else "cpu"})
        if self.settings is None:  # else the command has said so
            self.screen.line(chosen)
        spare_memory(self.memory_limit is not None)
        number_streams(self.model.to(self.device))
        self.optimizer.follow()
        self.loss = attach.loss_function(self.device, fused=not self.plain)
        self.take_forms(input_grad=False)
        try:
            self.prepare()
        except BaseException:
            self.take_forms(input_grad=True)
            raise

    def take_forms(self, input_grad: bool) -> None:
        """Let the model and the optimizer have their fast forms, or be pages if the run is plain.

        Without `input_grad`, backward saves itself dx of the images, which training does not need.
        """
        if self.plain:
            attach.plain(self.model, self.optimizer)
        else:
            how: Any = {"algorithm": self.algorithm, "input_grad": input_grad}
            attach.accelerate(self.model, self.optimizer, **how)

    def prepare(self) -> None:
        """Make all that stands beside the loop; begin the folder of the run, or resume it."""
        chunk, self.spare = memory.chunk_of(self)
        self.chunks = Chunks(self.model, self.optimizer, chunk, self.loader.batch_size)
        if self.memory_limit and self.val is not None and chunk < self.val.batch_size:
            self.val = copy.copy(self.val)
            self.val.batch_size = chunk
        self.meter = Meter(self.optimizer.theta, self.log_interval * self.chunks.most)
        self.factor = self.make_schedule()
        self.saved, self.net = HERE.together(lambda: Saved(self)), upper_part(self)
        dealt.begin(self)

    def make_schedule(self) -> Schedule:
        """The factor on the learning rate, as a function of the number of the step."""
        if callable(self.schedule):
            return warm_up(self.schedule, self.warm_up)
        total = self.epochs * len(self.loader)
        return make_schedule(changes.name_of(self), total, min(self.warm_up, total // 10),
            errors=lambda: [1 - row["val_acc"] for row in self.history],
            patience=self.plateau)  # fmt: skip

    @contextlib.contextmanager
    def in_training(self) -> Generator[None]:
        """The model in training mode, and afterwards each layer in the one it was found in.

        Where numbers overflow, `check_finite` says more in its one line than NumPy in many.
        """
        try:
            with evaluating(self.model, training=True), warnings.catch_warnings():
                what = "overflow|invalid value|divide by zero"
                warnings.filterwarnings("ignore", what, RuntimeWarning)
                yield
        except DataError:  # a photo cannot be read: no step until here is lost
            self.meter.read_back(self.progress)
            dealt.save(self)
            raise
        finally:
            self.saved.write_waiting()  # whatever ended it
            changes.end(self)
            self.take_forms(input_grad=True)

    @property
    def history(self) -> list[dict[str, float]]:
        """A row per finished epoch."""
        return self.progress.history

    def steps_done(self) -> int:
        """How many batches the run has trained on."""
        return self.progress.epoch * len(self.loader) + self.progress.batch

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.lr * self.factor(self.steps_done())

    def seen_enough(self) -> bool:
        """Whether `patience` epochs brought no new best."""
        return self.patience is not None and self.progress.waited() >= self.patience

    def batches(self) -> Generator[tuple[Array, Array]]:
        """The rest of this epoch's batches, on the device; after each, what there is to note.

        Raises KeyboardInterrupt, with a checkpoint, where the run is asked to stop.
        """
        progress, name = self.progress, f"epoch {self.progress.epoch + 1}/{self.epochs}"
        started = time.perf_counter() - progress.epoch_seconds
        images, done = len(self.loader.dataset), int(progress.sums[2])
        first = min(progress.batch, len(self.loader))  # which may have lost a damaged photo since
        batches = device_batches(changes.begin_epoch(self), self.device, progress.epoch, first,
                                 lambda: self.meter.classes)  # fmt: skip
        with contextlib.closing(batches), self.screen.bar(name, images, done) as bar:
            for x, labels in batches:
                yield x, labels
                progress.batch, progress.steps = progress.batch + 1, self.optimizer.t
                progress.epoch_seconds = time.perf_counter() - started
                bar.update(len(labels), **self.read_back(progress.batch))
                if progress.batch == 1:
                    memory.check_limit(self)
                if self.stop.is_asked():
                    self.meter.read_back(progress)
                    dealt.save(self)
                    raise stopped(self)
            self.meter.read_back(progress)

    def read_back(self, batch: int) -> dict[str, str]:
        """Loss and accuracy of the epoch so far; nothing where a GPU would have to be waited for.

        They are read at the first batch, for you to see that it works, and then now and then.
        """
        if self.device == "gpu" and batch > 1 and batch % self.log_interval:
            return {}
        self.meter.read_back(self.progress)
        loss, accuracy = self.progress.means()
        return {"loss": f"{loss:.4f}", "acc": f"{accuracy:.1%}"}

    def end_epoch(self) -> None:
        """Validate, save, and say so.  The best weights go first, so that `last` never lacks them.

        Without validation, the weights of the last epoch are the best.
        """
        progress, rate, due = self.progress, self.learning_rate(), dealt.end_epoch(self)
        loss, accuracy = progress.means()
        row = {"epoch": progress.epoch + 1, "train_loss": loss, "train_acc": accuracy}
        if self.val is not None:
            scores = evaluate(self.net, self.val, self.device, self.screen)
            row["val_loss"], row["val_acc"] = scores
            check_finite(row["val_loss"], "validation loss", progress)  # before good weights go
        row["images_per_s"] = progress.sums[2] / progress.epoch_seconds
        if best := progress.is_best(row):
            HERE.together(lambda: self.saved.best(to_disk=due))
        progress.end_epoch(row)
        if due or self.seen_enough():
            dealt.save(self, collected=due)
        memory.check_limit(self)
        left = (self.epochs - progress.epoch) * progress.seconds / progress.epoch
        self.screen.curves(self.history)
        self.screen.line(epoch_line(row, self.epochs, left, best and self.val is not None))
        if self.learning_rate() < rate and self.schedule == "plateau":
            self.screen.line(f"  lr {self.learning_rate():g} from now on: no new best for a while")
        for line in advice.advice(self):
            self.screen.line(line)


def fit(model: Layer, loader: DataLoader, optimizer: Optimizer, **options: Any) -> Any:
    """Train `model` on the batches of `loader`; returns the history, a dict per epoch.

    epochs            passes over the data
    val               a loader of validation images; the best epoch is chosen on it
    run               a folder for checkpoints and history; a run that is there is resumed to the
                      bit, and one that is finished goes on where epochs is larger now
    device            "cpu", "gpu" or "auto"; the model and the optimizer are moved there
    schedule          "constant", "cosine", "step", "plateau", a table as in changes.py, or from the
                      step, 0 for the first, a function to a factor; warm_up steps come first
    label_smoothing   see losses.py
    memory_limit      bytes that the process may take; the batch is taken in parts that fit
    patience          ends the run after so many epochs without a new best
    plateau           the patience of the schedule "plateau", in epochs
    plain             compute by the pages alone, without their fast twins
    algorithm         of convolutions: see accelerate
    log_interval      steps between readings of the loss from a GPU
    cache             decode images once, to a quarter of the GPU's free memory or else the folder;
                      by default those of ImageFolder and Drawings, which never change
    keep_last         keep last.safetensors, which it takes to resume to the bit, after the end
    settings, screen  what config.json holds, and what shows the progress (see screen.py)

    The rows of the history have "epoch", "train_loss", "train_acc", "val_loss", "val_acc" and
    "images_per_s"; a notebook shows them as curves and a table.  Afterwards the model has the
    weights of its best epoch, and stays on the device.  Ctrl-C finishes the step, saves, and raises
    KeyboardInterrupt.  Raises ConfigError for arguments that cannot work, CheckpointError where the
    folder holds another run or is written to, TrainingError where loss or weights are not finite.
    """
    return Training(model, loader, optimizer, **options).train()


fit.__signature__ = inspect.signature(Training)  # type: ignore[attr-defined]
