"""What a training step costs on several ranks, and which part of it waits for others.

    python benchmarks/bench_ranks.py --threads 1
    mpiexec -n 2 python benchmarks/bench_ranks.py --threads 1

Each rank prints the median over the steps of

    step       seconds of a training step of full-size AlexNet, from batch to update
    head       of that, the convolutions of this rank's images
    rest       dense layers and loss: this rank's slices, for all images
    update     Adam's, of the weights that this rank owns
    others     waiting for other ranks, and for what they send
    received   MB that came from other ranks

docs/ranks.md makes a model of them.  With --repeat, every rank computes and updates all of the
dense layers.  With --dense, their gradients are added over the ranks as well, after each step: what
they would cost if they had to travel.
"""

import argparse
import sys
import time
from collections import defaultdict
from typing import Any

import numpy as np

import minialex as mx
from minialex.fast.threads import limit_threads
from minialex.train import slices
from minialex.train.loop import Training
from minialex.train.ranks import HERE, join
from minialex.train.screen import Silent


def timed(spent: dict[str, float], name: str, function: Any) -> Any:
    """`function`, which notes the seconds that it takes, but for those of others inside."""

    def call(*arguments: Any, **options: Any) -> Any:
        start, others = time.perf_counter(), spent["others"]
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += time.perf_counter() - start - (spent["others"] - others)

    return call


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--batch-size", type=int, default=128)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--steps", type=int, default=5)
    options.add_argument("--repeat", action="store_true")
    options.add_argument("--dense", action="store_true")
    given = options.parse_args()
    join()
    if given.repeat:
        vars(slices)["begin"] = lambda run: None
    limit_threads(given.threads)
    image = np.random.default_rng(0).standard_normal((227, 227, 3), dtype=np.float32)
    images = [(image, i % 2) for i in range(given.batch_size * given.steps)]
    model = mx.AlexNet(2, "ungrouped")
    run = Training(model, mx.DataLoader(images, given.batch_size), mx.Adam(model, lr=1e-4),
        epochs=1, device="cpu", screen=Silent())  # fmt: skip
    spent, rows = defaultdict[str, float](float), list[list[float]]()
    step, waits = run.step, HERE.wait
    vars(run.optimizer)["step"] = timed(spent, "update", run.optimizer.step)
    features: Any = model.features
    for name in ("forward", "backward"):
        vars(features)[name] = timed(spent, "head", getattr(features, name))
    vars(HERE)["wait"] = timed(spent, "others", waits)
    dense = np.ones((1, sum(array.size for array in dense_gradients(run))), np.float32)

    def measured(*batch: Any) -> None:
        spent.clear()
        before, start = HERE.received, time.perf_counter()
        step(*batch)
        if given.dense and HERE.size > 1:
            HERE.add(dense)
        took = time.perf_counter() - start
        head = spent["head"]
        received = (HERE.received - before) / 1e6
        rest = took - head - spent["others"] - spent["update"]
        rows.append([took, head, rest, spent["update"], spent["others"], received])

    vars(run)["step"] = measured
    run.train()
    names = ("step", "head", "rest", "update", "others", "received")
    middle = np.median(rows[1:], axis=0)
    text = "  ".join(f"{name} {value:.3f}" for name, value in zip(names, middle, strict=True))
    print(f"rank {HERE.index} of {HERE.size}, {given.threads} thread(s): {text}", file=sys.stderr)


def dense_gradients(run: Any) -> list[Any]:
    """The gradients of the layers after the convolutions."""
    layers = run.optimizer.grad["classifier"].values()
    return [array for layer in layers for array in layer.values()]


if __name__ == "__main__":
    main()
