"""An optimizer that cannot follow its model, or is told what cannot be, says so in one line."""

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from device import DEVICE, on_device
from dots import network
from minialex.train.memory import step_bytes


def grow(model):
    model.layers.append(mx.Linear(2, 2))


def shrink(model):
    del model[4].params["bias"]


def mix(model):
    model[4].params["bias"] = np.zeros(2, np.float64)


def no_array(model):
    model[4].params["bias"] = [0.0, 0.0]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (grow, ("the model had 426 parameters and has 432 now", "make a new optimizer")),
        (shrink, ("the model had 426 parameters and has 424 now", "make a new optimizer")),
        (mix, ("float32 and float64", "use model.to(dtype=...)")),
        (no_array, ("4.bias is no array, but list",)),
    ],
)
def test_a_model_that_cannot_be_followed_is_refused_each_time(spoil, words):
    model = network().to("cpu")
    optimizer = mx.Adam(model)
    spoil(model)
    for _ in range(2):
        with refused(ValueError, *words):
            optimizer.step()
        with refused(ValueError, *words):
            optimizer.grad  # noqa: B018
    assert optimizer.t == 0


def test_parameters_at_two_places_are_refused_since_half_of_their_gradient_would_be_lost():
    linear, other = mx.Linear(4, 4), mx.Linear(4, 4)
    words = ("2.weight and 0.weight are one array", "give each layer its own")
    with refused(ValueError, *words):
        mx.Adam(mx.Sequential(linear, mx.ReLU(), linear))
    other.params["weight"] = linear.params["weight"]
    with refused(ValueError, *words):
        mx.SGD(mx.Sequential(linear, mx.ReLU(), other))


class Replaces(mx.Linear):
    """Puts its own array into grad, where it should write into the one that is there."""

    def backward(self, dy, x, grad):
        grad["weight"], grad["bias"] = x.T @ dy, dy.sum(axis=0)
        return dy @ self.params["weight"].T


def test_a_gradient_that_was_replaced_and_would_not_be_seen_is_refused(tmp_path):
    model = on_device(mx.Sequential(mx.Conv2d(3, 4, 3), mx.Flatten(), Replaces(2704, 2)))
    optimizer = mx.SGD(model)
    images = [(np.ones((28, 28, 3), np.float32), 0)] * 4
    words = ("backward put another array in place of grad's 2.weight", "grad['weight'][...] = ")
    for options in ({}, {"memory_limit": step_bytes(model, (28, 28, 3), 4, 2, states=1)}):
        with refused(ValueError, *words):
            mx.fit(model, mx.DataLoader(images, 4), optimizer, epochs=1, device=DEVICE, **options)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: mx.Adam([network()]), "Adam: expected a model, as in Adam(model"),
        (lambda: mx.SGD(network().params), "SGD: expected a model"),
        (lambda: mx.Adam(None), "Adam: expected a model"),
        (lambda: mx.Adam(mx.ReLU()), "ReLU has no parameters"),
        (lambda: mx.Adam(network()).step([1.0]), "Adam: expected a gradient (426,) of float32"),
        (
            lambda: mx.SGD(network()).step({}),
            "SGD: expected a gradient (426,) of float32, got dict",
        ),
        (lambda: mx.SGD(network(), lr=-1), "lr must be a number of 0 or more, got -1"),
        (lambda: mx.SGD(network(), lr="fast"), "lr must be a number of 0 or more, got 'fast'"),
        (lambda: mx.Adam(network(), lr=None), "lr must be a number of 0 or more, got None"),
        (lambda: mx.Adam(network(), lr=float("nan")), "lr must be a number of 0 or more, got nan"),
    ],
)
def test_mistakes_have_one_line(make, words):
    with refused((TypeError, ValueError, mx.MinialexError), words):
        make()


@pytest.mark.parametrize(
    "lr", [np.array([0.1, 0.2]), 10**400, float("inf"), "0.1", None], ids=range(5)
)
def test_a_rate_that_is_no_number_is_one_line(lr):
    with refused(mx.errors.ConfigError, "lr must be a number of 0 or more"):
        mx.SGD(mx.Linear(2, 2), lr=lr)
