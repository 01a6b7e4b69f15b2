"""Batches on their way to the device: the right ones, whatever the streams do, one copy each."""

import itertools
import sys

import numpy as np
import pytest

from device import DEVICE, assert_on_device, on_host
from minialex.data import Compose, DataLoader
from minialex.data.loader import RawBatch
from minialex.errors import DataError
from minialex.train import prefetch
from noise_pictures import (  # noqa: F401 -- a fixture
    CROPS,
    PAPER,
    Pictures,
    loading_threads,
    no_thread_is_left,
)
from stream_model import BUGS, SCHEDULES, Event, Memory, World


def floats(image, rng):
    """A transform of another kind, whose batches are not bytes."""
    return np.asarray(image, dtype=np.float64)[:5, :7] * rng.random()


TRANSFORMS = {"bytes": Compose(CROPS), "colours": Compose(PAPER), "floats": floats}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_of_the_loader_to_the_bit(transform, workers):
    loader = DataLoader(Pictures(), 4, transform, shuffle=True, seed=3, workers=workers)
    for epoch, start in ((0, 0), (1, 3), (2, 5), (2, 6)):
        expected = list(loader.epoch(epoch, start))
        found = []
        for x, labels in prefetch.device_batches(loader, DEVICE, epoch, start):
            assert_on_device(x, labels)
            assert x.dtype == np.float32 and labels.dtype == np.int64
            found.append((on_host(x).copy(), on_host(labels).copy()))
        assert len(found) == len(expected) == 6 - start
        for ours, theirs in zip(found, expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)


def test_leaving_early_stops_the_workers():
    loader = DataLoader(Pictures(400), 4, Compose(CROPS), workers=2)
    batches = prefetch.device_batches(loader, DEVICE, 0)
    next(batches)
    batches.close()
    assert loading_threads() == []


def test_an_error_of_the_loader_comes_through():
    loader = DataLoader(Pictures(bad=(9,)), 4, Compose(CROPS), workers=2)
    batches = prefetch.device_batches(loader, DEVICE, 0)
    with pytest.raises(DataError, match="picture 9 is damaged"):
        list(batches)


# ------------------------------------------------------------------------------ what the streams do

BATCHES = [
    RawBatch(
        np.arange(n) + 10 * k,
        np.full((n, 3), k, np.float32),
        np.full((n, 2, 2, 3), 7 * k, np.uint8),
    )
    for k, n in enumerate((4, 4, 4, 4, 4, 4, 3))
]


def wrong_batches(schedule, monkeypatch):
    """How many batches of two epochs are wrong when they are read.

    The streams advance as `schedule` lets them.  The first epoch is left early.
    """
    world, read, asked, strange = World(schedule), [], [], 0
    for name, module in world.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    for epoch, most in ((BATCHES[::-1], 3), (BATCHES, 99)):
        batches = prefetch.on_gpu(epoch)
        for k, (batch, loaded) in enumerate(itertools.islice(batches, most)):
            strange += loaded is not epoch[k]
            copy = lambda batch=batch: read.append([np.array(array) for array in batch])  # noqa: E731
            world.compute.tell(copy)
        batches.close()
        world.free_all()
        asked += epoch[:most]
    world.run(world.streams)
    assert len(read) == len(asked)
    pairs = zip(read, asked, strict=True)
    return strange + sum(
        not all(np.array_equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairs
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_right_under_every_schedule(schedule, monkeypatch):
    assert wrong_batches(SCHEDULES[schedule], monkeypatch) == 0


@pytest.mark.parametrize("bug", BUGS)
def test_each_missing_wait_is_found(bug, monkeypatch):
    monkeypatch.setattr(*BUGS[bug])
    assert any(wrong_batches(schedule, monkeypatch) for schedule in SCHEDULES.values())


def test_an_interrupt_between_a_copy_and_its_mark_frees_no_memory_under_way(monkeypatch):
    world = World(SCHEDULES["as late as possible"])
    for name, module in world.modules().items():
        monkeypatch.setitem(sys.modules, name, module)

    def interrupt(self, stream):
        if stream is not world.compute:
            raise KeyboardInterrupt
        self.mark = stream.tell()

    monkeypatch.setattr(Event, "record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(prefetch.on_gpu(BATCHES))
    assert len(world.streams) == 2 and world.streams[1].queue == []


def test_the_next_batch_is_under_way_while_one_is_used(monkeypatch):
    world = World(SCHEDULES["at once"])
    for name, module in world.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    batches = prefetch.on_gpu(BATCHES)
    assert next(batches)[0].labels[0] == 0
    size = 4 * (8 + 12 + 12)  # of four labels, colours and images
    blocks = world.blocks[Memory, (size,)]
    assert len(blocks) == 2 and not np.all(blocks[1] == 0xFF)
    copies, world.schedule = world.streams[1], SCHEDULES["computation late"]
    next(batches)
    assert copies.queue != []  # batch 2 waits for the computation on batch 0
    world.run(world.streams)
    assert copies.queue == []
