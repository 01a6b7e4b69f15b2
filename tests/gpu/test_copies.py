"""The data path as the emulated GPU counts it: one pinned copy a training step, and nothing
waits."""

import numpy as np
import pytest

import tiny_run
from device import has_gpu

if has_gpu():
    pytest.skip("a real GPU does not count", allow_module_level=True)

from cupyemu import device
from minialex.data import Compose, DataLoader
from minialex.train import prefetch
from noise_pictures import CROPS, PAPER, Pictures
from stream_model import BUGS

COPIES = ("copies_h2d", "copies_h2d_pageable", "copies_d2h", "synchronizations")


def difference(after, before):
    return {name: after[name] - before[name] for name in COPIES}


@pytest.mark.parametrize("steps", [CROPS, PAPER], ids=["bytes", "colours"])
def test_one_pinned_copy_a_batch_and_no_wait(steps):
    loader = DataLoader(Pictures(40), 4, Compose(steps), workers=2)
    counted, last = [], None
    for _ in prefetch.device_batches(loader, "gpu", 0):
        now = device.counters()
        if last is not None:
            counted.append(difference(now, last))
        last = now
    quiet = dict.fromkeys(COPIES, 0)
    assert counted == [quiet | {"copies_h2d": 1}] * 8 + [
        quiet
    ]  # the last batch was sent while another was used


def test_one_pinned_copy_a_training_step(tmp_path):
    counted = []
    run = tiny_run.training(
        tmp_path, lambda step: counted.append(device.counters()), log_interval=99
    )
    run.epoch()  # warms up
    counted.clear()
    run.progress.epoch, run.progress.batch = 1, 0
    run.epoch()
    steps = [difference(*pair) for pair in zip(counted[1:], counted, strict=False)]
    quiet = dict.fromkeys(COPIES, 0)
    assert steps == [quiet | {"copies_h2d": 1}, quiet]


@pytest.mark.parametrize("bug", ["computation does not wait for the copy", "one slot"])
def test_late_copies_show_the_bug(bug, monkeypatch):
    loader = DataLoader(Pictures(), 4, Compose(CROPS), seed=3)
    expected = [x for x, _ in loader.epoch(0)]

    def wrong():
        found = [x.get() for x, _ in prefetch.device_batches(loader, "gpu", 0)]
        return sum(not np.array_equal(x, y) for x, y in zip(found, expected, strict=True))

    assert wrong() == 0
    monkeypatch.setattr(*BUGS[bug])
    assert wrong() > 0
