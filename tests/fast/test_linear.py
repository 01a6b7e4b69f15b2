"""Large dense layers are cut into slices: the page's numbers, whoever computes which of them."""

import numpy as np
import pytest

from minialex.attach import accelerate, plain
from minialex.fast import linear, threads
from minialex.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from minialex.params import zeros_like


@pytest.fixture(autouse=True)
def small_ones_are_large(monkeypatch):
    monkeypatch.setattr(linear, "LEAST", 20)


def made(D, F, N, dtype=np.float32, **how):
    """An accelerated layer, x and dy."""
    rng = np.random.default_rng(D)
    layer = accelerate(Linear(D, F, rng=rng, **how).to(dtype=dtype))
    return (
        layer,
        rng.standard_normal((N, D)).astype(dtype),
        rng.standard_normal((N, F)).astype(dtype),
    )


def passes(layer, x, dy):
    y, cache = layer.forward(x)
    grad = zeros_like(layer.params)
    return [y, layer.backward(dy, cache, grad), *grad.values()]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("D, F, N", [(20, 20, 1), (61, 33, 5), (200, 300, 40), (90, 20, 100)])
def test_the_numbers_are_the_pages(D, F, N, bias):
    layer, *arrays = made(D, F, N, np.float64, bias=bias)
    assert len(linear.slices(layer.params["weight"])) == linear.SLICES
    found = passes(layer, *arrays)
    for a, b in zip(found, passes(plain(layer), *arrays), strict=True):
        assert a.flags.c_contiguous
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * abs(b).max())


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    layer, *arrays = made(300, 200, 64)
    found = set()
    for count in (1, 2, 3, 5):
        monkeypatch.setattr(threads, "_limit", count)
        found.add(b"".join(a.tobytes() for a in passes(layer, *arrays)))
    assert len(found) == 1


def test_some_of_the_slices_have_the_bits_of_all():
    layer, x, dy = made(300, 200, 64)
    weight = layer.params["weight"]
    y, dx, dweight, _ = passes(layer, x, dy)
    cut = linear.slices(weight)
    total = 0
    for own in (cut[:3], cut[3:4], cut[4:]):
        rows, into = slice(own[0].start, own[-1].stop), np.zeros_like(weight)
        for term in linear.terms(x, weight, own):
            total = total + term
        np.testing.assert_array_equal(linear.gradients(dy, x, weight, into, own), dx[:, rows].T)
        np.testing.assert_array_equal(into[rows], dweight[rows])
        assert not into[: rows.start].any() and not into[rows.stop :].any()
    np.testing.assert_array_equal(total.T, y)


def test_only_layers_with_many_inputs_and_outputs_are_cut():
    sizes = (20, 20), (19, 400), (400, 19)
    assert [len(linear.slices(np.empty(size))) for size in sizes] == [linear.SLICES, 0, 0]


def test_without_a_derivative_of_the_input_none_is_made():
    layer, x, dy = made(40, 30, 3)
    layer.input_grad = False
    _, dx, *gradients = passes(layer, x, dy)
    assert dx is None
    layer.input_grad = True
    for a, b in zip(gradients, passes(layer, x, dy)[2:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_micro_batches_end_where_a_large_layer_begins():
    convolutions = Conv2d(2, 4, 3), ReLU(), MaxPool2d(2), Flatten()
    model = accelerate(Sequential(*convolutions, Linear(36, 19), Linear(19, 30)))
    assert model.head == 6
    model = accelerate(Sequential(*convolutions, Sequential(ReLU(), Linear(36, 20)), ReLU()))
    assert model.head == 4
