"""An accelerated model on the GPU: the same numbers as its pages, wherever it is moved."""

import copy

import numpy as np
import pytest

from bad_input import refused
from chunked import BatchGradient
from device import on_device, on_host
from minialex import losses
from minialex.attach import accelerate, loss_function, plain
from minialex.errors import ConfigError
from minialex.gpu.losses import softmax_cross_entropy
from minialex.layers import Sequential
from minialex.models import VARIANTS, AlexNet
from minialex.params import flatten, named_arrays, zeros_like
from minialex.train.recipes import make_optimizer
from minialex.twin import TWINS, page_of
from minialex.xp import get_xp, to_device


def alexnet(variant="2012", **options):
    return AlexNet(3, variant, width=1 / 16, image_size=67, seed=2, dropout=0.3, **options)


def step(model, device, loss=losses.softmax_cross_entropy):
    """The loss and every gradient of one training step, x's included, as NumPy arrays."""
    x = np.random.default_rng(0).standard_normal((5, 67, 67, 3)).astype(np.float32)
    model.set_step(7)
    logits, cache = model.forward(to_device(x, device))
    value, dlogits = loss(logits, to_device(np.arange(5) % 3, device), 0.1)
    grad = zeros_like(model.params)
    dx = model.backward(dlogits, cache, grad)
    found = {name: owner[key] for owner, key, name in named_arrays(grad)}
    return {key: on_host(array) for key, array in {"x": dx, "loss": value, **found}.items()}


def assert_same_step(ours, theirs):
    """Equal within what another order of the same sums may do in float32."""
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        atol = 2e-5 * abs(array).max()
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=atol, err_msg=name)


def forms(model):
    """The class of every layer, by name, containers included."""

    def walk(layer, name):
        yield name, type(layer)
        for key, child in layer.children().items():
            yield from walk(child, f"{name}.{key}")

    return dict(walk(model, ""))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_of_the_pages_and_of_the_twins_on_the_gpu_is_that_of_the_pages_on_the_cpu(variant):
    expected = step(alexnet(variant), "cpu")
    model = alexnet(variant).to("gpu")
    assert_same_step(step(model, "gpu"), expected)
    accelerate(model)
    assert_same_step(step(model, "gpu", loss_function("gpu")), expected)
    assert_same_step(step(plain(model), "gpu"), expected)


def test_an_accelerated_model_moves_to_the_gpu_and_back():
    expected = step(alexnet(), "cpu")
    model = accelerate(alexnet())
    on_cpu = forms(model)
    assert_same_step(step(model, "cpu"), expected)
    assert model.to("gpu") is model
    assert forms(model) == forms(accelerate(alexnet().to("gpu"))) != on_cpu
    assert_same_step(step(model, "gpu"), expected)
    model.to("cpu")
    assert forms(model) == on_cpu and model.features.head == len(model.features.layers)
    assert_same_step(step(model, "cpu"), expected)


def test_a_model_accelerated_on_the_gpu_moves_to_the_cpu_and_back():
    expected = step(alexnet(), "cpu")
    model = accelerate(alexnet().to("gpu"))
    on_gpu = forms(model)
    model.to("cpu")
    assert forms(model) == forms(accelerate(alexnet()))
    assert_same_step(step(model, "cpu"), expected)
    model.to("gpu")
    assert forms(model) == on_gpu
    assert_same_step(step(model, "gpu"), expected)


def test_a_cache_from_before_a_move_is_refused():
    model = accelerate(alexnet())
    y, cache = model.forward(np.zeros((2, 67, 67, 3), np.float32))
    model.to("gpu")
    with refused(ValueError, "this cache was made by another form of the layer"):
        model.backward(on_device(y), cache, zeros_like(model.params))


def test_every_page_with_a_twin_on_one_device_has_one_on_the_other():
    pages = {device: {page for page, at in TWINS if at == device} for device in ("cpu", "gpu")}
    assert pages["gpu"] == pages["cpu"] and Sequential in pages["gpu"]


def test_a_model_without_input_gradient_makes_the_same_gradients():
    with_it, without = (
        step(accelerate(alexnet().to("gpu"), input_grad=input_grad), "gpu")
        for input_grad in (True, False)
    )
    assert without.pop("x") is None and with_it.pop("x").shape == (5, 67, 67, 3)
    for name, array in with_it.items():
        np.testing.assert_array_equal(without[name], array)


def test_all_parameters_become_one_vector_on_the_gpu():
    model = alexnet().to("gpu")
    before = {name: owner[key].copy() for owner, key, name in named_arrays(model.params)}
    theta = flatten(model)
    assert get_xp(theta) is not np and theta.dtype == np.float32
    for owner, key, name in named_arrays(model.params):
        np.testing.assert_array_equal(on_host(owner[key]), on_host(before[name]))
    theta[...] = 0
    assert all(not owner[key].any() for owner, key, _ in named_arrays(model.params))


def test_the_optimizer_gets_its_form_and_loses_it_again():
    model = alexnet().to("gpu")
    for name in ("sgd", "adam", "adamw"):
        optimizer = make_optimizer(name, flatten(model), 0.1, 0.0)
        page = type(optimizer)
        accelerate(model, optimizer)
        assert type(optimizer) is not page and page_of(optimizer) is page
        assert type(optimizer).__module__ == "minialex.gpu.optim"
        plain(model, optimizer)
        assert type(optimizer) is page


def test_each_device_has_its_own_loss():
    assert loss_function("gpu") is softmax_cross_entropy
    assert loss_function("gpu", fused=False) is loss_function("cpu") is losses.softmax_cross_entropy


def test_winograds_method_is_refused_on_a_gpu():
    model = alexnet().to("gpu")
    with refused(ConfigError, "--algorithm winograd is for the CPU", "auto, im2col or implicit"):
        accelerate(model, algorithm="winograd")


def test_copies_are_models_of_their_own():
    model = accelerate(alexnet().to("gpu"))
    other = copy.deepcopy(model)
    assert forms(other) == forms(model)
    assert_same_step(step(other, "gpu"), step(model, "gpu"))


@pytest.mark.parametrize("variant", ["2012", "owt"])  # Dropout after and before the Linear layers
@pytest.mark.parametrize("form", [accelerate, plain])
def test_a_batch_in_chunks_has_the_gradient_of_the_whole(form, variant):
    model = alexnet(variant).to("gpu")
    form(model)
    x = on_device(np.random.default_rng(0).standard_normal((5, 67, 67, 3)).astype(np.float32))
    labels = on_device(np.arange(5) % 3)

    def gradient(chunk):
        of_batch = BatchGradient(model, chunk, 5, 0.1, loss_function("gpu"))
        loss, correct = of_batch(x, labels, step=1 << 33)
        return float(loss), int(correct), on_host(of_batch.g)

    whole = gradient(5)
    for chunk in (1, 2, 3):
        loss, correct, g = gradient(chunk)
        assert loss == pytest.approx(whole[0], rel=3e-6) and correct == whole[1]
        np.testing.assert_allclose(g, whole[2], rtol=0, atol=3e-6 * abs(whole[2]).max())
