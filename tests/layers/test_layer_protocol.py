"""What all layers promise: dtypes, inputs left alone, clear errors, parameters as one vector."""

import numpy as np
import pytest

from bad_input import refused
from device import DEVICE, assert_on_device, on_device, on_host
from drawn_layers import Wrapper
from layer_cases import CASES, KINDS, make, to_form
from minialex.attach import accelerate
from minialex.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LocalResponseNorm2d,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from minialex.params import flatten, named_arrays, zeros_like
from minialex.twin import page_of


def rng():
    return np.random.default_rng(0)


def unwrapped(layer):
    return layer.layer if isinstance(layer, Wrapper) else layer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_follow_the_input(kind, dtype):
    for i in range(4):  # all arrays, and some that are not contiguous
        layer, x = make(kind, i)
        inner, x = unwrapped(layer).to(dtype=dtype), x.astype(dtype)
        y, cache = inner.forward(x.copy())
        grad = zeros_like(inner.params)
        dx = inner.backward(np.ones_like(y), cache, grad)
        assert y.dtype == dtype and (dx is None or dx.dtype == dtype)
        assert_on_device(y, *([] if dx is None else [dx]))
        assert all(owner[key].dtype == dtype for owner, key, _ in named_arrays(grad))
        assert inner(x.copy()).dtype == dtype


@pytest.mark.parametrize("kind, i", [(kind, i) for kind, i in CASES if i < 4])
def test_inputs_are_left_alone_and_results_shared_with_nobody(kind, i):
    layer, x = make(kind, i)
    unwrapped(layer).to(dtype=np.float64)
    before = x.copy()
    y, cache = layer.forward(x)
    first = y.copy()
    dy = np.ones_like(y)
    layer.backward(dy, cache, zeros_like(layer.params))
    layer.forward(-x)  # scratch memory is used again; y must not lie in it
    assert np.array_equal(x, before) and (dy == 1).all() and np.array_equal(y, first)


@pytest.mark.parametrize(
    "make_layer, error, words",
    [
        (lambda: Conv2d(0, 1, 3, rng=rng()), ValueError, "Conv2d: in_channels .* got 0"),
        (lambda: Conv2d(1, 1, 3, padding=-1, rng=rng()), ValueError, "padding"),
        (lambda: Conv2d(3, 4, 3, groups=2, rng=rng()), ValueError, "3 and 4 channels .* 2 groups"),
        (lambda: Conv2d(4, 3, 3, groups=2, rng=rng()), ValueError, "4 and 3 channels .* 2 groups"),
        (lambda: MaxPool2d(0), ValueError, "MaxPool2d: kernel_size .* got 0"),
        (lambda: Conv2d(3, 4, (3, 5, 1), rng=rng()), ValueError, r"kernel_size .* got \(3, 5, 1\)"),
        (lambda: Conv2d(3, 4, (3, 0), rng=rng()), ValueError, r"kernel_size .* got 0"),
        (lambda: Conv2d(3, 4, 3, (1, 1.5), rng=rng()), ValueError, r"stride .* got 1.5"),
        (lambda: Conv2d(3, 4, 3, padding=(0, -1), rng=rng()), ValueError, r"padding .* got -1"),
        (lambda: MaxPool2d("33"), ValueError, r"kernel_size .* got '33'"),
        (lambda: MaxPool2d((5, 2), padding=2), ValueError, "padding must be .* got 2"),
        (lambda: MaxPool2d((5, 2), padding=(2, 2)), ValueError, "padding must be .* got 2"),
        (lambda: AdaptiveAvgPool2d(0), ValueError, "AdaptiveAvgPool2d: output_size .* got 0"),
        (lambda: AdaptiveAvgPool2d((3, None)), ValueError, "output_size .* got None"),
        (lambda: BatchNorm2d(0), ValueError, "BatchNorm2d: num_features .* got 0"),
        (lambda: BatchNorm2d(3, eps=0), ValueError, "eps must be positive .* eps=0"),
        (lambda: BatchNorm2d(3, momentum=1.5), ValueError, "momentum in 0..1, .* momentum=1.5"),
        (lambda: BatchNorm2d(3, momentum=None), ValueError, "momentum=None"),
        (lambda: LeakyReLU(-0.1), ValueError, "LeakyReLU: negative_slope .* got -0.1"),
        (lambda: LeakyReLU(np.nan), ValueError, "negative_slope .* got nan"),
        (lambda: Linear(2.5, 3, rng=rng()), ValueError, "in_features .* got 2.5"),
        (lambda: Conv2d(1, 1, 3, rng=0), TypeError, "Conv2d: rng .* got 0"),
        (lambda: Linear(1, 1, rng=0), TypeError, "Linear: rng .* got 0"),
        (lambda: AvgPool2d(2, 0), ValueError, "AvgPool2d: stride must .* got 0"),
        (lambda: MaxPool2d(3, padding=2), ValueError, "padding must be .* got 2"),
        (lambda: LocalResponseNorm(4), ValueError, "odd, got 4"),
        (lambda: LocalResponseNorm(0), ValueError, "size must .* got 0"),
        (lambda: LocalResponseNorm("5"), ValueError, "size must .* got '5'"),
        (lambda: LocalResponseNorm(5.0), ValueError, "size must .* got 5.0"),
        (lambda: LocalResponseNorm(alpha=np.nan), ValueError, "alpha not negative: .* alpha=nan"),
        (lambda: LocalResponseNorm(alpha="a"), ValueError, "alpha not negative: .* alpha=a"),
        (lambda: LocalResponseNorm(beta=np.nan), ValueError, "beta=nan"),
        (lambda: LocalResponseNorm(k=np.inf), ValueError, "k=inf"),
        (lambda: Dropout("0.5"), ValueError, "Dropout: p .* got 0.5"),
        (lambda: Dropout(np.nan), ValueError, "Dropout: p .* got nan"),
        (lambda: LocalResponseNorm(k=0), ValueError, "k must be positive"),
        (lambda: LocalResponseNorm(alpha=-1), ValueError, "alpha not negative"),
        (lambda: LocalResponseNorm(groups=0), ValueError, "groups must .* got 0"),
        (lambda: LocalResponseNorm2d(4), ValueError, "LocalResponseNorm2d: size must be odd"),
        (lambda: LocalResponseNorm2d(k=0), ValueError, "LocalResponseNorm2d: k must be positive"),
        (lambda: Dropout(1), ValueError, "Dropout: p .* got 1"),
        (lambda: Dropout(-0.1), ValueError, "Dropout: p"),
        (lambda: Linear(0, 3, rng=rng()), ValueError, "Linear: in_features .* got 0"),
        (lambda: Sequential(ReLU), TypeError, "Sequential: expected layers"),
        (lambda: Sequential([ReLU()]), TypeError, "Sequential: expected layers"),
        (lambda: flatten(ReLU()), ValueError, "ReLU has no parameters"),
        (lambda: Layer().forward(np.ones(1)), NotImplementedError, "Layer has no forward"),
        (lambda: Layer().backward(1, 1, {}), NotImplementedError, "Layer has no backward"),
    ],
)
def test_bad_arguments(make_layer, error, words):
    with pytest.raises(error, match=words) as caught:
        make_layer()
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------- bad input

