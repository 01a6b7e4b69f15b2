"""python noise_run.py RUN THREADS VARIANT OPTIMIZER [EPOCHS]: what a run of several ranks comes to.

Trains a tiny AlexNet on 70 images of noise, with crops, mirror images, Dropout and validation, and
prints a digest of its weights, and its losses.  FAULT="what rank" lets something happen to a rank
when it loads its 8th image, or, at the "end", stops it when all have said that they have nothing
more to do; FAULT=poison makes each forget the weights that others own.
"""

import hashlib
import os
import signal
import sys

import numpy as np
from PIL import Image

import minialex as mx
from device import DEVICE  # of tests/helpers; emulated where it is lacking
from minialex import transforms as steps
from minialex.commands.main import run_main
from minialex.data import PhotoError
from minialex.fast import linear
from minialex.fast.threads import limit_threads
from minialex.train import slices
from minialex.train.ranks import HERE, join
from minialex.xp import to_cpu

linear.LEAST = 8  # so that tiny layers are cut into slices, on one rank as on several
SIDE, POISON = 67, 1e30
END = (steps.ToArray(), steps.Normalize((0.5,) * 3, (0.25,) * 3))
CROPS = (steps.RandomResizedCrop(SIDE), steps.RandomHorizontalFlip(), *END)
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "ask": signal.SIGTERM}


class Faulty(list):
    """Pairs of images and labels; on the way to one, something may happen."""

    seen = 0

    def __getitem__(self, index):
        self.seen += 1
        what, _, rank = os.environ.get("FAULT", "").partition(" ")
        if rank and self.seen == 8 and int(rank) == HERE.index:
            if what == "photo":
                raise PhotoError("cat.jpg", "it is cut short")
            if what == "bug":
                raise ZeroDivisionError("a bug")
            if what in SIGNALS:
                os.kill(os.getpid(), SIGNALS[what])
        return super().__getitem__(index)


def network(variant):
    """An AlexNet; "dense" is a network without convolutions, "mixed" one that mixes its images."""
    mx.seed(3)
    if variant == "dense":
        return mx.Sequential(
            mx.Flatten(), mx.Linear(SIDE * SIDE * 3, 8), mx.ReLU(), mx.Linear(8, 3)
        )
    if variant == "mixed":
        middle = mx.Conv2d(3, 4, 5, 4), mx.layers.BatchNorm2d(4), mx.ReLU(), mx.Flatten()
        return mx.Sequential(*middle, mx.Linear(16 * 16 * 4, 3))
    variant = "ungrouped" if variant in ("frozen", "plain") else variant
    return mx.AlexNet(3, variant, width=1 / 16, image_size=SIDE, seed=1)


def not_ours(run):
    """The rows that others own, of weights that are dealt out and of what the optimizer keeps."""
    states = map(run.optimizer.views, run.optimizer.state.values())
    for params in (run.model.params, *states):
        for array in slices.weights(run, params):
            rows = slices.rows_of(array, HERE.index)
            yield from (array[: rows.start], array[rows.stop :])


def poison(run, begin=slices.begin, collect=slices.collect):
    """Let a rank know nothing of the weights that others own, and see that it leaves them alone."""
    begin(run)
    for rows in not_ours(run):
        rows[...] = POISON
    print(f"{len(list(slices.weights(run, run.model.params)))} layers in slices")

    def look(run, state=True):
        assert all((rows == POISON).all() for rows in not_ours(run))
        slices.collect = collect
        collect(run, state)

    slices.collect = look


def main(run, threads, variant, optimizer, epochs="2"):
    join()
    limit_threads(int(threads))
    if os.environ.get("FAULT") == f"end {HERE.index}":  # after all have said that they end
        HERE.watcher.join = lambda: os.kill(os.getpid(), signal.SIGSTOP)
    if os.environ.get("FAULT") == "poison":
        slices.begin = poison
    rng = np.random.default_rng(0)
    images = map(Image.fromarray, rng.integers(0, 256, (70, 80, 90, 3), dtype=np.uint8))
    data = Faulty(zip(images, rng.integers(0, 3, 70).tolist(), strict=True))
    middle = steps.Compose((steps.Resize(SIDE), steps.CenterCrop(SIDE), *END))
    # The batches of an epoch have 3 groups and 2: some ranks have none.
    loader = mx.DataLoader(data, 40, steps.Compose(CROPS), shuffle=True, seed=2)
    val = mx.DataLoader(list(data)[:20], 40, middle)
    model = network(variant)
    freeze = ["features.0.*", "features.3.*"] if variant == "frozen" else []
    how = {"lr": 1e-3}
    if optimizer == "named":  # AdamW with rates and decays by name, of which a table changes some
        rates, decays = {"*.bias": 2e-3, "*6.*": 5e-4, "*": 1e-3}, {"*.bias": 0, "*": 0.01}
        how = {"lr": rates, "weight_decay": decays, "decoupled": True}
        freeze = ["features.4.*", "classifier.0.weight"]
    moves = {"sgd": mx.SGD}.get(optimizer, mx.Adam)(model, freeze=freeze, **how)
    algorithm = "im2col" if DEVICE == "gpu" else "auto"  # others are slow where it is emulated
    how = {"device": DEVICE, "algorithm": algorithm, "plain": variant == "plain"}
    if optimizer == "named":
        how["schedule"] = [(0, {}, True), (0.5, {"classifier.*": 0.1}, True)]
    rows = mx.fit(model, loader, moves, epochs=int(epochs), val=val, run=run, **how)
    losses = [row[name] for row in rows for name in ("train_loss", "val_loss")]
    print("weights", hashlib.sha256(to_cpu(moves.theta).tobytes()).hexdigest(), losses)
    return 0


if __name__ == "__main__":
    run_main(lambda: main(*sys.argv[1:]))
