"""A ReLU that its neighbours do (see gpu/sequential.py): the model computes what its pages compute.

With whole numbers, where that is the same to the last bit, zeros and NaN included.
"""

import copy
import math

import numpy as np
import pytest

from device import on_device, on_host
from minialex.attach import accelerate, plain
from minialex.gpu.sequential import Sequential as OnGpu
from minialex.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool2d,
    LeakyReLU,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.params import family, named_arrays, zeros_like

ALGORITHMS = ("auto", "implicit", "im2col")


def conv(C, F, K=3, S=1, P=1, groups=1, bias=True):
    """A convolution whose weights are 0, 1 and -1."""
    layer, rng = Conv2d(C, F, K, S, P, groups, bias=bias), np.random.default_rng(C * F)
    for value in layer.params.values():
        value[...] = rng.integers(-1, 2, value.shape)
    return layer


class OwnConv(Conv2d):
    """Somebody's own layer: it has no twin, and knows of no neighbours."""


def own_conv(C, F):
    layer = OwnConv(C, F, 3, 1, 1)
    layer.params = conv(C, F).params
    return layer


def twice(joint, *layers):
    """A model in which `joint` stands for each None."""
    return Sequential(*(joint if layer is None else layer for layer in layers))


# name: (how many ReLUs are joined, the model)
MODELS = {
    "like AlexNet": lambda: (3, Sequential(
        conv(3, 8, 5, 2, 0), ReLU(), MaxPool2d(3, 2), conv(8, 12, groups=2), ReLU(), conv(12, 8),
        ReLU(), MaxPool2d(2, 2))),
    "ends with a ReLU": lambda: (1, Sequential(conv(3, 5), ReLU(), conv(5, 6, 2), ReLU())),
    "begins with a ReLU": lambda: (1, Sequential(ReLU(), conv(3, 4), ReLU(), conv(4, 4))),
    "a stride, and a kernel below it": lambda: (2, Sequential(
        conv(3, 8, 1, 2, 0), ReLU(), conv(8, 8, 2, 3, 1), ReLU(), MaxPool2d(2, 1, 1))),
    "pairs, no bias, and windows over the edge": lambda: (2, Sequential(
        conv(3, 8, (3, 1), (1, 2), (1, 0), bias=False), ReLU(), conv(8, 4, (1, 3), 1, (0, 1)),
        ReLU(), MaxPool2d((3, 2), (2, 1), (1, 0), ceil_mode=True))),
    "a ReLU that leaks": lambda: (1, Sequential(
        conv(3, 4), LeakyReLU(0.5), conv(4, 4), ReLU(), conv(4, 4), LeakyReLU(0), MaxPool2d(2))),
    "pooling that averages": lambda: (0, Sequential(
        conv(3, 8), ReLU(), AvgPool2d(2), conv(8, 4), ReLU(), AvgPool2d(2))),
    "two ReLUs": lambda: (0, Sequential(conv(3, 8), ReLU(), ReLU(), conv(8, 4))),
    "a ReLU that stands twice": lambda: (3, twice(
        ReLU(), conv(3, 4), None, conv(4, 4), None, conv(4, 4), ReLU(), conv(4, 2))),
    "a convolution that stands twice": lambda: (2, twice(
        conv(3, 3), None, ReLU(), None, ReLU(), MaxPool2d(2))),
    "pooling that stands twice": lambda: (2, twice(
        MaxPool2d(2), conv(3, 4), ReLU(), None, conv(4, 4), ReLU(), conv(4, 3), None)),
    "Sequentials inside": lambda: (0, Sequential(
        Sequential(conv(3, 4), ReLU(), conv(4, 4), ReLU()), conv(4, 4), Sequential(ReLU()))),
    "a layer of one's own": lambda: (0, Sequential(
        conv(3, 4), ReLU(), own_conv(4, 4), ReLU(), MaxPool2d(2))),
}  # fmt: skip


def images(dtype=np.float32):
    return np.random.default_rng(1).integers(-2, 3, (2, 15, 14, 3)).astype(dtype)


def passes(model, x):
    """y, dx and the gradients, as NumPy arrays."""
    y, cache = model.forward(x)
    dy = np.random.default_rng(2).integers(-2, 3, y.shape).astype(x.dtype)
    grad = zeros_like(model.params)
    dx = model.backward(dy if isinstance(x, np.ndarray) else on_device(dy), cache, grad)
    found = {name: owner[key] for owner, key, name in named_arrays(grad)}
    return {key: on_host(array) for key, array in {"y": y, "dx": dx, **found}.items()}


def assert_same(ours, theirs, tolerance=0.0):
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        atol = tolerance * abs(array).max() if tolerance else 0
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=atol, err_msg=name)


def joined(model):
    """How many ReLUs their neighbours do."""
    return sum(len(part.joined()) for part in family(model) if isinstance(part, OnGpu))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_that_of_the_pages(name, algorithm):
    count, model = MODELS[name]()
    expected = passes(model, images())
    assert all(np.any(array) for array in expected.values())
    accelerate(model.to("gpu"), algorithm=algorithm)
    assert joined(model) == count
    assert_same(passes(model, on_device(images())), expected)
    assert joined(plain(model)) == 0
    assert_same(passes(model, on_device(images())), expected)


