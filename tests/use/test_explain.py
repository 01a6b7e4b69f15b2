"""What a network looks at, against numerical derivatives and definitions."""

import copy

import numpy as np
import pytest

from bad_input import refused
from device import DEVICE, assert_allclose, on_device, on_host
from minialex.attach import accelerate, plain
from minialex.errors import ConfigError
from minialex.layers import (
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Tanh,
)
from minialex.models import AlexNet
from minialex.params import family
from minialex.twin import page_of
from minialex.use.explain import Trace, grad_cam, last_hidden, nearest, saliency

CLASSES = np.array([2, 0])


@pytest.fixture(scope="module", params=[plain, accelerate], ids=["pages", "twins"])
def model(request):
    model = AlexNet(3, "2012", width=1 / 16, image_size=99, seed=1)
    model.to(dtype=np.float64)
    rng = np.random.default_rng(2)
    # Scores of a useful size.
    model.classifier[-1].params["weight"][...] = rng.standard_normal((256, 3))
    convolution = [layer for layer in model.features.layers if isinstance(layer, Conv2d)][-1]
    # No kinks: where all of a window is 0, its maximum has no derivative.
    convolution.params["bias"][...] = 9
    return request.param(model.train(False))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 99, 99, 3))


def numerical(score, array, places, step=1e-6):
    """d score / d array at `places`, by central differences; `score()` reads the array."""
    found = []
    for place in places:
        before = array[place]
        values = []
        for sign in (1, -1):
            array[place] = before + sign * step
            values.append(score())
        array[place] = before
        found.append((values[0] - values[1]) / (2 * step))
    return np.array(found)


def test_the_gradient_at_the_image(model, x):
    gradient = Trace(model, x).gradient(CLASSES)
    rng = np.random.default_rng(1)
    for n, label in enumerate(CLASSES):
        own = x[n : n + 1].copy()
        places = [(0, *rng.integers(0, 99, 2).tolist(), int(rng.integers(3))) for _ in range(12)]
        expected = numerical(lambda own=own, label=label: model(own)[0, label], own, places)
        ours = [gradient[(n, *place[1:])] for place in places]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-7 * abs(gradient).max())
    assert saliency(model, x, CLASSES).shape == (2, 99, 99)
    np.testing.assert_array_equal(saliency(model, x, CLASSES), abs(gradient).max(axis=3))


def test_training_still_skips_the_gradient_of_the_image(model, x):
    trained = accelerate(copy.deepcopy(model), input_grad=False)
    found, expected = (saliency(m, x, CLASSES) for m in (trained, model))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * expected.max())
    assert not trained.features[0].input_grad


