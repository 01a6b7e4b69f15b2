"""AlexNet: the published parameter counts and shapes, what it refuses, and that it learns."""

import math

import numpy as np
import pytest

from bad_input import refused
from device import assert_array_equal, on_device, on_host
from layer_cases import FORMS, to_form
from minialex.errors import ConfigError
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from minialex.losses import softmax_cross_entropy
from minialex.models import VARIANTS, AlexNet
from minialex.optim import Adam
from minialex.params import count_parameters, dict_like, flatten
from minialex.use.summary import multiply_adds, summary

BOTH = pytest.mark.parametrize("form", ["plain", "auto"])


@pytest.fixture
def undrawn(monkeypatch):
    """Weights are zeros: to draw 60 million would take longer than all that is counted of them."""

    class Zeros:
        def standard_normal(self, shape, dtype):
            return np.zeros(shape, dtype)

    for page in ("conv", "linear"):
        monkeypatch.setattr(f"minialex.layers.{page}.generator", lambda *_: Zeros())


@pytest.mark.parametrize(
    ("variant", "classes", "parameters"),
    [
        ("2012", 1000, 60_965_224),
        ("ungrouped", 1000, 62_378_344),
        ("ungrouped", 2, 58_289_538),
        ("owt", 1000, 61_100_840),
        ("2012-program", 1000, 60_965_224),
        ("owt2014", 1000, 61_100_840),
    ],
)
def test_published_parameter_counts(variant, classes, parameters, undrawn):
    model = AlexNet(classes, variant)
    assert count_parameters(model.params) == parameters
    assert f"{parameters:,}" in summary(model, model.input_shape)
    assert model.features.output_shape(model.input_shape) == (6, 6, 256)
    assert model.output_shape(model.input_shape) == (classes,)


@pytest.mark.parametrize(
    ("variant", "conv1", "total"),
    [("2012", 105_415_200, 724_406_816), ("owt", 70_276_800, 714_188_480)],
)
def test_multiply_adds_match_a_hand_count(variant, conv1, total, undrawn):
    """conv1 of 2012: 55*55 positions * 96 filters * 11*11*3 weights; the total: 1,000 classes."""
    model = AlexNet(1000, variant)
    layers = [layer for _, layer in model.leaves()]
    shape, counts = model.input_shape, []
    for layer in layers:
        counts.append(multiply_adds(layer, shape))
        shape = layer.output_shape(shape)
    assert counts[0] == conv1
    assert sum(counts) == total


def test_variants_differ_where_published():
    def layers(variant, **options):
        model = AlexNet(2, variant, width=1 / 16, **options)
        return [type(layer) for _, layer in model.leaves()]

    kinds = {variant: layers(variant) for variant in ("2012", "ungrouped", "owt")}
    assert kinds["2012"].count(LocalResponseNorm) == 2
    assert LocalResponseNorm not in kinds["ungrouped"] + kinds["owt"]
    assert kinds["owt"].index(Dropout) < kinds["2012"].index(Dropout)  # before fc6, not behind it
    assert layers("ungrouped", lrn=True).count(LocalResponseNorm) == 2
    assert LocalResponseNorm not in layers("2012", lrn=False)


def test_the_programs_have_55_27_13_and_6_places_in_224_pixels(undrawn):
    for variant in ("2012-program", "owt2014"):
        model, sides = AlexNet(1000, variant), []
        shape = model.input_shape
        assert shape == (224, 224, 3)
        for layer in model.features.layers:
            shape = layer.output_shape(shape)
            if isinstance(layer, Conv2d | MaxPool2d):
                sides.append(shape[0])
        assert sides == [55, 27, 27, 13, 13, 13, 13, 6]


