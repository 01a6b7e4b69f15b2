"""What all layers promise: dtypes, untouched inputs, clear errors, one vector; Sequential and MicroBatches."""

import numpy as np
import pytest

from device import assert_allclose, assert_array_equal, assert_on_device, on_device
from layer_cases import CASES, KINDS, Strided, make
from minialex.layers import AvgPool2d, Conv2d, Dropout, Flatten, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU, Sequential, Sigmoid, Tanh
from minialex.params import count_parameters, dict_like, named_arrays, zeros_like


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_follow_the_input(kind, dtype):
    for i in range(4):  # all arrays, and some that are not contiguous
        layer, x = make(kind, i)
        layer.to(dtype=dtype)
        inner = layer.layer if isinstance(layer, Strided) else layer
        inner.to(dtype=dtype)
        x = x.astype(dtype)
        y, cache = inner.forward(x.copy())
        grad = zeros_like(inner.params)
        dx = inner.backward(np.ones_like(y), cache, grad)
        assert y.dtype == dtype and (dx is None or dx.dtype == dtype)
        assert_on_device(y, *([] if dx is None else [dx]))
        assert all(owner[key].dtype == dtype for owner, key, _ in named_arrays(grad))
        assert inner(x.copy()).dtype == dtype


@pytest.mark.parametrize("kind, i", [(kind, i) for kind, i in CASES if i < 4 and kind != "relu-inplace"])
def test_inputs_are_left_alone_and_results_shared_with_nobody(kind, i):
    layer, x = make(kind, i)
    layer.to(dtype=np.float64)
    inner = layer.layer if isinstance(layer, Strided) else layer
    inner.to(dtype=np.float64)
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
        (lambda: Conv2d(0, 1, 3, rng=rng()), ValueError, "Conv2d: channels"),
        (lambda: Conv2d(1, 1, 3, padding=-1, rng=rng()), ValueError, "padding"),
        (lambda: Conv2d(3, 4, 3, groups=2, rng=rng()), ValueError, "3 and 4 channels .* 2 groups"),
        (lambda: Conv2d(4, 3, 3, groups=2, rng=rng()), ValueError, "4 and 3 channels .* 2 groups"),
        (lambda: Conv2d(1, 1, 3, rng=rng(), algorithm="fft"), ValueError, "'fft'; choose auto"),
        (lambda: Conv2d(2, 2, 3, 2, 0, 2, rng=rng(), algorithm="winograd"), ValueError, "needs groups=1, got 2"),
        (lambda: MaxPool2d(0), ValueError, "MaxPool2d: kernel_size"),
        (lambda: AvgPool2d(2, 0), ValueError, "AvgPool2d: .* got 2 and 0"),
        (lambda: MaxPool2d(3, padding=2), ValueError, "padding must be .* got 2"),
        (lambda: LocalResponseNorm(4), ValueError, "odd, got 4"),
        (lambda: LocalResponseNorm(0), ValueError, "odd, got 0"),
        (lambda: LocalResponseNorm(k=0), ValueError, "k must be positive"),
        (lambda: Dropout(1), ValueError, "Dropout: p .* got 1"),
        (lambda: Dropout(-0.1), ValueError, "Dropout: p"),
        (lambda: Linear(0, 3, rng=rng()), ValueError, "Linear: sizes"),
        (lambda: MicroBatches(ReLU(), workers=0), ValueError, "MicroBatches"),
        (lambda: MicroBatches(ReLU(), size=0), ValueError, "MicroBatches"),
        (lambda: ReLU().flatten(), ValueError, "ReLU has no parameters"),
        (lambda: Layer().forward(np.ones(1)), NotImplementedError, "Layer has no forward"),
    ],
)
def test_bad_arguments(make_layer, error, words):
    with pytest.raises(error, match=words) as caught:
        make_layer()
    assert "\n" not in str(caught.value)


IMAGE_LAYERS = [
    Conv2d(3, 2, 3, rng=rng()), MaxPool2d(2), AvgPool2d(2), LocalResponseNorm(), Flatten(),
]  # fmt: skip
ANY_LAYERS = [ReLU(), Tanh(), Sigmoid(), Dropout()]


@pytest.mark.parametrize("layer", [*IMAGE_LAYERS, Linear(3, 2, rng=rng())])
@pytest.mark.parametrize("shape", [(3,), (2, 5, 3), (1, 1, 5, 5, 3)])
def test_wrong_shapes_name_layer_and_shape(layer, shape):
    with pytest.raises(ValueError) as caught:
        layer.forward(on_device(np.zeros(shape, dtype=np.float32)))
    text = str(caught.value)
    assert text.startswith(type(layer).__name__ + ":") and str(shape) in text and "\n" not in text


@pytest.mark.parametrize("layer", [*IMAGE_LAYERS, *ANY_LAYERS])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_wrong_dtypes_name_layer_and_dtype(layer, dtype):
    with pytest.raises(TypeError) as caught:
        layer.forward(on_device(np.zeros((1, 5, 5, 3), dtype=dtype)))
    assert type(layer).__name__ in str(caught.value) and np.dtype(dtype).name in str(caught.value)


def test_wrong_channels_and_images_smaller_than_a_window():
    with pytest.raises(ValueError, match=r"Conv2d: expected .*\(N, H, W, 3\), got \(1, 5, 5, 4\)"):
        Conv2d(3, 2, 3, rng=rng())(on_device(np.zeros((1, 5, 5, 4))))
    with pytest.raises(ValueError, match=r"Linear: expected .*\(N, 3\), got \(1, 4\)"):
        Linear(3, 2, rng=rng())(on_device(np.zeros((1, 4))))
    for layer in (Conv2d(1, 1, 5, padding=1, rng=rng()), MaxPool2d(5, padding=1), AvgPool2d(5, padding=1)):
        layer = on_device(layer)
        assert layer(on_device(np.zeros((1, 3, 3, 1), dtype=np.float32))).shape == (1, 1, 1, 1)
        with pytest.raises(ValueError, match="a 5x5 window does not fit into 3x2 with padding 1"):
            layer(on_device(np.zeros((1, 3, 2, 1), dtype=np.float32)))


