"""An accelerated Sequential takes the batch in groups of images: the same numbers, to the bit."""

import numpy as np
import pytest

from cores import cores
from device import DEVICE, assert_allclose, on_device
from layer_cases import to_form
from minialex.fast.sequential import groups_of
from minialex.layers import Conv2d, MaxPool2d, ReLU, Sequential
from minialex.params import named_arrays, zeros_like
from minialex.use.summary import multiply_adds


def rng():
    return np.random.default_rng(0)


def features():
    return Sequential(Conv2d(2, 4, 3, padding=1, rng=rng()), ReLU(), MaxPool2d(2))


def passes(layer, x, dy):
    y, cache = layer.forward(x)
    grad = zeros_like(layer.params)
    dx = layer.backward(dy, cache, grad)
    return [y, dx, *(owner[key] for owner, key, _ in named_arrays(grad))]


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("N, size", [(1, 4), (2, 1), (7, 2), (12, 3), (5, 16)])
def test_micro_batches_are_the_plain_layer(workers, N, size, monkeypatch):
    monkeypatch.setattr("minialex.fast.sequential.GROUP", size)
    plain = on_device(features().to(dtype=np.float64))
    x = on_device(rng().standard_normal((N, 4, 4, 2)))
    dy = on_device(rng().standard_normal((N, 2, 2, 4)))
    layer = to_form(features().to(dtype=np.float64), "im2col")
    with cores(workers):
        for got, want in zip(passes(layer, x, dy), passes(plain, x, dy), strict=True):
            assert_allclose(got, want, rtol=0, atol=1e-13)
        assert_allclose(layer(x), plain(x), rtol=0, atol=1e-13)
    groups = groups_of(N)
    assert [i for group in groups for i in range(group.start, group.stop)] == list(range(N))
    assert all(0 < group.stop - group.start <= size for group in groups)
    assert layer.output_shape((4, 4, 2)) == (2, 2, 4)
    assert multiply_adds(layer[0], (4, 4, 2)) == 16 * 72


def test_micro_batches_repeat_to_the_bit_in_a_fixed_order(monkeypatch):
    monkeypatch.setattr("minialex.fast.sequential.GROUP", 2)
    x = on_device(rng().standard_normal((13, 4, 4, 2)).astype("f"))
    dy = on_device(rng().standard_normal((13, 2, 2, 4)).astype("f"))
    layer = to_form(Sequential(Conv2d(2, 4, 3, rng=rng())), "im2col")
    first = passes(layer, x, dy)
    for workers in (1, 2, 3, 4, 3):
        with cores(workers):
            again = passes(layer, x, dy)
            assert all(np.array_equal(a, b) for a, b in zip(again, first, strict=True))
    if DEVICE == "cpu":  # the sums of the groups are added in order
        parts = [passes(layer[0], x[group], dy[group])[2] for group in groups_of(13)]
        assert len(parts) == 7 and np.array_equal(first[2], sum(parts[1:], parts[0]))


@pytest.mark.parametrize("workers", [1, 2])
def test_micro_batches_pass_on_errors(workers, monkeypatch):
    monkeypatch.setattr("minialex.fast.sequential.GROUP", 1)
    layer = to_form(Sequential(Conv2d(1, 1, 1, rng=rng()), MaxPool2d(9)), "auto")
    x = on_device(np.zeros((4, 3, 3, 1), dtype=np.float32))
    with cores(workers):
        for call in (layer, layer.forward):
            with pytest.raises(ValueError, match=r"^MaxPool2d.*window does not fit"):
                call(x)


@pytest.mark.parametrize("workers", [1, 2])
def test_micro_batches_pass_on_errors_of_backward(workers, monkeypatch):
    monkeypatch.setattr("minialex.fast.sequential.GROUP", 1)
    layer = to_form(features(), "auto")
    x = on_device(np.zeros((4, 4, 4, 2), dtype=np.float32))
    with cores(workers):
        y, cache = layer.forward(x)
        with pytest.raises(ValueError, match="grad has no 'bias'"):
            layer.backward(y, cache, {"0": {"weight": zeros_like(layer.params)["0"]["weight"]}})