def test_the_programs_normalize_before_the_relu_in_a_tower_and_within_maps():
    def words(variant):
        layers = AlexNet(2, variant, width=1 / 16).features.layers
        return [type(layer).__name__ for layer in layers[:9]], layers

    kinds, layers = words("2012-program")
    first = ["Conv2d", "LocalResponseNorm", "MaxPool2d", "ReLU", "Conv2d", "ReLU"]
    assert kinds == [*first, "LocalResponseNorm", "LocalResponseNorm2d", "MaxPool2d"]
    assert layers[1].alpha == layers[6].alpha == 1e-4 / 5
    assert [layers[1].groups, layers[6].groups, layers[1].k] == [2, 2, 2]
    assert (layers[7].alpha, layers[7].k, layers[7].size) == (1e-3 / 25, 1, 5)
    kinds, layers = words("owt2014")
    assert kinds[:8] == [*first, "LocalResponseNorm", "MaxPool2d"]
    assert layers[1].groups == 1
    for variant in ("2012-program", "owt2014"):
        kinds = [type(layer) for _, layer in AlexNet(2, variant, width=1 / 16).leaves()]
        assert kinds[-6:] == [ReLU, Dropout, Linear, ReLU, Dropout, Linear]  # outputs are dropped
        off = AlexNet(2, variant, lrn=False, width=1 / 16).leaves()
        assert not [layer for _, layer in off if "Norm" in type(layer).__name__]


def test_the_weights_of_the_program():
    model = AlexNet(5, "2012-program", init="program", width=1 / 4)
    found = [layer for _, layer in model.leaves() if layer.params]
    stds = [round(float(layer.params["weight"].std()), 3) for layer in found]
    assert stds == [0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01]
    assert [float(layer.params["bias"].mean()) for layer in found] == [0, 1, 0, 1, 1, 1, 1, 0]


def test_it_is_a_sequential_of_three_named_parts():
    model = AlexNet(2, width=1 / 16, image_size=67)
    assert isinstance(model, Sequential)
    assert list(model.children()) == ["features", "flatten", "classifier"]
    assert [model.features, model.classifier] == [model[0], model[2]]
    names = [name for name, _ in model.leaves()]
    assert names[0] == "features.0" and names[-1].startswith("classifier.")


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_activation_and_each_pooling_takes_all_places(variant):
    for activation, kind in (("relu", ReLU), ("tanh", Tanh), ("sigmoid", Sigmoid)):
        model = AlexNet(2, variant, width=1 / 16, activation=activation)
        layers = [layer for _, layer in model.leaves()]
        assert [type(x) for x in layers if isinstance(x, ReLU | Tanh | Sigmoid)] == [kind] * 7
    forms = {"max": (MaxPool2d, 3), "average": (AvgPool2d, 3), "max2": (MaxPool2d, 2)}
    for pooling, form in forms.items():
        model = AlexNet(2, variant, width=1 / 16, pooling=pooling)
        layers = [layer for _, layer in model.leaves() if isinstance(layer, MaxPool2d | AvgPool2d)]
        assert [(type(x), x.kernel_size, x.stride) for x in layers] == [(*form, 2)] * 3
        # windows of 2 fit as often
        assert model.features.output_shape(model.input_shape)[:2] == (6, 6)


def test_glorots_weights_have_the_stated_spread():
    model = AlexNet(10, "2012", width=0.5, image_size=67, init="glorot", activation="tanh", seed=1)
    for name, layer in model.leaves():
        if isinstance(layer, Linear):
            fans = layer.in_features + layer.out_features
        elif isinstance(layer, Conv2d):
            fans = layer.kernel_size**2 * (layer.in_channels + layer.out_channels) // layer.groups
        else:
            continue
        weight = layer.params["weight"]
        tolerance = 5 / math.sqrt(2 * weight.size)  # five standard errors of a standard deviation
        assert abs(weight.std() / math.sqrt(2 / fans) - 1) < tolerance, name
        assert not layer.params["bias"].any()