def test_grad_cam_is_its_formula(model, x):
    trace = Trace(model, x)
    classes = trace.logits.argmax(axis=1)
    maps = grad_cam(model, x, classes)
    last = trace.convolutions()[-1]
    assert trace.convolution_maps()[-1].shape == (5, 5, 16) and maps.shape == (2, 5, 5)
    for n, label in enumerate(classes):
        A = trace.outputs[last][n : n + 1].copy()
        assert A.min() > 0

        def score(A=A, label=label):
            y = A
            for layer in trace.layers[last + 1 :]:
                y = layer(y)
            return y[0, label]

        derivative = numerical(score, A, list(np.ndindex(A.shape))).reshape(A.shape[1:])
        w = derivative.mean(axis=(0, 1))
        expected = np.maximum((A[0] * w).sum(axis=2), 0)
        assert expected.max() > 0
        np.testing.assert_allclose(maps[n], expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_the_last_hidden_layer(model, x):
    trace = Trace(model, x)
    expected = trace.outputs[-2]  # Dropout, which does nothing in evaluation
    assert expected.shape == (2, 256)
    np.testing.assert_allclose(last_hidden(model, (x[:1], x[1:])), expected, rtol=1e-10)
    weight, bias = model.classifier[-1].params.values()
    np.testing.assert_allclose(expected @ weight + bias, trace.logits)


def test_nearest():
    rng = np.random.default_rng(0)
    queries, points = (rng.standard_normal((n, 5), dtype=np.float32) for n in (3, 9))
    points[7] = points[4]
    found, distances = nearest(queries, points, 4)
    for q in range(3):
        d = [float(np.sqrt(((queries[q] - p).astype(np.float64) ** 2).sum())) for p in points]
        order = sorted(range(9), key=lambda i: d[i])
        assert found[q].tolist() == order[:4]
        np.testing.assert_allclose(distances[q], [d[i] for i in order[:4]], rtol=1e-5)
    assert nearest(points[4:5], points, 2)[0].tolist() == [[4, 7]]


# ------------------------------------------------------------------------------ any other network


class Residual(Sequential):
    """y = x + what the layers make of it."""

    def forward(self, x):
        y, caches = super().forward(x)
        return x + y, caches

    def backward(self, dy, caches, grad):
        return dy + super().backward(dy, caches, grad)

    __call__ = Layer.__call__


def nested(form):
    rng = np.random.default_rng(4)
    model = Sequential(
        Sequential(Conv2d(3, 4, 3, padding=1, rng=rng), Sequential(Tanh()), MaxPool2d(2)),
        Residual(Conv2d(4, 4, 3, padding=1, rng=rng), Tanh()), Flatten(),
        Sequential(Linear(64, 6, rng=rng), Sequential(Tanh(), Linear(6, 3, rng=rng))), Tanh(),
    )  # fmt: skip
    return form(on_device(model.to(dtype=np.float32)))


def pixels(N=2):
    x = np.random.default_rng(6).standard_normal((N, 8, 8, 3))
    return on_device(x.astype(np.float32))


FORMS = pytest.mark.parametrize("form", [plain, accelerate], ids=["pages", "twins"])


@FORMS
def test_sequentials_nested_in_any_way(form):
    model, x = nested(form), pixels()
    trace = Trace(model, x)
    names = [page_of(layer).__name__ for layer in trace.layers]
    assert names == ["Conv2d", "Tanh", "MaxPool2d", "Residual", "Flatten", "Linear", "Tanh",
                     "Linear", "Tanh"]  # fmt: skip
    assert_allclose(trace.logits, model.train(False)(x), rtol=1e-5, atol=1e-6)
    assert trace.convolutions() == [1, 3]  # after the Tanh; and the block with a convolution
    assert [maps.shape for maps in trace.convolution_maps()] == [(8, 8, 4), (4, 4, 4)]
    assert grad_cam(model, x, CLASSES).shape == (2, 4, 4)
    hidden = last_hidden(model, [x[:1], x[1:]])
    assert_allclose(hidden, trace.outputs[6], rtol=1e-4, atol=1e-6)

    dx = on_host(trace.gradient(CLASSES))
    ours, step = model.to(dtype=np.float64), 1e-6
    for place in [(0, 0, 0, 0), (1, 3, 4, 2), (1, 7, 7, 1)]:
        up, down = (on_host(x).astype(np.float64) for _ in range(2))
        up[place] += step
        down[place] -= step
        n = place[0]
        scores = [float(ours(on_device(a))[n, CLASSES[n]]) for a in (up, down)]
        assert dx[place] == pytest.approx((scores[0] - scores[1]) / (2 * step), abs=1e-4)


def test_networks_without_a_convolution_or_a_linear_layer():
    x = pixels()
    model = on_device(Sequential(Flatten(), Linear(192, 3)))
    assert saliency(model, x, CLASSES).shape == (2, 8, 8)
    assert last_hidden(model, [x]).shape == (2, 192)
    assert last_hidden(model[1], [x.reshape(2, -1)]).shape == (2, 192)
    with refused(ConfigError, "Grad-CAM needs a convolution"):
        grad_cam(model, x, CLASSES)
    with refused(ConfigError, "no Linear layer"):
        last_hidden(on_device(Sequential(Conv2d(3, 3, 8), Flatten())), [x])
    with refused(ConfigError, "no Linear layer"):
        last_hidden(Flatten(), [x])


class Careful(ReLU):
    """Refuses to work in training, and images of NaN."""

    def forward(self, x):
        assert not self.training
        if not on_host(x).max() < 100:
            raise ZeroDivisionError
        return super().forward(x)

    def backward(self, dy, cache, grad):
        assert not self.training
        return super().backward(dy, cache, grad)


def test_the_mode_that_was_found_is_given_back():
    model, x = on_device(Sequential(nested(plain), Careful())), pixels()
    model.train()[0][0].train(False)  # as in a network of which only a part is trained
    modes = [layer.training for layer in family(model)]
    assert len(set(modes)) == 2
    for look in (
        lambda x: Trace(model, x).gradient(CLASSES),
        lambda x: saliency(model, x, CLASSES),
        lambda x: grad_cam(model, x, CLASSES),
        lambda x: last_hidden(Sequential(model, Linear(3, 2)).to(DEVICE), [x]),
    ):
        look(x)
        assert [layer.training for layer in family(model)] == modes
        with pytest.raises(ZeroDivisionError):
            look(x * np.float32(np.nan))
        assert [layer.training for layer in family(model)] == modes