@pytest.mark.parametrize("last", [conv(8, 4), MaxPool2d(2)], ids=["conv", "pool"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nan_passes_as_it_does_through_the_pages(algorithm, last):
    model, x = Sequential(conv(3, 8), ReLU(), copy.deepcopy(last)), images()
    x[0, 0, 0, 0] = math.nan
    expected = passes(model, x)
    assert np.isnan(expected["y"]).any() and not np.isnan(expected["y"]).all()
    accelerate(model.to("gpu"), algorithm=algorithm)
    assert joined(model) == 1
    assert_same(passes(model, on_device(x)), expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_gradient_that_is_nan_stops_at_closed_units(algorithm):
    model = accelerate(Sequential(conv(3, 4), ReLU(), conv(4, 4)).to("gpu"), algorithm=algorithm)
    y, cache = model.forward(on_device(images()))
    grad = zeros_like(model.params)
    dx = model.backward(y * math.nan, cache, grad)
    assert np.isnan(on_host(dx)).any()
    closed = Sequential(conv(3, 4), ReLU(), conv(4, 4))
    closed.layers[0].params["bias"][...] = -99  # no unit is open
    accelerate(closed.to("gpu"), algorithm=algorithm)
    y, cache = closed.forward(on_device(images()))
    dx = closed.backward(y * math.nan, cache, zeros_like(closed.params))
    assert not on_host(dx).any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_float64(algorithm):
    count, model = MODELS["like AlexNet"]()
    model.to(dtype=np.float64)
    expected = passes(model, images(np.float64))
    accelerate(model.to("gpu"), algorithm=algorithm)
    assert joined(model) == count
    found = passes(model, on_device(images(np.float64)))
    assert_same(found, expected)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float64)}


def test_lrn_between():
    model = Sequential(
        conv(3, 8), ReLU(), LocalResponseNorm(5), MaxPool2d(3, 2), conv(8, 4), ReLU(), conv(4, 4)
    )
    expected = passes(model, images())
    accelerate(model.to("gpu"))
    assert joined(model) == 1
    assert_same(passes(model, on_device(images())), expected, 1e-5)


def test_younger_layers_between():
    model = Sequential(
        conv(3, 8), ReLU(), BatchNorm2d(8), ReLU(), conv(8, 4, bias=False), BatchNorm2d(4), ReLU(),
        conv(4, 4), ReLU(), conv(4, 4), ReLU(), GlobalAvgPool2d(),
    )  # fmt: skip
    expected = passes(copy.deepcopy(model), images())
    accelerate(model.to("gpu"))
    assert joined(model) == 1
    assert_same(passes(model, on_device(images())), expected, 1e-4)


@pytest.mark.parametrize("name", ["like AlexNet", "a convolution that stands twice"])
def test_a_model_that_moves(name):
    count, model = MODELS[name]()
    expected = passes(model, images())
    on_cpu, on_gpu = accelerate(copy.deepcopy(model)), accelerate(model.to("gpu"))
    for moving in (on_cpu.to("gpu"), on_gpu.to("cpu").to("gpu")):
        assert joined(moving) == count
        assert_same(passes(moving, on_device(images())), expected)
        assert joined(moving.to("cpu")) == 0
        assert_same(passes(moving, images()), expected, 1e-5)  # Winograd's method rounds


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_without_input_gradient(algorithm):
    _, model = MODELS["like AlexNet"]()
    expected = passes(model, images())
    accelerate(model.to("gpu"), algorithm=algorithm, input_grad=False)
    found = passes(model, on_device(images()))
    assert found.pop("dx") is None and expected.pop("dx") is not None
    assert_same(found, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_layers_that_are_run_one_by_one_are_those_of_the_pages(algorithm):
    """As pictures do that look at every layer, and whoever takes a model apart."""
    count, model = MODELS["like AlexNet"]()
    found = []
    for device in ("cpu", "gpu"):
        if device == "gpu":
            accelerate(model.to("gpu"), algorithm=algorithm)
            assert joined(model) == count
        x, outputs, caches = images(), [], []
        x = on_device(x) if device == "gpu" else x
        for layer in model.layers:
            x, cache = layer.forward(x)
            outputs.append(on_host(x).copy() if type(layer).__name__ != "Conv2d" else None)
            caches.append(cache)
        dy = np.random.default_rng(2).integers(-2, 3, x.shape).astype(np.float32)
        dy, gradients = on_device(dy) if device == "gpu" else dy, []
        for layer, cache in zip(reversed(model.layers), reversed(caches), strict=True):
            dy = layer.backward(dy, cache, zeros_like(layer.params))
            gradients.append(on_host(dy).copy())
        found.append([*(y for y in outputs if y is not None), *gradients])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_output_alone(algorithm):
    _, model = MODELS["like AlexNet"]()
    expected = model(images())
    accelerate(model.to("gpu"), algorithm=algorithm)
    np.testing.assert_array_equal(on_host(model(on_device(images()))), expected)
