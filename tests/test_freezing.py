"""Rates, decays and freezing by name: each run of theta gets what an optimizer of its own gives."""

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from device import DEVICE, on_device, on_host
from dots import network
from minialex.attach import device_of
from minialex.errors import ConfigError
from minialex.params import named_arrays
from minialex.xp import to_device

MAKE = {
    "sgd": lambda model, **options: mx.SGD(model, **options),
    "adam": lambda model, **options: mx.Adam(model, **options),
    "adamw": lambda model, **options: mx.Adam(model, decoupled=True, **options),
}
each = pytest.mark.parametrize("name", MAKE)
forms = pytest.mark.parametrize("form", [mx.plain, mx.accelerate])


def arrays(params):
    return {name: own[key] for own, key, name in named_arrays(params)}


def backward(model, grad):
    x = np.random.default_rng(1).standard_normal((8, 8, 8, 3)).astype(np.float32)
    x, labels = (to_device(a, device_of(model)) for a in (x, np.arange(8) % 2))
    logits, cache = model.forward(x)
    _, dlogits = mx.softmax_cross_entropy(logits, labels)
    model.backward(dlogits, cache, grad)


def by_hand(name, options, form, steps=5):
    """The parameters after steps of an optimizer for each array; `options` gives its own, or None
    for one that is frozen.
    """
    model = network()
    grad = mx.zeros_like(model.params)
    own = {key: array.reshape(-1) for key, array in arrays(model.params).items()}
    made = {key: MAKE[name](own[key], **options(key)) for key in own if options(key) is not None}
    form(model)
    for optimizer in made.values():
        form(model, optimizer)
    for _ in range(steps):
        backward(model, grad)
        for key, optimizer in made.items():
            optimizer.step(arrays(grad)[key].reshape(-1))
    return {key: on_host(array) for key, array in arrays(model.params).items()}


def trained(name, form, steps=5, **options):
    model = network()
    optimizer = MAKE[name](model, **options)
    form(model, optimizer)
    for _ in range(steps):
        backward(model, optimizer.grad)
        optimizer.step()
    return optimizer, {key: on_host(array) for key, array in arrays(model.params).items()}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[key], wanted[key]) for key in found), found


@each
@forms
@pytest.mark.parametrize("freeze", [["0.*"], ["2.*", "0.0.bias"], ["4.weight"], ["*.bias"]])
def test_what_is_frozen_stays_and_the_rest_is_as_by_hand(name, form, freeze):
    options = {"lr": 0.01, "weight_decay": 0.1}
    optimizer, found = trained(name, form, freeze=freeze, **options)
    start = {key: on_host(array) for key, array in arrays(network().params).items()}
    kept = {key for key in start if np.array_equal(start[key], found[key])}
    assert kept == optimizer.frozen
    wanted = by_hand(name, lambda key: None if key in optimizer.frozen else options, form)
    assert_same(found, wanted)
    left = sum(array.size for key, array in start.items() if key not in kept)
    assert all(v.size == left for v in (optimizer.g, *optimizer.state.values()))


@each
@forms
def test_rates_and_decays_by_name_are_those_of_optimizers_of_their_own(name, form):
    lr, decay = {"*.bias": 0.02, "0.*": 0.005, "*": 0.01}, {"*.bias": 0, "*": 0.5}
    optimizer, found = trained(name, form, lr=lr, weight_decay=decay, freeze="2.weight")

    def options(key):
        if key == "2.weight":
            return None
        bias = key.endswith("bias")
        rate = 0.02 if bias else 0.005 if key.startswith("0.") else 0.01
        return {"lr": rate, "weight_decay": 0 if bias else 0.5}

    assert_same(found, by_hand(name, options, form))
    assert optimizer.lr == 0.02 and optimizer.settings()["lr"] == lr
    assert "freeze=['2.weight']" in repr(optimizer)


def test_neighbours_with_equal_numbers_are_one_run_and_all_of_them_none():
    runs = mx.SGD(network(), lr={"0.*": 0.1, "*": 0.2}, freeze="2.bias")._runs
    assert [(run.start, run.stop, rate) for run, rate, _ in runs] == [
        (0, 112, 0.5), (112, 400, 1.0), (408, 426, 1.0)]  # fmt: skip
    assert mx.SGD(network(), lr={"0.*": 0.1, "*": 0.1})._runs == [(slice(0, 426), 1.0, 1.0)]


@each
def test_another_rate_changes_all_in_proportion(name):
    model = network()
    optimizer = MAKE[name](model, lr={"*.bias": 0.5, "*": 0.25})
    g = on_device(np.ones(426, np.float32))
    before = on_host(optimizer.theta).copy()
    optimizer.step(g, lr=0.125)
    moved = before - on_host(optimizer.theta)
    assert np.allclose(moved[:108], 0.0625, atol=1e-6) and np.allclose(moved[108:112], 0.125)


def test_a_frozen_model_moves_and_changes_its_dtype():
    model = network()
    optimizer = mx.Adam(model, freeze=["0.*", "2.weight"])
    backward(model, optimizer.grad)
    optimizer.step()
    model.to("cpu", np.float64)
    optimizer.step(np.ones(26))
    assert optimizer.state["m"].shape == (26,) and optimizer.theta.dtype == np.float64
    model.to(DEVICE, np.float32)
    backward(model, optimizer.grad)
    optimizer.step()
    assert optimizer.t == 3


@pytest.mark.parametrize("options, words", [
    ({"freeze": "feature.*"}, "freeze: the pattern 'feature.*' fits no parameter"),
    ({"freeze": ["0.*", "9"]}, "freeze: the pattern '9' fits no parameter"),
    ({"freeze": "*"}, "freeze leaves no parameter to train"),
    ({"lr": {"*.bais": 1, "*": 1}}, "lr: the pattern '*.bais' fits no parameter"),
    ({"lr": {"*.bias": 1}}, "no pattern for 0.0.weight; add '*'"),
    ({"lr": {"*": -1}}, "lr must be a number of 0 or more, got -1"),
    ({"weight_decay": {"*": "x"}}, "weight_decay must be a number of 0 or more, got 'x'"),
    ({"lr": {}}, "no pattern for"),
])  # fmt: skip
def test_mistakes_are_one_line(options, words):
    for make in (mx.SGD, mx.Adam):
        with refused(ConfigError, words):
            make(network(), **options)


def test_a_vector_of_ones_own_has_no_names():
    theta = on_device(np.ones(3))
    with refused(ConfigError, "the pattern '*.bias' fits no parameter"):
        mx.SGD(theta, freeze="*.bias")


def test_a_gradient_of_the_frozen_too_is_refused():
    optimizer = mx.SGD(network(), freeze="0.*")
    with refused(ValueError, "SGD: expected a gradient (314,) of float32, got (426,)"):
        optimizer.step(on_device(np.ones(426, np.float32)))
