"""Micro-batches: the page's numbers, in fixed groups, to the bit on any number of threads."""

import threading
import time

import numpy as np
import pytest

from minialex.attach import accelerate, plain
from minialex.fast import threads
from minialex.fast.sequential import add, groups_of
from minialex.fast.threads import GROUP
from minialex.layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from minialex.layers.layer import check_input
from minialex.params import zeros_like


def network(dtype=np.float64):
    rng = np.random.default_rng(0)
    convolutions = Conv2d(2, 4, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2)
    layers = *convolutions, Flatten(), Linear(4 * 4 * 4, 30, rng=rng), ReLU(), Dropout(0.3)
    return Sequential(*layers, Linear(30, 3, rng=rng)).to(dtype=dtype)


def run(model, N=2 * GROUP + 5, dtype=np.float64):
    """y, dx, and the gradients, in this order."""
    rng = np.random.default_rng(N)
    x = rng.standard_normal((N, 8, 8, 2)).astype(dtype)
    model.set_step(0)
    y, cache = model.forward(x)
    dy, grad = rng.standard_normal(y.shape).astype(dtype), zeros_like(model.params)
    dx = model.backward(dy, cache, grad)
    return [y, dx] + [array for part in grad.values() for array in part.values()]


@pytest.mark.parametrize("N", [1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP + 2])
def test_the_numbers_are_the_pages(N):
    model = network()
    want = run(model, N)
    accelerate(model)
    assert model.head == 6  # all but the Dropout and what follows it
    for a, b in zip(run(model, N), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * abs(b).max())
    x = np.random.default_rng(1).standard_normal((N, 8, 8, 2))
    model.train(False)
    np.testing.assert_allclose(model(x), plain(model)(x), rtol=0, atol=1e-12)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    model, found = accelerate(network(np.float32)), []
    for count in (1, 2, 3, 4):
        monkeypatch.setattr(threads, "_limit", count)
        found.append(b"".join(a.tobytes() for a in run(model, 7 * GROUP + 3, np.float32)))
    assert len(set(found)) == 1


def test_groups_have_a_fixed_size():
    assert [g.stop - g.start for g in groups_of(2 * GROUP + 3)] == [GROUP, GROUP, 3]
    assert groups_of(GROUP) == [slice(0, GROUP)] and groups_of(0) == [slice(0, 0)]


class Asked(Layer):
    """Calls f(k) in the backward pass of group k, which dy holds."""

    per_image = True

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return x, None

    def backward(self, dy, cache, grad):
        self.f(int(dy[0, 0, 0, 0]))
        return dy


def bias_gradient(f, groups=6):
    """That of a convolution: the sum of all dy, where those of group k are k."""
    conv = Conv2d(2, 2, 1, rng=np.random.default_rng(0))
    model = accelerate(Sequential(conv, Asked(f)).to(dtype=np.float64))
    assert model.head == 2
    y, cache = model.forward(np.ones((groups * GROUP, 1, 1, 2)))
    dy, grad = np.empty_like(y), zeros_like(model.params)
    dy[...] = np.arange(groups).repeat(GROUP).reshape(-1, 1, 1, 1)
    model.backward(dy, cache, grad)
    return grad["0"]["bias"]


def test_gradients_are_added_in_the_order_of_the_groups(monkeypatch):
    monkeypatch.setattr(threads, "_limit", 3)
    order = []

    def note(total, part):
        order.append(part["0"]["bias"][0] / GROUP)
        add(total, part)

    monkeypatch.setattr("minialex.fast.sequential.add", note)
    found = bias_gradient(lambda k: time.sleep(0.02 / (k + 1)))  # the last group is ready first
    assert order == [1, 2, 3, 4, 5] and found.tolist() == [15 * GROUP] * 2


@pytest.mark.parametrize("bad", [0, 1, 5])
def test_an_error_in_one_group_reaches_the_caller_and_lets_nobody_wait(monkeypatch, bad):
    monkeypatch.setattr(threads, "_limit", 3)
    done = []

    def call():
        with pytest.raises(ZeroDivisionError):
            bias_gradient(lambda k: 1 // (k - bad))
        done.append(True)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(10)
    assert done


class Mixing(Layer):
    """Subtracts the mean over the batch: a layer that mixes images."""

    def forward(self, x):
        check_input(self, x)
        return x - x.mean(axis=0), None

    def backward(self, dy, cache, grad):
        return dy - dy.mean(axis=0)


def test_micro_batches_end_before_a_layer_that_needs_the_whole_batch():
    rng = np.random.default_rng(0)

    def convolution():
        return Conv2d(2, 2, 3, padding=1, rng=rng)

    model = Sequential(convolution(), ReLU(), Mixing(), convolution(), ReLU()).to(dtype=np.float64)
    want = run(model)
    accelerate(model)
    assert model.head == 2
    for a, b in zip(run(model), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * abs(b).max())


def test_a_dropout_among_convolutions_draws_one_mask_for_the_batch():
    rng = np.random.default_rng(0)
    layers = Conv2d(2, 2, 3, rng=rng), Dropout(0.5), Conv2d(2, 2, 3, rng=rng)
    model = Sequential(*layers).to(dtype=np.float64)
    want = run(model)
    accelerate(model)
    assert model.head == 1
    for a, b in zip(run(model), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * abs(b).max())


def test_a_convolution_that_stands_twice_has_weights_for_each_of_its_tiles():
    conv = Conv2d(4, 4, 3, rng=np.random.default_rng(0))
    model = Sequential(conv, ReLU(), MaxPool2d(4), conv).to(dtype=np.float64)
    x = np.random.default_rng(1).standard_normal((3, 66, 66, 4))
    want = model(x)
    accelerate(model, algorithm="winograd")
    sizes = [conv.plan((3, side, side, 4)).m for side in (66, 16)]
    assert sizes == [(4, 4), (5, 4)]
    for y in (model(x), model.forward(x)[0]):
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-12 * abs(want).max())
