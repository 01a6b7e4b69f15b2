"""accelerate(model) changes how fast a model is, and nothing else; plain(model) takes it back."""

import copy
import pickle

import numpy as np
import pytest

from bad_input import refused
from device import DEVICE, assert_allclose, assert_array_equal, on_device, on_host
from layer_cases import FORMS, draw, to_form
from minialex.attach import accelerate, plain
from minialex.layers import (
    Conv2d,
    Dropout,
    Linear,
    LocalResponseNorm,
    LocalResponseNorm2d,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.optim import SGD, Adam
from minialex.params import family, flatten, named_arrays, zeros_like
from minialex.train.checkpoint import load_state_dict, state_dict
from minialex.twin import TWINS
from small_network import assert_same, images, is_fast, network, passes

# --------------------------------------------------------------------------------- what stays


def test_parameters_names_handles_and_flags_stay_what_they_were():
    model = on_device(network())
    theta = flatten(model)
    layers, names = list(family(model)), [name for name, _ in model.leaves()]
    params = [layer.params for layer in layers if not layer.children()]
    arrays = [(name, owner[key]) for owner, key, name in named_arrays(model.params)]
    state, values = copy.deepcopy([vars(layer) for layer in layers[2:]]), theta.copy()
    model.train(False)
    assert accelerate(model) is model
    assert all(a is b for a, b in zip(family(model), layers, strict=True))
    assert [name for name, _ in model.leaves()] == names
    leaves = [layer.params for layer in layers if not layer.children()]
    assert all(a is b for a, b in zip(leaves, params, strict=True))
    now = [(name, owner[key]) for owner, key, name in named_arrays(model.params)]
    assert [name for name, _ in now] == [name for name, _ in arrays]
    assert all(a is b for (_, a), (_, b) in zip(now, arrays, strict=True))
    assert all(np.may_share_memory(array, theta) for _, array in now)
    assert_array_equal(theta, values)
    assert not any(layer.training for layer in family(model))
    assert model.train() is model and all(layer.training for layer in family(model))
    for layer, before in zip(layers[2:], state, strict=True):  # told more, but nothing else
        assert before.keys() - {"training"} <= vars(layer).keys()
        for name in ("kernel_size", "stride", "p", "seed", "stream", "size", "in_features"):
            assert getattr(layer, name, None) == before.get(name, getattr(layer, name, None))
    theta[...] = 0  # it is still the model
    assert not on_host(model(images())).any()


def test_a_handle_to_a_layer_reaches_it_in_any_form():
    model = on_device(network())
    conv, linear = model[0][0], model[5]
    accelerate(model)
    assert model[0][0] is conv and isinstance(conv, Conv2d) and is_fast(conv)
    conv.params["weight"][...], linear.params["bias"][...] = 0, 7
    assert (model.params["0"]["0"]["weight"] == 0).all() and (model.params["5"]["bias"] == 7).all()


@pytest.mark.parametrize("take_off", [True, False])
def test_layers_of_ones_own_keep_parts_that_are_called_like_settings(take_off):
    class Own(Sequential):
        pass

    model = Sequential(Own(Linear(3, 2)))
    model[0].head = model[0].kept = model[0][0]
    accelerate(model)
    if take_off:
        plain(model)
    assert model[0].head is model[0].kept is model[0][0]


def test_checkpoints_are_the_same_whatever_the_form():
    model = on_device(network())
    plain_state = state_dict(model)
    fast_state = state_dict(accelerate(model))
    assert list(fast_state) == list(plain_state)
    assert all(np.array_equal(fast_state[name], plain_state[name]) for name in plain_state)
    other = accelerate(on_device(network()))
    flatten(other)[...] = 0
    load_state_dict(other, plain_state)
    assert_array_equal(flatten(other), flatten(model))


@pytest.mark.parametrize("form", FORMS)
def test_pickle_and_deepcopy_keep_form_and_numbers(form):
    model = to_form(network(), form)
    want = passes(model, images())
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [type(layer) for layer in family(again)] == [type(x) for x in family(model)]
        assert repr(again) == repr(model)
        assert_same(passes(again, images()), want, atol=0)
        again[5].params["weight"][...] = 0
    assert_same(passes(model, images()), want, atol=0)


def test_a_cache_can_be_copied_with_its_model():
    model = accelerate(on_device(network()))
    y, cache = model.forward(images())
    grads = [zeros_like(model.params) for _ in range(2)]
    for grad, kept in zip(grads, (copy.deepcopy(cache), cache), strict=True):
        model.backward(y.copy(), kept, grad)
    for (a, key, _), (b, _, _) in zip(*map(named_arrays, grads), strict=True):
        assert np.array_equal(a[key], b[key])


def test_train_and_another_dtype_are_unchanged_by_it():
    model = accelerate(on_device(network()))
    kinds = [type(layer) for layer in family(model)]
    model.to(dtype=np.float64)
    x = images(dtype=np.float64)
    assert model(x).dtype == np.float64 and [type(layer) for layer in family(model)] == kinds
    assert not np.array_equal(model(x), model(x))  # its Dropout
    model.train(False)
    assert np.array_equal(model(x), model(x)) and model[7].step == 3
    assert [type(layer) for layer in family(model)] == kinds


def test_the_numbers_are_the_pages():
    model = on_device(network().to(dtype=np.float64))
    x = images(37, dtype=np.float64)
    want = passes(model, x)
    for form in FORMS:
        accelerate(model, algorithm="auto" if form == "plain" else form)
        assert_same(passes(model, x), want)
        assert_allclose(model.train(False)(x), plain(model)(x), rtol=0, atol=1e-12)
        model.train()


# ------------------------------------------------------------------------------ plain and twice


def test_plain_undoes_it():
    model = on_device(network())
    optimizer = Adam(flatten(model))
    kinds, text = [type(layer) for layer in family(model)], repr(model)
    want = passes(model, images())
    states = [dict(vars(layer)) for layer in family(model)]
    accelerate(model, optimizer, algorithm="im2col", input_grad=False)
    passes(model, images())
    assert any(map(is_fast, family(model))) and is_fast(optimizer)
    assert plain(model, optimizer) is model
    assert [type(layer) for layer in family(model)] == kinds and type(optimizer) is Adam
    assert repr(model) == text
    for layer, before in zip(family(model), states, strict=True):
        assert vars(layer).keys() == before.keys()
        assert all(vars(layer)[name] is before[name] for name in before.keys() - {"step"})
    assert_same(passes(model, images()), want, atol=0)
    assert plain(model) is model and [type(layer) for layer in family(model)] == kinds


def test_twice_is_harmless_and_the_last_call_counts():
    model = on_device(network())
    optimizer = SGD(flatten(model))
    accelerate(model, optimizer, algorithm="im2col", input_grad=False)
    once = repr(model), [type(layer) for layer in family(model)], passes(model, images())
    accelerate(model, optimizer, algorithm="im2col", input_grad=False)
    assert (repr(model), [type(layer) for layer in family(model)]) == once[:2]
    assert once[2][1] is None
    assert_same(passes(model, images())[2:], once[2][2:], atol=0)
    accelerate(model)
    assert passes(model, images())[1] is not None
    if DEVICE == "cpu":
        assert "im2col  " not in repr(model) and model[1].algorithm == "auto"


def test_repr_shows_the_form():
    model = on_device(network())
    lines = repr(model).splitlines()
    assert "#" not in repr(model)
    shown = repr(accelerate(model)).splitlines()
    assert len(shown) == len(lines)
    for line, fast in zip(lines, shown, strict=True):
        form = fast.removeprefix(line)
        assert fast.startswith(line) and (form == "" or form.startswith("  # "))
        if any(name in line for name in ("Conv2d", "ReLU", "Linear", "MaxPool2d", "Dropout")):
            assert form
        if any(name in line for name in ("Flatten", "AvgPool2d")):
            assert not form
    text = "\n".join(shown)
    if DEVICE == "cpu":
        assert "(1): Conv2d(4, 4, 3, padding=1, groups=2)  # fast: Winograd or im2col" in text
        assert shown[0] == "Sequential(  # fast: layers 0 to 6 in micro-batches"
        assert text.count("ReLU()  # fast, in place") == 3
        accelerate(model, algorithm="im2col")
        assert "Conv2d(4, 4, 3, padding=1, groups=2)  # fast: im2col" in repr(model)
    else:
        assert text.count("ReLU()  # gpu, in place") == 3
        for algorithm, form in (("implicit", "implicit"), ("im2col", "im2col, cuBLAS")):
            accelerate(model, algorithm=algorithm)
            line = f"(1): Conv2d(4, 4, 3, padding=1, groups=2)  # gpu: {form}"
            assert line in repr(model)


# ------------------------------------------------------------------------------- other caches

KIND_OF = {
    Conv2d: "conv", MaxPool2d: "maxpool", LocalResponseNorm: "lrn", ReLU: "relu",
    Dropout: "dropout", Linear: "linear", Sequential: "micro-batches",
    LocalResponseNorm2d: "lrn-2d",
}  # fmt: skip


@pytest.mark.parametrize("page", [page for page, device in TWINS if device == DEVICE])
def test_a_cache_of_one_form_is_refused_by_another(page):
    layer, x = draw(KIND_OF[page], 1)
    layer, x = on_device(layer.to(dtype=np.float64)), on_device(x)
    grad = zeros_like(layer.params)
    y, slow = layer.forward(x)
    accelerate(layer).to(DEVICE)
    assert is_fast(layer)
    y, fast = layer.forward(x)
    words = f"{page.__name__}: this cache was made by another form", "call forward again"
    for wrong in (slow, None, (x, y)):
        with refused(ValueError, *words):
            layer.backward(y, wrong, grad)
    plain(layer)
    with refused(ValueError, *words):
        layer.backward(y, fast, grad)
    layer.backward(y, slow, grad)
    accelerate(layer).to(DEVICE)
    layer.backward(y, fast, grad)
