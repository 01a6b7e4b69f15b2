"""The training loop: batches in, a trained network out, and a run that you can stop at any moment.

A step (`Trainer.step`) is the gradient of a batch (`gradient.py`), the learning rate, and the
optimizer.  The rest of this page keeps the run safe: after every epoch, and when asked to stop,
everything that the next step depends on goes into one file, `last.safetensors`.  All random draws
are functions of (seed, epoch, step), so a run that goes on from that file makes the same steps, to
the bit, as one that was never stopped.

The model is accelerated, each layer computing by its twin; with `--plain`, by its page.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minialex.attach import accelerate, loss_function
from minialex.data import DataLoader, Source, Transform
from minialex.data.ten_crops import ten_crops
from minialex.errors import CheckpointError, MinialexError
from minialex.models import AlexNet
from minialex.params import flatten
from minialex.schedules import make_schedule
from minialex.train.checkpoint import (
    load_checkpoint,
    load_state_dict,
    save_checkpoint,
    state_dict,
)
from minialex.train.config import Config
from minialex.train.evaluation import evaluate, evaluate_ten_crops
from minialex.train.gradient import BatchGradient
from minialex.train.memory import largest_chunk
from minialex.train.prefetch import device_batches
from minialex.train.preprocessing import evaluation_transform, measure_colours, training_transform
from minialex.train.recipes import make_optimizer
from minialex.train.run import RunFolder
from minialex.xp import Array, get_xp, to_cpu, to_device

Report = Callable[[str], None]


class TrainingError(MinialexError):
    """Training cannot go on."""


class Trainer:
    """One training run of AlexNet.

    config, source, run   the settings, the images, the folder to write to
    device                "cpu" or "gpu"
    report                called with each line that should stay on the screen
    bar                   called at each epoch's start with (epoch, images); returns an object with
                          update(n), set_postfix(...), close(), such as a tqdm bar

    `stop` may be set to True at any time: the run then ends after the current step, with a
    checkpoint.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        run: RunFolder,
        device: str,
        report: Report,
        bar: Callable[..., Any],
    ):
        self.run, self.device, self.report, self.bar = run, device, report, bar
        self.classes = source.classes
        self.model = AlexNet(
            len(source.classes), config.variant, lrn=config.lrn, dropout=config.dropout,
            width=config.width, image_size=config.image_size, init=config.init,
            activation=config.activation, pooling=config.pooling, seed=config.seed,
        )  # fmt: skip
        self.model.to(device)
        self.theta = flatten(self.model)
        self.optimizer = make_optimizer(
            config.optimizer, self.theta, config.lr, config.weight_decay
        )
        if not config.plain:
            accelerate(self.model, self.optimizer, algorithm=config.algorithm, input_grad=False)
        N, shape, states = config.batch_size, self.model.input_shape, len(self.optimizer.state)
        chunk = largest_chunk(self.model, shape, N, config.memory_limit, states=states)
        self.gradient = BatchGradient(
            self.model, self.theta, chunk, chunk < N, config.label_smoothing,
            loss_function(device, fused=not config.plain),
        )  # fmt: skip

        side = self.model.image_size
        self.config = config = measure_colours(config, source.train, side)
        self.transform = evaluation_transform(side, config)

        def load(
            dataset: Any, transform: Transform, batch_size: int, shuffle: bool = False
        ) -> DataLoader:
            seed, workers = config.seed, config.workers
            return DataLoader(
                dataset, batch_size, transform, shuffle=shuffle, seed=seed, workers=workers
            )

        self.train_loader = load(source.train, training_transform(side, config), N, shuffle=True)
        self.val_loader = load(source.val, self.transform, chunk)
        self.test_loader = load(source.test, self.transform, chunk)
        if config.ten_crop:
            self.test_loader = load(source.test, self.ten_crops, max(1, chunk // 10))

        self.epochs, total = config.epochs, config.epochs * len(self.train_loader)
        self.schedule = make_schedule(
            config.schedule, total, min(config.warm_up, total // 10),
            errors=lambda: [1 - row["val_acc"] for row in self.history],
            patience=config.plateau_patience,
        )  # fmt: skip

        self.stop = False
        self.epoch = self.batch = 0  # the next batch to train on
        self.sums = [0.0, 0.0, 0.0]  # this epoch's loss, correct answers, images
        self.seconds = self.epoch_seconds = 0.0  # of training steps, loading included
        self.history: list[dict[str, float]] = []
        # Loss and right answers of the steps that were not yet read back from the device.
        self.log = get_xp(self.theta).zeros((config.log_interval, 2), dtype=self.theta.dtype)
        self.best_acc = -1.0

    # ------------------------------------------------------------------------------------ training

    def step(self, x: Array, labels: Array) -> tuple[Array, Array]:
        """One training step on images x (N, H, W, 3) and labels (N,).

        Returns the loss and the number of right answers.
        """
        loss, correct = self.gradient(x, labels, step=self.optimizer.t)
        self.optimizer.step(self.gradient.g, lr=self.learning_rate())
        return loss, correct

    def fit(self) -> bool:
        """Train to the end of the last epoch; True when done, False when stopped before."""
        while self.epoch < self.epochs:
            finished = self.train_epoch()
            if not finished:
                self.save_last()
                return False
            self.end_epoch()
            if self.stop and self.epoch < self.epochs:
                return False
        return True

    def train_epoch(self) -> bool:
        """The rest of the current epoch; False when `stop` was set."""
        bar = self.bar(self.epoch, len(self.train_loader.dataset), int(self.sums[2]))
        started = time.perf_counter() - self.epoch_seconds
        pending: list[int] = []  # images of the steps in `self.log`
        batches = device_batches(self.train_loader, self.device, self.epoch, start=self.batch)
        try:
            for x, labels in batches:
                loss, correct = self.step(x, labels)
                self.log[len(pending), 0], self.log[len(pending), 1] = loss, correct
                pending.append(len(x))
                self.batch += 1
                self.epoch_seconds = time.perf_counter() - started
                bar.update(len(x))
                if self.device == "cpu" or self.batch % self.config.log_interval == 0:
                    self.read_back(pending)
                if self.batch % self.config.log_interval == 0:
                    bar.set_postfix(
                        loss=f"{self.sums[0] / self.sums[2]:.4f}",
                        acc=f"{self.sums[1] / self.sums[2]:.1%}",
                    )
                if self.stop:
                    break
            self.read_back(pending)
        finally:
            batches.close()  # a generator: this stops the loader's workers
            bar.close()
        return self.batch == len(self.train_loader)

    def read_back(self, pending: list[int]) -> None:
        """Add losses and right answers of the last steps to the sums of the epoch.

        A GPU is waited for once.
        """
        steps = to_cpu(self.log[: len(pending)]).tolist()
        for (loss, correct), n in zip(steps, pending, strict=True):
            self.check_finite(loss, "loss")
            self.sums = [self.sums[0] + loss * n, self.sums[1] + correct, self.sums[2] + n]
        pending.clear()

    def check_finite(self, value: float, name: str) -> None:
        """Raise TrainingError where a loss is infinite or not a number."""
        if not math.isfinite(value):
            raise TrainingError(
                f"the {name} became {value} in epoch {self.epoch + 1}, step {self.batch};"
                f" lower --lr (now {self.optimizer.lr:g}) and start again"
            )

    def end_epoch(self) -> None:
        """Validate, report, and save.

        `best` comes first, so that `last` never knows of a best that is not there.
        """
        val_loss, val_acc = evaluate(self.model, self.val_loader, self.device)
        self.check_finite(val_loss, "validation loss")  # before weights of NaN replace good ones
        loss, correct, seen = self.sums
        row = {
            "epoch": self.epoch + 1, "train_loss": loss / seen, "train_acc": correct / seen,
            "val_loss": val_loss, "val_acc": val_acc, "images_per_s": seen / self.epoch_seconds,
        }  # fmt: skip
        rate = self.learning_rate()
        self.history.append(row)
        mark = ""
        if val_acc > self.best_acc:
            self.best_acc, mark = val_acc, "  best"
            self.save_best()
        self.seconds += self.epoch_seconds
        self.epoch, self.batch = self.epoch + 1, 0
        self.sums, self.epoch_seconds = [0.0, 0.0, 0.0], 0.0
        self.save_last()
        self.report(
            f"epoch {row['epoch']:>3}/{self.epochs}"
            f"  train loss {row['train_loss']:.4f} acc {row['train_acc']:.1%}"
            f"  val loss {val_loss:.4f} acc {val_acc:.1%}  {row['images_per_s']:.1f} images/s{mark}"
        )
        if self.config.schedule == "plateau" and self.learning_rate() < rate:
            patience = self.config.plateau_patience
            self.report(
                f"  lr {self.learning_rate():g} from now on: no new best in {patience} epoch(s)"
            )
        self.warn_if_stuck()

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.lr * self.schedule(self.optimizer.t)

    def warn_if_stuck(self) -> None:
        """Say so when the network has learned nothing yet: it gives every image the same answer."""
        chance = math.log(len(self.classes))
        at_chance = abs(self.history[-1]["train_loss"] - chance) < 0.01
        if len(self.history) >= 2 and at_chance and self.config.label_smoothing == 0:
            self.report(
                f"  the loss stays at log({len(self.classes)}) = {chance:.3f}, as in guessing;"
                f" try --lr {self.optimizer.lr / 3:.1g}, --optimizer adam, or a larger --batch-size"
            )

    def ten_crops(self, image: Any, rng: Any) -> np.ndarray:
        """The ten crops of a test image, (10, H, W, 3)."""
        return np.stack(ten_crops(image, self.transform))

    # --------------------------------------------------------------------------------- checkpoints

    def header(self) -> dict[str, Any]:
        """What a user of the weights must know: the model, its classes, its preprocessing."""
        return {
            "model": self.model.config,
            "classes": self.classes,
            "transform": self.transform.to_config(),
        }

    def save_best(self) -> None:
        """The weights as they are now."""
        save_checkpoint(self.run.best, state_dict(self.model), self.header())

    def save_last(self) -> None:
        """Everything that the next step depends on, in one file; and the history beside it."""
        tensors, state = state_dict(self.model), self.optimizer.state
        tensors |= {f"optimizer.{name}": to_cpu(array) for name, array in state.items()}
        progress = {
            "epoch": self.epoch, "batch": self.batch, "sums": self.sums, "steps": self.optimizer.t,
            "seconds": self.seconds, "epoch_seconds": self.epoch_seconds,
            "history": self.history, "best_acc": self.best_acc,
        }  # fmt: skip
        save_checkpoint(self.run.last, tensors, {**self.header(), "progress": progress})
        self.run.write_history(self.history)

    def resume(self) -> None:
        """Go on from `last`, if there is one yet.

        Raises CheckpointError where it is damaged or does not fit.
        """
        if not self.run.last.exists():
            return
        tensors, header = load_checkpoint(self.run.last)
        progress = header.get("progress")
        own = self.header()
        if progress is None or any(header.get(key) != own[key] for key in ("model", "classes")):
            raise CheckpointError(
                f"{str(self.run.last)!r} belongs to another model, other classes or no run"
            )
        moments = {name: tensors.pop(f"optimizer.{name}", None) for name in self.optimizer.state}
        load_state_dict(self.model, tensors)
        for name, vector in moments.items():
            if vector is None or vector.shape != self.theta.shape:
                raise CheckpointError(f"{str(self.run.last)!r} has no fitting optimizer.{name}")
            self.optimizer.state[name][...] = to_device(vector, self.device)
        self.optimizer.t = progress["steps"]
        self.epoch, self.batch, self.sums = (progress[key] for key in ("epoch", "batch", "sums"))
        self.history, self.best_acc = progress["history"], progress["best_acc"]
        self.seconds, self.epoch_seconds = progress["seconds"], progress["epoch_seconds"]
        self.run.write_history(self.history)

    def test(self) -> dict[str, Any]:
        """Evaluate the best weights on the test images, once, and write `result.json`."""
        tensors, _ = load_checkpoint(self.run.best)
        load_state_dict(self.model, tensors)
        if self.config.ten_crop:
            scores = evaluate_ten_crops(self.model, self.test_loader, self.device)
        else:
            loss, accuracy = evaluate(self.model, self.test_loader, self.device)
            scores = {"test_loss": loss, "test_acc": accuracy}
        images = len(self.train_loader.dataset) * self.epochs
        result = {
            **scores, "seconds": self.seconds,
            "images_per_s": images / self.seconds, "val_acc": self.best_acc,
            "best_epoch": int(np.argmax([row["val_acc"] for row in self.history])) + 1,
        }  # fmt: skip
        self.run.write_result(result)
        return result
