"""Layers of one's own among accelerated ones: left alone, and right in every form."""

import copy

import numpy as np
import pytest

from bad_input import refused
from chunked import BatchGradient
from cores import cores
from device import DEVICE, assert_allclose, on_device, on_host
from layer_cases import to_form
from minialex.attach import accelerate, plain
from minialex.errors import ConfigError
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Tanh,
)
from minialex.models import AlexNet
from minialex.params import named_arrays, zeros_like
from minialex.twin import page_of


def rng():
    return np.random.default_rng(0)


def images(N):
    return on_device(rng().standard_normal((N, 8, 8, 3)))


def is_fast(layer):
    return type(layer) is not page_of(layer)


def passes(layer, x):
    """y, dx and the gradients, on the host."""
    y, cache = layer.forward(x.copy())
    grad = zeros_like(layer.params)
    dx = layer.backward(y.copy(), cache, grad)
    arrays = [y, dx, *(owner[key] for owner, key, _ in named_arrays(grad))]
    return [on_host(array).copy() for array in arrays]


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------ what is left alone


class Doubled(Linear):
    """A subclass of a page with a forward of its own."""

    def forward(self, x):
        y, cache = super().forward(x)
        return 2 * y, cache

    def backward(self, dy, cache, grad):
        return super().backward(2 * dy, cache, grad)


class Residual(Sequential):
    """y = x + what the layers make of it."""

    def forward(self, x):
        y, caches = super().forward(x)
        return x + y, caches

    def backward(self, dy, caches, grad):
        return dy + super().backward(dy, caches, grad)

    __call__ = Layer.__call__


def test_a_subclass_of_a_page_is_left_alone():
    layer = Sequential(Linear(3, 4, rng=rng()), ReLU(), Doubled(4, 2, rng=rng()))
    layer = on_device(layer.to(dtype=np.float64))
    x = on_device(rng().standard_normal((4, 3)))
    want = passes(layer, x)
    accelerate(layer)
    assert type(layer[2]) is Doubled and is_fast(layer[0])
    assert not layer[1].inplace  # nobody knows what Doubled does with its dx
    assert_same(passes(layer, x), want)


@pytest.mark.parametrize("input_grad", [True, False])
def test_a_block_of_ones_own_keeps_what_it_does_with_its_layers(input_grad):
    block = Residual(Conv2d(3, 3, 3, padding=1, rng=rng()), ReLU(), AvgPool2d(1))
    for layer in (block, Sequential(block, ReLU(), MaxPool2d(2))):
        layer = on_device(copy.deepcopy(layer).to(dtype=np.float64))
        x = images(4)
        want = passes(layer, x)
        accelerate(layer, input_grad=input_grad)
        assert_same(passes(layer, x), want)  # dx too: the block adds it to dy


@pytest.mark.parametrize("kind", [ReLU, MaxPool2d, LocalResponseNorm])
def test_a_layer_that_stands_at_two_places_is_right_at_both(kind):
    """Such as a ReLU that could work in place at one of them alone."""
    one = kind(1) if kind is MaxPool2d else kind()
    conv = [Conv2d(3, 3, 1, rng=rng()) for _ in range(2)]
    for first in (BatchNorm(), Tanh(), Same()):
        layer = Sequential(first, one, conv[0], one, conv[1], one, MaxPool2d(2))
        layer, x = on_device(plain(layer).to(dtype=np.float64)), images(3)
        want = passes(layer, x)
        assert_same(passes(accelerate(layer), x), want)
        accelerate(layer).forward(x)
        assert np.array_equal(x, images(3))


def test_a_relu_works_in_place_only_where_nobody_else_reads_its_x_or_its_dy():
    def inplace(*layers):
        chain = accelerate(on_device(Sequential(*layers)))
        return [leaf.inplace for _, leaf in chain.leaves() if isinstance(leaf, ReLU)]

    def linear():
        return Linear(3, 3, rng=rng())

    def conv():
        return Conv2d(3, 3, 1, rng=rng())

    after = (conv(), linear(), MaxPool2d(1), AvgPool2d(1), LocalResponseNorm(), Dropout())
    for layer in after:
        assert inplace(conv(), ReLU(), layer) == [True]
        assert inplace(linear(), ReLU(), layer) == [True]
    for layer in (Tanh(), ReLU(), Flatten(), Sequential(conv())):
        assert inplace(conv(), ReLU(), layer)[0] is False
    for layer in (Tanh(), MaxPool2d(1), LocalResponseNorm(), Dropout(), AvgPool2d(1), Flatten()):
        assert inplace(layer, ReLU(), linear()) == [False]
    assert inplace(linear(), ReLU()) == inplace(ReLU(), linear()) == [False]


