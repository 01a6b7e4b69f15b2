"""Dropout: what it keeps, what its mask depends on, and who counts its steps."""

import math

import numpy as np
import pytest

from chunked import BatchGradient
from device import assert_allclose, assert_array_equal, on_device, on_host
from layer_cases import to_form
from minialex import gradcheck
from minialex.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from minialex.params import named_arrays, zeros_like

BOTH = pytest.mark.parametrize("form", ["plain", "auto"])


def ones(*shape, dtype=np.float32):
    return on_device(np.ones(shape, dtype=dtype))


@BOTH
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.999999])
def test_dropout(p, form):
    layer = to_form(Dropout(p, seed=3), form)
    x = on_device(np.full((200, 1000), 2.0))
    y = on_host(layer(x))
    kept = y != 0
    assert np.allclose(y[kept], y.max())  # one factor for all that stay
    if p < 0.99:
        assert kept.mean() == pytest.approx(1 - p, abs=5 * math.sqrt(p * (1 - p) / x.size) + 1e-5)
        np.testing.assert_allclose(y[kept], 2 / (1 - p), rtol=1e-4)  # p in steps of 1/65536
        assert y.mean() == pytest.approx(2, rel=0.02)
    assert layer.train(False)(x) is x
    assert_array_equal(layer.backward(x, layer.forward(x)[1], {}), x)


@BOTH
def test_dropout_mask_depends_on_seed_stream_and_step_alone(form):
    x = on_device(np.ones((50, 40), dtype=np.float32))

    def mask(seed=1, stream=2, step=3):
        layer = to_form(Dropout(0.5, seed=seed), form)
        layer.stream = stream
        layer.set_step(step)
        return layer(x)

    assert np.array_equal(mask(), mask())
    high = 1 << 32
    for other in ({"seed": 2}, {"stream": 3}, {"step": 4}, {"step": 3 + high}, {"seed": 1 + high}):
        assert 0.4 < (mask(**other) == mask()).mean() < 0.6
    layer = to_form(Sequential(ReLU(), Dropout(0.5), Dropout(0.5, seed=1)), form)
    layer[1].p = 0
    layer.set_step(3)  # passed on; the second of the Dropouts has stream 2
    assert np.array_equal(layer(x), mask())
    assert layer.train(False)(x).all() and not layer.train()(x).all()


@BOTH
def test_two_dropouts_of_one_half_keep_a_quarter(form):
    for layer in (
        Sequential(Dropout(0.5), Dropout(0.5)),
        Sequential(Sequential(Dropout(0.5)), Sequential(Sequential(Dropout(0.5)))),
    ):
        y = on_host(to_form(layer, form)(ones(200, 1000)))
        assert (y != 0).mean() == pytest.approx(0.25, abs=0.005) and set(np.unique(y)) == {0, 4}


def test_containers_number_the_random_layers_inside_and_dropouts_by_themselves_differ():
    inner = Sequential(Dropout(), ReLU(), Dropout())
    outer = Sequential(Dropout(), inner, Dropout())
    streams = [layer.stream for _, layer in outer.leaves() if hasattr(layer, "stream")]
    assert streams == [1, 2, 3, 4]
    assert Dropout().stream != Dropout().stream


@BOTH
def test_two_training_steps_drop_other_numbers(form):
    layer, x = to_form(Dropout(0.5), form), ones(50, 40)
    first, second = layer(x), layer(x)
    assert 0.4 < (first == second).mean() < 0.6 and layer.step == 2
    layer.set_step(0)
    assert np.array_equal(layer(x), first) and np.array_equal(layer(x), second)


@BOTH
@pytest.mark.parametrize("shape", [(8, 5), (8, 3, 2, 7)])
def test_set_step_lets_a_batch_be_taken_in_parts(form, shape):
    layer = to_form(Sequential(ReLU(), Dropout(0.5), Dropout(0.3)), form)
    x = on_device(np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32))
    layer.set_step(5)
    whole = on_host(layer(x))
    parts = []
    for first, last in ((0, 1), (1, 4), (4, 8)):
        layer.set_step(5, first)
        parts.append(on_host(layer(x[first:last])))
    assert np.array_equal(np.concatenate(parts), whole)
    assert [(leaf.step, leaf.first) for leaf in layer.layers[1:]] == [(6, 0), (6, 0)]
    assert not np.array_equal(on_host(layer(x)), whole)


@BOTH
def test_evaluation_draws_nothing_and_counts_nothing(form, monkeypatch):
    layer, x = to_form(Sequential(Dropout(0.5), Dropout(0.0)), form).train(False), ones(3, 4)
    monkeypatch.setattr("minialex.layers.dropout.random_uint16", None)
    monkeypatch.setattr("minialex.gpu.dropout.DROPOUT", None)
    y, cache = layer.forward(x)
    assert y is x and layer(x) is x and layer[0].step == 0
    assert_array_equal(layer.backward(x, cache, {}), x)
    layer[1].train()
    assert layer(x) is x and layer[1].step == 0  # p is 0


@BOTH
def test_gradcheck_holds_the_step(form):
    layer = to_form(Dropout(0.5), form)
    layer.set_step(3)
    assert gradcheck(layer, ones(4, 10))
    assert layer.step == 3


def classifier():
    rng = np.random.default_rng(0)
    return Sequential(
        Linear(12, 40, rng=rng), ReLU(), Dropout(0.5), Linear(40, 30, rng=rng), ReLU(),
        Dropout(0.3), Linear(30, 3, rng=rng),
    )  # fmt: skip


@BOTH
def test_chunks_hold_the_step(form):
    """The same mask, and so the same gradient, however a batch is cut."""
    rng = np.random.default_rng(1)
    x, labels = on_device(rng.standard_normal((10, 12))), on_device(rng.integers(0, 3, 10))
    found = []
    for chunk in (10, 3, 1):
        model = to_form(classifier().to(dtype=np.float64), form)
        gradient = BatchGradient(model, chunk, 10)
        for step in (4, 5):
            gradient(x, labels, step)
            found.append(on_host(gradient.g).copy())
    for a, b in zip(found[:2] * 2, found[2:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
    assert not np.allclose(found[0], found[1], atol=1e-3)


def test_a_dropout_among_convolutions_gives_the_same_numbers_accelerated_and_plain(monkeypatch):
    monkeypatch.setattr("minialex.fast.sequential.GROUP", 2)
    results = []
    for form in ("plain", "auto"):
        rng = np.random.default_rng(0)
        layer = Sequential(
            Conv2d(2, 4, 3, padding=1, rng=rng), ReLU(), Dropout(0.5, seed=7),
            Conv2d(4, 3, 3, rng=rng), ReLU(), MaxPool2d(2), Flatten(), Linear(12, 2, rng=rng),
        )  # fmt: skip
        layer = to_form(layer.to(dtype=np.float64), form)
        x = on_device(rng.standard_normal((7, 7, 7, 2)))
        for _ in range(2):  # two steps
            y, cache = layer.forward(x)
            grad = zeros_like(layer.params)
            dx = layer.backward(y, cache, grad)
            results.append([y, dx, *(owner[key] for owner, key, _ in named_arrays(grad))])
    for plain, fast in zip(results[:2], results[2:], strict=True):
        for a, b in zip(plain, fast, strict=True):
            assert_allclose(b, a, rtol=0, atol=1e-12)
    assert not np.array_equal(results[0][0], results[1][0])
