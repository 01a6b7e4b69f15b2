"""What a training step of AlexNet costs on a GPU, counted: launches, products, copies, memory, and
when the host waits.

`python tests/gpu/step_costs.py` prints the counts of each variant and its kernels;
test_step_costs.py holds them to a budget.  They are of a whole step of a training run, from the
loader's bytes to the optimizer, on the emulated device (see cupyemu), which counts what CuPy asks
of a GPU.
All but the memory depend on the network and not on its width, so a narrow one is enough.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))  # as a program

import collections
import gc
import itertools
import os
import tempfile

os.environ.setdefault("MINIALEX_TEST_DEVICE", "gpu")

import device  # noqa: F401 -- the emulator, before cupy
import tiny_run
from cupyemu import device as emulated
from cupyemu import kernels
from minialex.models import VARIANTS
from minialex.train.memory import show_bytes, step_bytes

WARM_UP = 2  # steps that are not counted
LAST = 2  # nor are these: there is no next batch to send


class Steps:
    """An epoch of `count` counted steps: what the device counted in each, and how much memory was
    in use after it.

    Options are those of a run (see tiny_run.py).  A step is counted from one update of the progress
    bar to the next, and the bar is updated after the losses were read back, if they are.
    """

    def __init__(self, variant, count=3, **options):
        options = {"batch_size": 4, "log_interval": 1000, **options}
        gc.collect()  # what earlier ones left must not go during this one
        before, after, live, launches = emulated.value("live_bytes"), [], [], []

        def count_step(step):
            after.append(emulated.counters())
            live.append(emulated.value("live_bytes"))
            launches.append([kernel.launches for kernel in kernels.loaded])
            if step == WARM_UP:
                emulated.reset_peak()

        with tempfile.TemporaryDirectory() as folder:
            length = options["batch_size"] * (WARM_UP + count + LAST)
            self.run = tiny_run.training(
                Path(folder), count_step, variant=variant, length=length, **options
            )
            self.run.epoch()
        self.peak = emulated.value("peak_bytes") - before
        counted = slice(WARM_UP, WARM_UP + count)
        self.live = live[counted]
        self.counts = [minus(b, a) for a, b in itertools.pairwise(after)][WARM_UP - 1 :][:count]
        first, last = launches[WARM_UP - 1], launches[WARM_UP]
        first = first + [0] * (len(last) - len(first))
        pairs = zip(kernels.loaded, first, last, strict=False)
        self.kernels = [(kernel, b - a) for kernel, a, b in pairs if b > a]

    def by_name(self):
        """{name of a kernel, without its types: launches} in the first counted step."""
        found = collections.Counter()
        for kernel, count in self.kernels:
            found[kernel.name.partition("__")[0]] += count
        return found

    def formula(self):
        """What step_bytes says of the peak."""
        run = self.run
        states = len(run.optimizer.state)
        return step_bytes(
            run.model,
            run.model.input_shape,
            run.loader.batch_size,
            run.chunks.size,
            states=states,
        )


def minus(after, before):
    """after - before, for counters."""
    after = after.copy()
    after.subtract(before)
    return after


def rows(steps):
    """{what is counted: its number in one step}; the second one reads the losses back."""
    found, names = steps.counts[0], steps.by_name()
    pinned = found["copies_h2d"] - found["copies_h2d_pageable"]
    return {
        "launches and products": found["launches"] + found["gemms"],
        "  launches of kernels": found["launches"],
        "    of our own": sum(
            count for name, count in names.items() if name.startswith("minialex_")
        ),
        "  matrix products": found["gemms"],
        "    of more than two axes": found["gemms_batched"],
        "kernels with float64": found["float64"],
        "waits of the host": found["synchronizations"],
        "waits where the loss is logged": steps.counts[1]["synchronizations"],
        "copies to the device, pinned": pinned,
        "copies to the device, pageable": found["copies_h2d_pageable"],
        "copies to the host": found["copies_d2h"],
        "new arrays": found["allocations"],
        "growth of memory, bytes": max(steps.live) - min(steps.live),
    }


def main():
    all_steps = {variant: Steps(variant, 20, log_interval=WARM_UP + 2) for variant in VARIANTS}
    columns = {variant: rows(steps) for variant, steps in all_steps.items()}
    print(f"{'in a step':32}" + "".join(f"{variant:>14}" for variant in columns))
    for name in next(iter(columns.values())):
        print(f"{name:32}" + "".join(f"{column[name]:14,}" for column in columns.values()))
    for name, of in (("peak of memory", "peak"), ("  by the formula", "formula")):
        values = (getattr(steps, of) for steps in all_steps.values())
        print(
            f"{name:32}" + "".join(f"{show_bytes(v() if callable(v) else v):>14}" for v in values)
        )
    names = {variant: steps.by_name() for variant, steps in all_steps.items()}
    print(f"\n{'kernel':32}" + "".join(f"{variant:>14}" for variant in names))
    for name in sorted(set().union(*names.values())):
        print(f"{name:32}" + "".join(f"{found[name]:14}" for found in names.values()))


if __name__ == "__main__":
    main()