def test_the_first_weights_of_two_activations_are_one_draw_scaled():
    he, glorot = (AlexNet(2, width=1 / 16, seed=3, init=name) for name in ("he", "glorot"))
    for (_, a), (_, b) in zip(he.leaves(), glorot.leaves(), strict=True):
        if a.params:
            a, b = a.params["weight"], b.params["weight"]
            np.testing.assert_allclose(a / a.std(), b / b.std(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"variant": "2013"},
        {"activation": "swish"},
        {"pooling": "min"},
        {"init": "zero"},
        {"num_classes": 0},
        {"width": 0},
        {"width": math.nan},
        {"image_size": 40},
        {"image_size": 10**12},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(ConfigError) as error:
        AlexNet(**{"num_classes": 2, "width": 1 / 16, **arguments})
    assert "\n" not in str(error.value)


@BOTH
def test_wrong_image_shape_is_named(form):
    model = to_form(AlexNet(2, width=1 / 16, image_size=67), form)
    expected = r"^AlexNet: expected an input of shape \(N, 67, 67, 3\), got [^\n]*$"
    for shape in ((2, 3, 67, 67), (2, 131, 131, 3), (67, 67, 3)):
        for call in (model, model.forward):
            with pytest.raises(ValueError, match=expected):
                call(on_device(np.zeros(shape, dtype=np.float32)))
    with pytest.raises(TypeError, match=r"^AlexNet: expected floating-point [^\n]* got uint8$"):
        model(on_device(np.zeros((2, 67, 67, 3), dtype=np.uint8)))


@BOTH
def test_call_equals_forward_in_evaluation(form):
    model = to_form(AlexNet(3, "2012", width=1 / 16, image_size=67, seed=5), form)
    model.train(False)
    x = on_device(np.random.default_rng(0).standard_normal((5, 67, 67, 3), dtype=np.float32))
    assert_array_equal(model(x), model.forward(x)[0])


def test_same_seed_same_network():
    a, b, c = (flatten(AlexNet(2, width=1 / 16, image_size=67, seed=s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_first_loss_is_log_of_the_number_of_classes_and_a_small_set_is_learned():
    model = to_form(AlexNet(4, width=1 / 8, image_size=67, seed=0), "auto")
    theta = flatten(model)
    g = np.zeros_like(theta)
    grad, adam = dict_like(model.params, g), Adam(theta, lr=2e-3)
    x = np.random.default_rng(0).standard_normal((12, 67, 67, 3), dtype=np.float32)
    x, labels = on_device(x), on_device(np.arange(12) % 4)
    losses = []
    for step in range(60):
        model.set_step(step)
        logits, cache = model.forward(x)
        loss, dlogits = softmax_cross_entropy(logits, labels)
        model.backward(dlogits, cache, grad)
        adam.step(g)
        losses.append(float(loss))
        if np.mean(losses[-5:]) < 0.2:
            break
    assert abs(losses[0] - math.log(4)) < 0.1
    assert np.mean(losses[-5:]) < 0.3
    model.train(False)
    assert (model(x).argmax(axis=1) == labels).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "words"),
    [
        ((2, 66, 67, 3), np.float32, ValueError, "AlexNet: expected an input of shape (N, 67, 67"),
        ((67, 67, 3), np.float32, ValueError, "AlexNet: expected an input of shape (N, 67, 67, 3)"),
        ((2, 3, 67, 67), np.float32, ValueError, "(2, 3, 67, 67)"),
        ((0, 67, 67, 3), np.float32, ValueError, "the batch is empty"),
        ((2, 67, 67, 3), np.uint8, TypeError, "AlexNet: expected floating-point"),
        ((2, 67, 67, 3), np.float64, TypeError, "dtype"),
    ],
)
def test_images_of_the_wrong_form(shape, dtype, kind, words):
    model = on_device(AlexNet(2, width=0.02, image_size=67))
    theta = flatten(model)
    before = theta.copy()
    for call in (model, model.forward):
        with refused(kind, words):
            call(on_device(np.zeros(shape, dtype=dtype)))
    assert_array_equal(theta, before)


@pytest.mark.parametrize("variant, lrn", [("2012", True), ("ungrouped", None), ("owt", None)])
def test_every_form_gives_the_same_scores_and_gradients(variant, lrn):
    """In float64: im2col, Winograd's method, micro-batches, ReLUs in place ..."""
    x = np.random.default_rng(0).standard_normal((5, 67, 67, 3))
    results = {}
    for form in [form for form in FORMS if (variant, form) != ("2012", "winograd")]:
        model = AlexNet(3, variant, lrn=lrn, width=1 / 8, image_size=67, seed=2)
        model = to_form(model.to(dtype=np.float64), form)
        g = np.zeros_like(flatten(model))
        logits, cache = model.forward(on_device(x))
        dx = model.backward(logits, cache, dict_like(model.params, g))
        results[form] = [on_host(array) for array in (logits, dx, g)]
    for form in results:
        for got, want in zip(results[form], results["plain"], strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-11 * abs(want).max())
