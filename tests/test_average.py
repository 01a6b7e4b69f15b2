"""The average of the weights over the steps: its formula, its block, and a model that moves."""

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from device import DEVICE, assert_allclose, assert_array_equal, on_device, on_host
from minialex.errors import ConfigError
from minialex.optim import EMA
from minialex.params import flatten
from minialex.train.checkpoint import state_dict


def network():
    rng = np.random.default_rng(0)
    return mx.Sequential(
        mx.Conv2d(3, 4, 3, rng=rng), mx.layers.BatchNorm2d(4), mx.ReLU(), mx.Flatten(),
        mx.Linear(36, 2, rng=rng),
    ).to(DEVICE)  # fmt: skip


def steps(model, optimizer, average, count=5):
    """Theta after each of `count` steps of training."""
    rng, found = np.random.default_rng(1), []
    for _ in range(count):
        x = on_device(rng.standard_normal((4, 5, 5, 3), dtype=np.float32))
        logits, cache = model.forward(x)
        _, dlogits = mx.softmax_cross_entropy(logits, on_device(np.arange(4) % 2))
        model.backward(dlogits, cache, optimizer.grad)
        optimizer.step()
        average.update()
        found.append(on_host(optimizer.theta).astype(np.float64))
    return found


@pytest.mark.parametrize("form", [mx.plain, mx.accelerate])
@pytest.mark.parametrize("decay", [0, 0.5, 0.9])
def test_it_is_the_formula_and_training_does_not_see_it(decay, form):
    model = form(network())
    optimizer = mx.SGD(model, lr=0.1)
    want = on_host(optimizer.theta).astype(np.float64)
    average = EMA(model, decay)
    thetas = steps(model, optimizer, average)
    for theta in thetas:
        want = want + (1 - decay) * (theta - want)
    assert average.average.dtype == np.float32
    assert_allclose(average.average, want, rtol=1e-5, atol=1e-6)
    alone = form(network())
    np.testing.assert_array_equal(steps(alone, mx.SGD(alone, lr=0.1), EMA(alone))[-1], thetas[-1])


def test_inside_its_block_the_model_has_the_averaged_weights():
    model = network()
    optimizer = mx.Adam(model, lr=0.01)
    average = EMA(model, 0.8)
    steps(model, optimizer, average)
    own, mean, before = optimizer.theta.copy(), average.average.copy(), state_dict(model)
    with pytest.raises(KeyError), average as inside:
        assert inside is model and optimizer.theta is flatten(model)
        assert_array_equal(optimizer.theta, mean)
        with refused(RuntimeError, "EMA: ", "outside"):
            average.update()
        raise KeyError
    assert_array_equal(optimizer.theta, own)
    assert_array_equal(average.average, mean)
    for name, array in state_dict(model).items():
        np.testing.assert_array_equal(array, before[name])
    steps(model, optimizer, average, 1)


def test_it_follows_a_model_that_moves():
    model = network()
    average = EMA(model, 0.5)
    first = on_host(average.average)
    model.to("cpu", np.float64)
    with average:
        weights = flatten(model)
        assert weights.dtype == np.float64
        np.testing.assert_array_equal(weights, first)
    average.update()
    assert average.average.dtype == np.float64 and isinstance(average.average, np.ndarray)


def test_the_block_evaluates_the_average(tmp_path):
    model = network()
    average = EMA(model, 0.9)
    samples = [(np.full((5, 5, 3), i % 2, np.float32), i % 2) for i in range(8)]
    steps(model, mx.Adam(model, lr=0.01), average)
    with average:
        inside = mx.evaluate(model, mx.DataLoader(samples, 4))
        mx.save(tmp_path / "average.safetensors", model)
    loaded = mx.load(tmp_path / "average.safetensors", device=DEVICE)
    assert mx.evaluate(loaded, mx.DataLoader(samples, 4)) == pytest.approx(inside, rel=1e-5)


@pytest.mark.parametrize("decay", [1, -0.1, "0.9", None, np.nan])
def test_a_decay_that_cannot_work_is_one_line(decay):
    with refused(ConfigError, "decay must be at least 0 and below 1"):
        EMA(network(), decay)


def test_what_is_no_model_is_refused():
    with refused(TypeError, "EMA: expected a model, got SGD"):
        EMA(mx.SGD(network()))
