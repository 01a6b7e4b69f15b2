"""What accelerate can be told, what it refuses, and the devices that it works on."""

import numpy as np
import pytest

from bad_input import refused
from device import DEVICE, on_device, on_host
from minialex.attach import accelerate, family, plain
from minialex.errors import ConfigError
from minialex.layers import (
    Conv2d,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.models import AlexNet
from minialex.optim import SGD, Adam
from minialex.params import dict_like, flatten
from minialex.twin import page_of
from small_network import assert_same, images, is_fast, network, passes, rng


def test_unknown_algorithms_are_refused():
    with refused(ConfigError, "unknown algorithm 'fft'; choose auto, im2col, winograd"):
        accelerate(on_device(network()), algorithm="fft")


def test_what_winograd_cannot_do_is_refused_and_nothing_is_changed():
    for conv in (Conv2d(2, 2, 3, 2, 0, 2, rng=rng()), Conv2d(3, 3, 8, rng=rng())):
        for before in (plain, accelerate):
            model = before(on_device(Sequential(Conv2d(3, 2, 3, rng=rng()), ReLU(), conv)))
            kinds, text = [type(layer) for layer in family(model)], repr(model)
            optimizer = Adam(flatten(model))
            others = "auto or im2col" if DEVICE == "cpu" else "auto, im2col or implicit"
            with refused(ConfigError, "--algorithm winograd", f"choose {others}"):
                accelerate(model, optimizer, algorithm="winograd")
            assert [type(x) for x in family(model)] == kinds and type(optimizer) is Adam
            assert repr(model) == text
    elsewhere = {"gpu": "winograd", "cpu": "implicit"}[DEVICE]
    with refused(ConfigError, f"{elsewhere} is for", "choose auto"):
        accelerate(on_device(network()), algorithm=elsewhere)


@pytest.mark.skipif(DEVICE == "gpu", reason="Winograd's method is for the CPU")
def test_the_algorithm_is_the_one_that_was_asked_for():
    x = rng().standard_normal((5, 67, 67, 3), dtype=np.float32)
    model = AlexNet(2, width=1 / 8, image_size=67).train(False)
    found = {}
    for form in ("auto", "im2col", "winograd"):
        accelerate(model, algorithm=form)
        convs = [leaf for _, leaf in model.leaves() if isinstance(leaf, Conv2d)]
        assert [conv.algorithm for conv in convs] == [form] * 5
        used = [convs[1].plan(shape) is not None for shape in ((5, 7, 7, 12), (5, 27, 27, 12))]
        assert used[1] == (form != "im2col") and used[0] == (form == "winograd" or used[0])
        found[form] = model(x)
    for form in ("im2col", "winograd"):
        np.testing.assert_allclose(found[form], found["auto"], rtol=0, atol=1e-5)


def test_input_grad_false_leaves_out_the_first_layers_dx_alone():
    model = on_device(network().to(dtype=np.float64))
    x = images(dtype=np.float64)
    want = passes(model, x)
    got = passes(accelerate(model, input_grad=False), x)
    assert got[1] is None and want[1] is not None
    assert_same([got[0], *got[2:]], [want[0], *want[2:]])
    first = on_device(Sequential(ReLU(), Conv2d(3, 2, 3, rng=rng())).to(dtype=np.float64))
    assert passes(accelerate(first, input_grad=False), x)[1] is not None  # no Conv2d is first


def test_optimizers_get_their_fast_form_and_keep_their_state():
    model = on_device(network())
    theta = flatten(model)
    for kind in (SGD, Adam):
        optimizer = kind(theta)
        optimizer.step(0 * theta)
        state = dict(optimizer.state)
        accelerate(model, optimizer)
        assert isinstance(optimizer, kind) and is_fast(optimizer) and page_of(optimizer) is kind
        assert optimizer.t == 1 and optimizer.theta is theta
        assert all(optimizer.state[name] is state[name] for name in state)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs both devices")
def test_an_accelerated_model_runs_on_the_device_where_it_is_moved():
    model = network().to(dtype=np.float64)
    x = images(dtype=np.float64)
    want = passes(model, on_host(x))
    accelerate(model)
    for device, where in (("gpu", x), ("cpu", on_host(x)), ("gpu", x)):
        model.to(device)
        assert_same(passes(model, where), want)
        for layer in family(model):
            assert getattr(type(layer), "device", device) == device
    with refused(TypeError, "model.to(...)"):
        model.forward(on_host(x))
    with refused(TypeError, "MaxPool2d: ", "model.to(...)"):
        accelerate(MaxPool2d(2)).forward(x)


def test_gradients_can_be_written_to_one_vector():
    model = on_device(network().to(dtype=np.float64))
    theta, x = flatten(model), images(dtype=np.float64)
    vectors = []
    for form in (plain, accelerate):
        g = np.full_like(theta, np.nan)
        form(model).set_step(0)
        y, cache = model.forward(x)
        model.backward(y.copy(), cache, dict_like(model.params, g))
        vectors.append(on_host(g))
    assert_same(*[[vector] for vector in vectors])