IMAGE_LAYERS = {
    "Conv2d": lambda: Conv2d(3, 2, 3, rng=rng()),
    "MaxPool2d": lambda: MaxPool2d(2),
    "AvgPool2d": lambda: AvgPool2d(2),
    "LocalResponseNorm": lambda: LocalResponseNorm(),
    "LocalResponseNorm2d": lambda: LocalResponseNorm2d(),
    "Flatten": lambda: Flatten(),
    "BatchNorm2d": lambda: BatchNorm2d(3),
    "AdaptiveAvgPool2d": lambda: AdaptiveAvgPool2d((2, 3)),
    "GlobalAvgPool2d": GlobalAvgPool2d,
}
ANY_LAYERS = {kind.__name__: kind for kind in (ReLU, LeakyReLU, Tanh, Sigmoid, Dropout)}
LAYERS = {**IMAGE_LAYERS, **ANY_LAYERS, "Linear": lambda: Linear(3, 2, rng=rng())}
BOTH = pytest.mark.parametrize("form", ["plain", "auto"])


def good_input(name):
    return on_device(np.ones((4, 3) if name == "Linear" else (4, 5, 5, 3), dtype=np.float32))


@BOTH
@pytest.mark.parametrize("name", [*IMAGE_LAYERS, "Linear"])
@pytest.mark.parametrize("shape", [(3,), (2, 5, 3), (1, 1, 5, 5, 3), (0, 5, 5, 3)])
def test_wrong_shapes_name_layer_and_shape(name, shape, form):
    if name == "Linear" and len(shape) == 4:
        shape = (0, 3)
    with pytest.raises(ValueError) as caught:
        to_form(LAYERS[name](), form).forward(on_device(np.zeros(shape, dtype=np.float32)))
    text = str(caught.value)
    assert text.startswith(name) and str(shape) in text and "\n" not in text


@BOTH
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_wrong_dtypes_name_layer_and_dtype(name, dtype, form):
    with refused(TypeError, f"{name}: ", np.dtype(dtype).name):
        to_form(LAYERS[name](), form).forward(on_device(np.zeros((1, 5, 5, 3), dtype=dtype)))


@BOTH
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("x", [[[1.0, 2.0]], 3, 3.5, None, "x"])
def test_what_is_no_array_is_refused_by_name(name, x, form):
    layer = to_form(LAYERS[name](), form)
    for call in (layer, layer.forward):
        with refused(TypeError, f"{name}: ", type(x).__name__):
            call(x)