# -------------------------------------------------------------- layers that need the whole batch


class BatchNorm(Layer):
    """y = (x - mean) / deviation of each channel over the batch: a student's own layer."""

    def forward(self, x):
        axes = tuple(range(x.ndim - 1))
        mean, deviation = x.mean(axis=axes), (x.var(axis=axes) + 1e-5) ** 0.5
        y = (x - mean) / deviation
        return y, (y, deviation)

    def backward(self, dy, cache, grad):
        y, deviation = cache
        axes = tuple(range(y.ndim - 1))
        return (dy - dy.mean(axis=axes) - y * (dy * y).mean(axis=axes)) / deviation


class Same(Layer):
    """y = x, the very same array."""

    def forward(self, x):
        return x, None

    def backward(self, dy, cache, grad):
        return dy


class Mixing(Sequential):
    """A block whose layers treat each image by itself, while it does not."""

    def forward(self, x):
        y, caches = super().forward(x)
        return y - y.mean(axis=0), caches

    def backward(self, dy, caches, grad):
        return super().backward(dy - dy.mean(axis=0), caches, grad)

    __call__ = Layer.__call__


def normalized(middle):
    return Sequential(
        Conv2d(3, 4, 3, padding=1, rng=rng()), ReLU(), MaxPool2d(2), middle,
        Conv2d(4, 6, 3, rng=rng()), ReLU(), MaxPool2d(2), Flatten(), Linear(6, 2, rng=rng()),
    ).to(dtype=np.float64)  # fmt: skip


MIDDLES = {
    "BatchNorm": BatchNorm,
    "Mixing": lambda: Mixing(Conv2d(4, 4, 1, rng=rng())),
    "inside": lambda: Sequential(Sequential(BatchNorm())),
}


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", MIDDLES)
def test_a_layer_that_needs_all_images_gets_them(name, threads, monkeypatch):
    monkeypatch.setattr("minialex.fast.sequential.GROUP", 2)
    with cores(threads):
        layer, x = on_device(normalized(MIDDLES[name]())), images(7)
        want = passes(layer, x)
        accelerate(layer)
        if DEVICE == "cpu":
            assert layer.head == 3
        assert_same(passes(layer, x), want)
        assert_allclose(layer(x), plain(layer)(x), rtol=0, atol=1e-12)


def test_the_micro_batches_end_where_random_numbers_are_drawn_or_all_images_are_needed():
    if DEVICE == "gpu":
        pytest.skip("a GPU takes the whole batch at once")
    dropping = Sequential(Conv2d(3, 4, 3, rng=rng()), ReLU(), Dropout(), Flatten())
    head = [accelerate(dropping).head, accelerate(normalized(BatchNorm())).head]
    assert head == [2, 3]
    model = accelerate(AlexNet(2, width=1 / 16, image_size=67))
    assert model.features.head == len(model.features.layers)
    assert not is_fast(model.classifier)  # nothing to convolve
    inner = Sequential(Conv2d(3, 4, 3, rng=rng()), Sequential(Conv2d(4, 4, 1, rng=rng())))
    assert is_fast(accelerate(Sequential(inner))) and not is_fast(inner)  # the outermost alone


@pytest.mark.parametrize("form", ["plain", "auto"])
@pytest.mark.parametrize("name", MIDDLES)
def test_chunks_of_a_batch_that_is_needed_whole_are_refused(name, form):
    model = to_form(normalized(MIDDLES[name]()), form)
    with refused(ConfigError, "cannot be taken in chunks", name if name != "inside" else "Batch"):
        BatchGradient(model, 2, 7)
    BatchGradient(model, 7, 7)(images(7), on_device(np.arange(7) % 2), 0)
