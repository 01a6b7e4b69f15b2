"""Copies on streams of their own happen as late as CUDA allows: a missing wait gives wrong
numbers."""

import cupy as cp
import cupyx
import numpy as np
import pytest

from cupyemu import device


@pytest.fixture
def pinned():
    array = cupyx.empty_pinned((4,), np.float32)
    array[...] = [1, 2, 3, 4]
    return array


@pytest.fixture
def side():
    return cp.cuda.Stream(non_blocking=True)


def copied(pinned, side):
    """A device array, and the event after which it holds what `pinned` has."""
    x = cp.empty(4, np.float32)
    x.set(pinned, stream=side)
    event = cp.cuda.Event(disable_timing=True)
    event.record(side)
    return x, event


def test_a_copy_comes_late(pinned, side):
    x, event = copied(pinned, side)
    assert not event.done and not side.done
    assert np.isnan(float((x + 1)[0]))  # the compute stream did not wait
    side.synchronize()
    assert event.done and side.done and x.tolist() == [1, 2, 3, 4]


def test_waiting_for_the_event_is_enough_and_does_not_stop_the_host(pinned, side):
    x, event = copied(pinned, side)
    before = device.counters()["synchronizations"]
    cp.cuda.get_current_stream().wait_event(event)
    y = x + 1
    assert device.counters()["synchronizations"] == before
    assert y.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("wait", ["event", "stream", "device"])
def test_the_host_can_wait(pinned, side, wait):
    x, event = copied(pinned, side)
    before = device.counters()["synchronizations"]
    {
        "event": event.synchronize,
        "stream": side.synchronize,
        "device": cp.cuda.Device().synchronize,
    }[wait]()
    assert device.counters()["synchronizations"] == before + 1 and (x + 1).tolist() == [2, 3, 4, 5]


def test_a_pinned_buffer_filled_again_too_early(pinned, side):
    x, event = copied(pinned, side)
    pinned[...] = 9
    event.synchronize()
    assert x.tolist() == [9] * 4
    x, event = copied(pinned, side)
    event.synchronize()
    pinned[...] = 5
    assert x.tolist() == [9] * 4


def test_an_event_covers_what_came_before_it_alone(pinned, side):
    x, event = copied(pinned, side)
    y, later = copied(pinned, side)
    cp.cuda.get_current_stream().wait_event(event)
    assert (x + 0).tolist() == [1, 2, 3, 4] and np.isnan(float((y + 0)[0]))
    later.synchronize()


def test_a_copy_from_pageable_memory_blocks_the_host_and_is_counted(side):
    host, before = np.arange(4, dtype=np.float32), device.counters()
    x = cp.empty(4, np.float32)
    x.set(host, stream=side)
    host[...] = 9
    assert x.tolist() == [0, 1, 2, 3]
    assert device.counters()["copies_h2d_pageable"] == before["copies_h2d_pageable"] + 1
    assert device.counters()["bytes_h2d"] == before["bytes_h2d"] + 16


def test_pinned_copies_are_counted_apart(pinned, side):
    before = device.counters()
    copied(pinned, side)
    after = device.counters()
    assert after["copies_h2d"] == before["copies_h2d"] + 1
    assert after["copies_h2d_pageable"] == before["copies_h2d_pageable"]
    side.synchronize()


def test_the_null_stream_waits_for_blocking_streams_only(pinned):
    for non_blocking in (False, True):
        stream = cp.cuda.Stream(non_blocking=non_blocking)
        x, _ = copied(pinned, stream)
        assert np.isnan(float((x + 1)[0])) == non_blocking
        stream.synchronize()


def test_even_on_the_null_stream_a_pinned_copy_may_be_late(pinned):
    x = cp.empty(4, np.float32)
    x.set(pinned, stream=cp.cuda.Stream.null)
    pinned[...] = 9
    assert (x + 0).tolist() == [9] * 4


def test_memory_freed_while_a_copy_is_under_way_lives_on(pinned, side):
    x, event = copied(pinned, side)
    source = pinned.copy()
    del x, pinned
    event.synchronize()
    assert source.tolist() == [1, 2, 3, 4]


def test_products_wait_for_their_stream(pinned, side):
    a = cp.empty((2, 2), np.float32)
    with side:
        a.set(pinned.reshape(2, 2))
        b = a @ a
    side.synchronize()
    assert b.tolist() == [[7, 10], [15, 22]]


def test_a_computation_on_a_side_stream(side):
    with side:
        x = cp.arange(3) + 1
    side.synchronize()
    assert x.tolist() == [1, 2, 3]


def test_copies_back(side):
    x = cp.arange(4, dtype=np.float32)
    host = cupyx.empty_pinned((4,), np.float32)
    host[...] = 0
    x.get(out=host, stream=side, blocking=False)
    assert host.tolist() == [0] * 4
    side.synchronize()
    assert host.tolist() == [0, 1, 2, 3]