@BOTH
@pytest.mark.parametrize("name", LAYERS)
def test_a_wrong_dy_is_refused_by_name(name, form):
    layer = to_form(LAYERS[name](), form)
    y, cache = layer.forward(good_input(name))
    grad = zeros_like(layer.params)
    for dy in (y[:2], y[..., :1], y[0], y.sum()):
        with refused(ValueError, f"{name}: expected dy of shape", str(y.shape)):
            layer.backward(dy, cache, grad)
    for dy in ([1.0, 2.0], 3, None, y.astype(int)):
        with refused(TypeError, f"{name}: expected floating-point numbers", "got"):
            layer.backward(dy, cache, grad)
    layer.backward(np.ones_like(y), cache, grad)


@BOTH
@pytest.mark.parametrize("name", ["Conv2d", "Linear", "BatchNorm2d"])
def test_a_grad_without_the_parameters_is_refused_by_name(name, form):
    layer = to_form(LAYERS[name](), form)
    y, cache = layer.forward(good_input(name))
    with refused(ValueError, f"{name}: ", "'weight'"):
        layer.backward(y, cache, {"bias": zeros_like(layer.params)["bias"]})
    for outer in (layer, to_form(Sequential(layer), form)):
        y, cache = outer.forward(good_input(name))
        with refused(ValueError, "grad has no"):
            outer.backward(y, cache, {})


@BOTH
@pytest.mark.parametrize("name", ["Conv2d", "Linear", "BatchNorm2d"])
def test_images_and_weights_of_different_dtypes_are_refused_by_name(name, form):
    layer = to_form(LAYERS[name](), form).to(dtype=np.float64)
    with refused(TypeError, f"{name}: ", "weight", "dtype", "model.to"):
        layer.forward(good_input(name))
    y, cache = layer.forward(good_input(name).astype(np.float64))
    with refused(TypeError, f"{name}: dy and weight", "dtype", "model.to"):
        layer.backward(y.astype(np.float32), cache, zeros_like(layer.params))


@pytest.mark.parametrize("name", LAYERS)
def test_arrays_of_two_devices_are_one_line(name):
    if DEVICE == "cpu":
        pytest.skip("there is one device")
    for here, there in ((on_device, on_host), (on_host, on_device)):
        layer = LAYERS[name]().to("gpu" if here is on_device else "cpu")
        layer = accelerate(layer).to("gpu" if here is on_device else "cpu")
        if type(layer) is page_of(layer) and not layer.params:
            continue  # such a page computes wherever its input is
        x = here(on_host(good_input(name)))
        with refused(TypeError, f"{name}: ", "use model.to(...)"):
            layer.forward(there(x))
        y, cache = layer.forward(x)
        with refused(TypeError, f"{name}: ", "use model.to(...)"):
            layer.backward(there(y), cache, zeros_like(layer.params))


@pytest.mark.parametrize("form", ["plain", "auto"])
@pytest.mark.parametrize(
    "x, error",
    [
        ([[1.0]], TypeError),
        (3, TypeError),
        (np.zeros((2, 8, 8, 3), dtype=np.uint8), TypeError),
        (np.zeros((2, 8, 8, 3)), TypeError),  # float64
        (np.zeros((2, 8, 8, 4), dtype=np.float32), ValueError),
        (np.zeros((8, 8, 3), dtype=np.float32), ValueError),
        (np.zeros((2, 192), dtype=np.float32), ValueError),
        (np.zeros(5, dtype=np.float32), ValueError),
        (np.zeros((), dtype=np.float32), ValueError),
        (np.zeros((0, 8, 8, 3), dtype=np.float32), ValueError),
        (np.zeros((2, 1, 1, 3), dtype=np.float32), ValueError),
    ],
)
def test_a_network_refuses_what_its_first_layer_refuses(x, error, form):
    layers = Conv2d(3, 2, 3, rng=rng()), ReLU(), MaxPool2d(2), Flatten(), Linear(18, 2, rng=rng())
    network = to_form(Sequential(*layers), form)
    x = on_device(x) if isinstance(x, np.ndarray) else x
    for call in (network, network.forward):
        with pytest.raises(error, match=r"^(Conv2d|Sequential)\W") as caught:
            call(x)
        assert "\n" not in str(caught.value)


def test_wrong_channels_and_images_smaller_than_a_window():
    with refused(ValueError, "Conv2d: expected", "(N, H, W, 3), got (1, 5, 5, 4)"):
        on_device(Conv2d(3, 2, 3, rng=rng()))(on_device(np.zeros((1, 5, 5, 4), dtype="f")))
    with refused(ValueError, "Linear: expected", "(N, 3), got (1, 4)"):
        on_device(Linear(3, 2, rng=rng()))(on_device(np.zeros((1, 4), dtype="f")))
    for layer in (
        Conv2d(1, 1, 5, padding=1, rng=rng()), MaxPool2d(5, padding=1), AvgPool2d(5, padding=1),
    ):  # fmt: skip
        for form in ("plain", "auto"):
            to_form(layer, form)
            assert layer(on_device(np.zeros((1, 3, 3, 1), dtype="f"))).shape == (1, 1, 1, 1)
            with refused(ValueError, type(layer).__name__, "(1, 3, 2, 1)", "window does not fit"):
                layer(on_device(np.zeros((1, 3, 2, 1), dtype="f")))
