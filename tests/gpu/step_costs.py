"""What a training step of AlexNet costs on a GPU, counted: launches, products, copies, and when the host waits.

`python tests/gpu/step_costs.py` prints the counts of each variant; test_step_costs.py holds them to a budget.
They come from the emulated device (see cupyemu), which counts what CuPy asks of a GPU; they depend on the network
and not on its width, so a narrow one is enough.
"""

import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a program

import os

os.environ.setdefault("MINIALEX_TEST_DEVICE", "gpu")

import device  # noqa: F401 -- the emulator, before cupy
import numpy as np
from cupyemu import device as emulated
from cupyemu import kernels

from minialex.backend import to_device
from minialex.layers.layer import dict_like
from minialex.losses import softmax_cross_entropy
from minialex.models import VARIANTS, AlexNet
from minialex.optim import Adam

SHOWN = ("launches", "gemms", "float64", "synchronizations", "copies_h2d", "copies_d2h", "allocations")


class Step:
    """A training step on the device, as Trainer.step makes it; images and labels are there already."""

    def __init__(self, variant, batch=4):
        self.model = AlexNet(2, variant, width=1 / 16, image_size=67, seed=1)
        self.model.to("gpu")
        self.theta = self.model.flatten()
        self.g = self.theta * 0
        self.grad = dict_like(self.model.params, self.g)
        self.adam = Adam(self.theta)
        rng = np.random.default_rng(0)
        self.x = to_device(rng.standard_normal((batch, 67, 67, 3), dtype=np.float32), "gpu")
        self.labels = to_device(np.arange(batch) % 2, "gpu")

    def __call__(self):
        self.model.set_step(self.adam.t)
        logits, cache = self.model.forward(self.x)
        loss, dlogits = softmax_cross_entropy(logits, self.labels)
        self.model.backward(dlogits, cache, self.grad)
        self.adam.step(self.g)
        return loss


def counts(function):
    """What the device counted during one call."""
    before = emulated.counters()
    function()
    after = emulated.counters()
    after.subtract(before)
    return after


def launched(function):
    """The kernels launched during one call, with how many times."""
    before = {id(kernel): kernel.launches for kernel in kernels.loaded}
    function()
    found = [(kernel, kernel.launches - before.get(id(kernel), 0)) for kernel in kernels.loaded]
    return [(kernel, count) for kernel, count in found if count]


def by_name(function):
    """{name of a kernel, without its types: launches} during one call."""
    found = collections.Counter()
    for kernel, count in launched(function):
        found[kernel.name.partition("__")[0]] += count
    return found


def main():
    rows = {}
    for variant in VARIANTS:
        step = Step(variant)
        step()
        step()
        rows[variant] = counts(step)
    for name in SHOWN:
        print(f"{name:18}" + "".join(f"{variant:>12} {row[name]:5}" for variant, row in rows.items()))


if __name__ == "__main__":
    main()