# --------------------------------------------------------------------------------------- one vector, the tree


def network():
    features = Sequential(Conv2d(2, 4, 3, padding=1, rng=rng()), ReLU(inplace=True), MaxPool2d(2))
    return on_device(Sequential(features, Flatten(), Linear(16, 3, rng=rng()), Dropout(0.5)))


def test_names_shapes_and_costs():
    layer = network()
    names = [name for _, _, name in named_arrays(layer.params)]
    assert names == ["0.0.weight", "0.0.bias", "2.weight", "2.bias"]
    assert [name for name, _ in layer.leaves()] == ["0.0", "0.1", "0.2", "1", "2", "3"]
    assert count_parameters(layer.params) == 72 + 4 + 48 + 3
    assert layer.output_shape((4, 4, 2)) == (3,)
    assert layer(on_device(np.zeros((5, 4, 4, 2), dtype=np.float32))).shape == (5, 3)
    assert layer.multiply_adds((4, 4, 2)) == 4 * 4 * 72 + 48
    assert len(layer) == 4 and layer[2] is layer.layers[2] and "3: Dropout(0.5)" in repr(layer)


def test_flatten_makes_views_of_one_vector():
    layer = network()
    before = [owner[key].copy() for owner, key, _ in named_arrays(layer.params)]
    theta = layer.flatten()
    assert theta.shape == (127,) and theta.dtype == np.float32
    assert_array_equal(theta, np.concatenate([array.ravel() for array in before]))
    for owner, key, _ in named_arrays(layer.params):
        assert np.may_share_memory(owner[key], theta)
    theta[...] = 7
    assert (layer[0][0].params["weight"] == 7).all() and (layer[2].params["bias"] == 7).all()

    g = np.zeros_like(theta)
    grad = dict_like(layer.params, g)
    assert [owner[key].shape for owner, key, _ in named_arrays(grad)] == [array.shape for array in before]
    y, cache = layer.forward(on_device(np.ones((2, 4, 4, 2), dtype=np.float32)))
    layer.backward(np.ones_like(y), cache, grad)
    assert np.array_equal(g[-3:], grad["2"]["bias"]) and g.any()


def test_to_another_dtype():
    layer = network().to(dtype=np.float64)
    assert all(owner[key].dtype == np.float64 for owner, key, _ in named_arrays(layer.params))
    assert layer.flatten().dtype == np.float64


def test_sequential_is_its_layers_in_turn():
    layer, x = network().train(False), on_device(rng().standard_normal((2, 4, 4, 2)).astype(np.float32))
    y = x.copy()
    for part in [*layer[0].layers, *layer.layers[1:]]:
        y = part(y)
    assert np.array_equal(layer(x), y) and np.array_equal(layer.forward(x)[0], y)
    assert not layer[3].training and layer.train()[3].training


# ------------------------------------------------------------------------------------------- MicroBatches


def passes(layer, x, dy):
    y, cache = layer.forward(x)
    grad = zeros_like(layer.params)
    dx = layer.backward(dy, cache, grad)
    return [y, dx, *(owner[key] for owner, key, _ in named_arrays(grad))]


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("N, size", [(1, 4), (2, 1), (7, 2), (12, 3), (5, 16)])
def test_micro_batches_are_the_plain_layer(workers, N, size):
    plain = network()[0].to(dtype=np.float64)
    x, dy = on_device(rng().standard_normal((N, 4, 4, 2))), on_device(rng().standard_normal((N, 2, 2, 4)))
    layer = MicroBatches(plain, workers, size)
    for got, want in zip(passes(layer, x, dy), passes(plain, x, dy), strict=True):
        assert_allclose(got, want, rtol=0, atol=1e-13)
    assert_allclose(layer(x), plain(x), rtol=0, atol=1e-13)
    groups = layer._groups(N)
    assert [i for group in groups for i in range(group.start, group.stop)] == list(range(N))
    assert all(0 < group.stop - group.start <= size for group in groups)
    assert layer.output_shape((4, 4, 2)) == (2, 2, 4) and layer.multiply_adds((4, 4, 2)) == 16 * 72


def test_micro_batches_repeat_to_the_bit_in_a_fixed_order():
    plain = Conv2d(2, 4, 3, rng=rng(), algorithm="im2col")
    x, dy = (rng().standard_normal((13, 4, 4, 2))).astype("f"), rng().standard_normal((13, 2, 2, 4)).astype("f")
    layer = MicroBatches(plain, workers=3, size=2)
    first = passes(layer, x, dy)
    for _ in range(5):
        assert all(np.array_equal(a, b) for a, b in zip(passes(layer, x, dy), first, strict=True))
    # worker w sums its groups w, w + 3 ... in order, then the workers' sums are added in order
    groups = layer._groups(13)
    parts = [passes(plain, x[group], dy[group])[2] for group in groups]
    sums = [sum(parts[w + 3 :: 3], parts[w]) for w in range(3)]
    assert len(groups) > 3 and np.array_equal(first[2], sums[0] + sums[1] + sums[2])


def test_micro_batches_pass_on_errors():
    with pytest.raises(ValueError, match="MaxPool2d"):
        MicroBatches(MaxPool2d(9), workers=2, size=1).forward(np.zeros((4, 3, 3, 1), dtype=np.float32))
