"""Layers inside layers: names, shapes, costs, and all parameters as one vector."""

import numpy as np

from device import assert_array_equal, on_device, on_host
from minialex.layers import (
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.params import count_parameters, dict_like, flatten, named_arrays
from minialex.use.summary import multiply_adds


def rng():
    return np.random.default_rng(0)


def network():
    features = Sequential(Conv2d(2, 4, 3, padding=1, rng=rng()), ReLU(), MaxPool2d(2))
    return on_device(Sequential(features, Flatten(), Linear(16, 3, rng=rng()), Dropout(0.5)))


def test_names_shapes_and_costs():
    layer = network()
    names = [name for _, _, name in named_arrays(layer.params)]
    assert names == ["0.0.weight", "0.0.bias", "2.weight", "2.bias"]
    assert [name for name, _ in layer.leaves()] == ["0.0", "0.1", "0.2", "1", "2", "3"]
    assert count_parameters(layer.params) == 72 + 4 + 48 + 3
    assert layer.output_shape((4, 4, 2)) == (3,)
    assert layer(on_device(np.zeros((5, 4, 4, 2), dtype=np.float32))).shape == (5, 3)
    assert multiply_adds(layer[0][0], (4, 4, 2)) == 4 * 4 * 72
    assert multiply_adds(layer[2], (16,)) == 48
    assert layer[2] is layer.layers[2] and "(3): Dropout(0.5)" in repr(layer)


def test_flatten_makes_views_of_one_vector():
    layer = network()
    before = [owner[key].copy() for owner, key, _ in named_arrays(layer.params)]
    theta = flatten(layer)
    assert theta.shape == (127,) and theta.dtype == np.float32
    assert_array_equal(theta, np.concatenate([on_host(array).ravel() for array in before]))
    for owner, key, _ in named_arrays(layer.params):
        assert np.may_share_memory(owner[key], theta)
    theta[...] = 7
    assert (layer[0][0].params["weight"] == 7).all() and (layer[2].params["bias"] == 7).all()

    g = np.zeros_like(theta)
    grad = dict_like(layer.params, g)
    assert [owner[key].shape for owner, key, _ in named_arrays(grad)] == [a.shape for a in before]
    y, cache = layer.forward(on_device(np.ones((2, 4, 4, 2), dtype=np.float32)))
    layer.backward(np.ones_like(y), cache, grad)
    assert np.array_equal(g[-3:], grad["2"]["bias"]) and g.any()


def test_to_another_dtype():
    layer = network().to(dtype=np.float64)
    assert all(owner[key].dtype == np.float64 for owner, key, _ in named_arrays(layer.params))
    assert flatten(layer).dtype == np.float64


def test_sequential_is_its_layers_in_turn():
    layer = network().train(False)
    x = on_device(rng().standard_normal((2, 4, 4, 2)).astype(np.float32))
    y = x.copy()
    for part in [*layer[0].layers, *layer.layers[1:]]:
        y = part(y)
    assert np.array_equal(layer(x), y) and np.array_equal(layer.forward(x)[0], y)
    assert not layer[3].training and layer.train()[3].training
