"""python own_run.py WHAT: runs with parts of one's own; each rank says what it has come to.

parts       a layer whose parts have other names and shapes than ours
optimizer   one that looks at the whole gradient, and moves an average itself
disk        rank 0 cannot write, which the program catches, to train again
bug         rank 1 fails after an error of all that the program caught
early       rank 1 ends where rank 0 trains on
"""

import hashlib
import os
import sys
import tempfile

import numpy as np

import minialex as mx
from minialex.errors import CheckpointError
from minialex.fast import linear
from minialex.train import saving
from minialex.train.ranks import HERE, join

linear.LEAST = 8  # so that tiny layers are cut into slices
RNG = np.random.default_rng(0)
DATA = list(zip(RNG.standard_normal((70, 6, 2), dtype=np.float32), RNG.integers(0, 3, 70).tolist(),
                strict=True))  # fmt: skip
AVERAGE = []  # of the weights, in the run of "optimizer"


def tell(*vectors):
    """Each rank's line, which is written at once: ranks share the stream."""
    digests = [hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in vectors]
    os.write(2, f"weights {' '.join(digests)}\n".encode())


class Own(mx.Layer):
    """x -> tilt (W x + s): W of a Linear that it calls its head, s one number, tilt a buffer."""

    per_image = True

    def __init__(self):
        super().__init__()
        self.head = mx.Linear(12, 16)
        self.params = {"head": self.head.params, "shift": np.array(0.5, np.float32)}
        self.buffers = {"tilt": np.float32([1 + HERE.index])}  # as if it was drawn without a seed

    def children(self):
        return {"head": self.head}

    def forward(self, x):
        y, cache = self.head.forward(x)
        return self.buffers["tilt"] * (y + self.params["shift"]), cache

    def backward(self, dy, cache, grad):
        dy = self.buffers["tilt"] * dy
        grad["shift"][...] = dy.sum()
        return self.head.backward(dy, cache, grad["head"])


class Chain(mx.Sequential):
    per_image = True


class Clipped(mx.SGD):
    def step(self, *args, **options):
        mx.optim.clip_gradient_norm(self.g, 0.05)
        super().step(*args, **options)
        AVERAGE[0].update()


class Faulty(list):
    def __getitem__(self, index):
        if HERE.index:
            raise ZeroDivisionError("a bug")
        return super().__getitem__(index)


def fails(*args):
    raise CheckpointError("no space")


def main(what):
    join()
    mx.seed(1)
    first = Own() if what == "parts" else mx.Linear(12, 16)
    layers = first, mx.ReLU(), mx.Linear(16, 16), mx.ReLU(), mx.Linear(16, 3)
    model = Chain(mx.Flatten(), *layers)
    model.head = first  # which is no setting of ours
    optimizer = (Clipped if what == "optimizer" else mx.SGD)(model, lr=0.1)
    AVERAGE.append(mx.optim.EMA(model, 0.5))

    def train(data=DATA, **options):
        mx.fit(model, mx.DataLoader(data, 40, shuffle=True), optimizer, epochs=2, device="cpu",
               **options)  # fmt: skip

    if what in ("disk", "bug"):
        if HERE.index == 0:
            saving.Saved.finish = fails
        with tempfile.TemporaryDirectory() as folder:
            try:
                train(run=f"{folder}/run")
            except CheckpointError as error:
                os.write(2, f"caught {error}\n".encode())
        saving.Saved.finish = lambda saved: None
    train(Faulty(DATA) if what == "bug" else DATA)
    if what == "early" and HERE.index == 0:
        train()
    tell(optimizer.theta, *([AVERAGE[0].average] if what == "optimizer" else []))


if __name__ == "__main__":
    main(*sys.argv[1:])
