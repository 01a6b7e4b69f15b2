"""Wrong gradients of every kind of layer, which the gradient check must find."""

import numpy as np
import pytest

from device import DEVICE, on_device, on_host
from drawn_layers import CrossEntropy, Wrapper
from minialex import gradcheck
from minialex.attach import accelerate
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)


class Wrong(Wrapper):
    """`layer` with another backward: spoil(layer, dy, cache, grad) -> dx."""

    def __init__(self, layer, spoil):
        super().__init__(layer)
        self.spoil, self.per_image = spoil, False  # the differences alone must show it

    def backward(self, dy, cache, grad):
        return self.spoil(self.layer, dy, cache, grad)


def on_dx(change):
    return lambda layer, dy, cache, grad: change(layer.backward(dy, cache, grad))


def on_dy(change):
    return lambda layer, dy, cache, grad: layer.backward(change(dy), cache, grad)


def on_grad(change):
    def spoil(layer, dy, cache, grad):
        dx = layer.backward(dy, cache, grad)
        change(grad)
        return dx

    return spoil


def on_cache(change):
    return lambda layer, dy, cache, grad: layer.backward(dy, change(cache), grad)


def other_weight(change):
    """dx with another weight than forward used."""

    def spoil(layer, dy, cache, grad):
        weight = layer.params["weight"]
        layer.params["weight"] = change(weight).copy()
        dx = layer.backward(dy, cache, grad)
        layer.params["weight"] = weight
        return dx

    return spoil


def scaled(name, factor):
    return on_grad(lambda grad: np.multiply(grad[name], factor, out=grad[name]))


def assigned(name, change):
    """The right place, the wrong numbers."""
    return on_grad(lambda grad: np.copyto(grad[name], change(grad[name].copy())))


def one_wrong_entry(dx):
    return dx + on_device(1e-4 * np.eye(1, dx.size, dx.size - 1).reshape(dx.shape))


def x_overwritten(layer, dy, cache, grad):
    dx = layer.backward(dy, cache, grad)
    x = getattr(cache, "_cache", cache)  # that of a twin is sealed
    (x[0] if isinstance(x, tuple) else x).fill(0)
    return dx


def dy_overwritten(layer, dy, cache, grad):
    dx = layer.backward(dy, cache, grad)
    dy.fill(0)
    return dx


def weight_changed(layer, dy, cache, grad):
    dx = layer.backward(dy, cache, grad)
    layer.params["weight"] *= 1 + 1e-9
    return dx


def in_new_arrays(layer, dy, cache, grad):
    return layer.backward(dy, cache, {name: array.copy() for name, array in grad.items()})


EVERYWHERE = {  # wrong for any layer with a square output and a batch of two
    "dx scaled": on_dx(lambda dx: 1.00001 * dx),
    "dx negative": on_dx(lambda dx: -dx),
    "dx zero": on_dx(lambda dx: 0 * dx),
    "dx averaged over the batch": on_dx(lambda dx: dx / len(dx)),
    "dx of the other image": on_dx(lambda dx: dx[::-1]),
    "one wrong entry": on_dx(one_wrong_entry),
    "dy one image for all": on_dy(lambda dy: dy[:1] + 0 * dy),
    "dy forgotten": on_dy(np.ones_like),
    "dx float32": on_dx(lambda dx: dx.astype(np.float32)),
    "dx of another shape": on_dx(lambda dx: dx[:1]),
    "dx None": on_dx(lambda dx: None),
    "dx NaN": on_dx(lambda dx: dx + np.nan),
}
IMAGES = {
    "dx swapped axes": on_dx(lambda dx: dx.swapaxes(1, 2)),
    "dy flipped": on_dy(lambda dy: dy[:, ::-1]),
    "dx other channel": on_dx(lambda dx: dx[..., ::-1]),
}
CONV = {
    "kernel flipped": other_weight(lambda w: w[::-1, ::-1]),
    "kernel transposed": other_weight(lambda w: w.swapaxes(0, 1)),
    "weight gradient flipped": assigned("weight", lambda g: g[::-1, ::-1]),
    "weight gradient transposed": assigned("weight", lambda g: g.swapaxes(0, 1)),
    "weight gradient averaged": scaled("weight", 1 / 2),
    "filters exchanged": assigned("weight", lambda g: g[..., ::-1]),
    "bias gradient missing": scaled("bias", 0),
    "bias gradient averaged": scaled("bias", 1 / 2),
    "gradient not written": on_grad(lambda grad: grad["bias"].fill(np.nan)),
    "gradient in a new array": in_new_arrays,
    "dy overwritten": dy_overwritten,
    "x overwritten": x_overwritten,
    "weight changed": weight_changed,
}
FEW = [
    "kernel flipped", "weight gradient flipped", "filters exchanged", "bias gradient missing",
    "x overwritten",
]  # fmt: skip


def pool_by(x, share):
    """MaxPool2d.backward that gives share(window of x == its maximum, in scan order) of dy each."""

    def spoil(layer, dy, cache, grad):
        y, dy = on_host(layer(on_device(x))), on_host(dy)
        dx, K, S = np.zeros_like(x), layer.kernel_size, layer.stride
        for n, p, q, c in np.ndindex(y.shape):
            window = (n, slice(p * S, p * S + K), slice(q * S, q * S + K), c)
            dx[window] += dy[n, p, q, c] * share(x[window] == y[n, p, q, c])
        return on_device(dx)

    return spoil


def lrn_by(size=None, factor=2.0, neighbours=True):
    """LocalResponseNorm.backward with another window, factor, or without the neighbours."""

    def spoil(layer, dy, cache, grad):
        x, s = cache[:2]
        terms = dy * x * s ** (-layer.beta - 1)
        window = LocalResponseNorm(size or layer.size)
        total = window.window_sum(terms) if neighbours else terms
        return dy * s**-layer.beta - factor * layer.alpha * layer.beta * x * total

    return spoil


def uneven_window(layer, dy, cache, grad):
    """The window of LRN one channel short on one side."""
    x, s = cache[:2]
    terms = dy * x * s ** (-layer.beta - 1)
    total = LocalResponseNorm(layer.size).window_sum(terms)
    total[..., layer.size // 2 :] -= terms[..., : -(layer.size // 2)]
    return dy * s**-layer.beta - 2 * layer.alpha * layer.beta * x * total


def only_last_group_of(x):
    """The weights' gradients are those of the last image."""

    def spoil(layer, dy, cache, grad):
        dx = layer.backward(dy, cache, grad)
        _, last = layer.forward(on_device(x[-1:]))
        layer.backward(dy[-1:], last, grad)
        return dx

    return spoil


def exchanged(layer, dy, cache, grad):
    return layer.backward(dy, cache, {"0": grad["2"], "2": grad["0"]})


def layer_forgotten(layer, dy, cache, grad):
    dy = layer[2].backward(dy, cache[2], grad["2"])
    return layer[0].backward(dy, cache[0], grad["0"])  # without the Tanh between


def smoothing_forgotten(layer, dy, cache, grad):
    return dy * (cache + on_device(0.3 * (1 / 4 - np.eye(4)[layer.labels]) / len(cache)))


def mutations():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 5, 5, 4))
    ties = np.round(x[:1, :, :, :2])
    vectors = rng.standard_normal((2, 3))
    conv = Conv2d(2, 2, 3, padding=1, rng=rng)
    fast_conv = Conv2d(2, 4, 3, padding=1, groups=2, rng=rng)
    linear, lrn, drop = Linear(3, 3, rng=rng), LocalResponseNorm(3, 1.0), Dropout(0.5, seed=1)
    chain = Sequential(Linear(3, 3, rng=rng), Tanh(), Linear(3, 3, rng=rng))
    micro = Sequential(Conv2d(2, 2, 2, rng=rng))
    loss = CrossEntropy(np.array([1, 3]), 0.3)
    x2, x5 = x[..., :2], x[:, :3, :3, :2]
    table = {
        "conv": (conv, x5, EVERYWHERE | IMAGES | CONV),
        "fast conv": (fast_conv, x5, IMAGES | {name: CONV[name] for name in FEW}),
        "max": (MaxPool2d(3, 2), x2, EVERYWHERE | IMAGES | {
            "first only": pool_by(x2, lambda tied: tied * 0.5),
        }),
        "max of ties": (MaxPool2d(2, 2), ties, {
            "ties share": pool_by(ties, lambda tied: tied / tied.sum()),
            "ties all": pool_by(ties, lambda tied: 1.0 * tied),
        }),
        "mean": (AvgPool2d(3, 2), x2, EVERYWHERE | IMAGES | {
            "not divided": on_dx(lambda dx: 9 * dx),
        }),
        "lrn": (lrn, x5.repeat(2, 3) + 0.1 * x[:, :3, :3], EVERYWHERE | IMAGES | {
            "one window smaller": lrn_by(size=1),
            "one window larger": lrn_by(size=5),
            "uneven window": uneven_window,
            "without the 2": lrn_by(factor=1),
            "wrong sign": lrn_by(factor=-2),
            "own channel only": lrn_by(neighbours=False),
        }),
        "relu": (ReLU(), x5, EVERYWHERE | IMAGES | {
            "no mask": lambda layer, dy, cache, grad: dy.copy(),
            "inverted mask": lambda layer, dy, cache, grad: dy * (cache <= 0),
            "mask of dy": lambda layer, dy, cache, grad: dy * (dy > 0),
            "y for dy": lambda layer, dy, cache, grad: dy * cache,
        }),
        "relu at 0": (ReLU(), ties, {
            "half at 0": lambda layer, dy, cache, grad: dy * ((cache > 0) + 0.5 * (cache == 0)),
        }),
        "tanh": (Tanh(), x5, EVERYWHERE | {
            "1 - y": lambda layer, dy, cache, grad: dy * (1 - cache),
        }),
        "sigmoid": (Sigmoid(), x5, EVERYWHERE | {
            "1 - y^2": lambda layer, dy, cache, grad: dy * (1 - cache**2),
        }),
        "dropout": (drop, x5, EVERYWHERE | {
            "not scaled": lambda layer, dy, cache, grad: dy * (cache > 0),
            "inverted mask": lambda layer, dy, cache, grad: dy * 2 * (cache == 0),
            "another mask": on_cache(lambda m: m[:, ::-1]),
            "no mask": on_cache(np.ones_like),
        }),
        "linear": (linear, vectors, EVERYWHERE | {
            "weight not transposed": other_weight(lambda w: w.T),
            "weight gradient transposed": assigned("weight", lambda g: g.T),
            "weight gradient averaged": scaled("weight", 1 / 2),
            "bias gradient missing": scaled("bias", 0),
            "bias gradient averaged": scaled("bias", 1 / 2),
        }),
        "flatten": (Flatten(), x5, {
            "channels last": lambda layer, dy, cache, grad: dy.reshape(cache).copy(),
        }),
        "chain": (chain, vectors, EVERYWHERE | {
            "gradients exchanged": exchanged, "a layer forgotten": layer_forgotten,
        }),
        "micro-batches": (micro, x5, {
            "dx None": EVERYWHERE["dx None"], "only the last group": only_last_group_of(x5),
        }),
        "loss": (loss, rng.standard_normal((2, 4)), {
            "not divided by N": on_dx(lambda dx: 2 * dx),
            "smoothing forgotten": smoothing_forgotten,
            "wrong sign": on_dx(lambda dx: -dx),
        }),
    }  # fmt: skip
    first = {name: what for what, (_, _, spoils) in [*table.items()][::-1] for name in spoils}
    for what, (layer, x, spoils) in table.items():
        for name, spoil in spoils.items():
            case = f"{what}-{type(layer).__name__}-{name}".replace(" ", "-")
            if DEVICE == "cpu" or first[name] == what:  # on a GPU each mistake once
                yield pytest.param(what, layer, x, spoil, id=case)


@pytest.mark.parametrize("what, layer, x, spoil", list(mutations()))
def test_a_wrong_gradient_is_found(what, layer, x, spoil, monkeypatch):
    layer, x = on_device(layer), on_device(x)
    if what in ("fast conv", "micro-batches"):
        monkeypatch.setattr("minialex.fast.sequential.GROUP", 1)
        winograd = what == "fast conv" and DEVICE == "cpu"
        accelerate(layer, algorithm="winograd" if winograd else "im2col")
    unspoiled = Wrong(layer, lambda layer, dy, cache, grad: layer.backward(dy, cache, grad))
    assert gradcheck(unspoiled, x, max_entries=30)
    assert not gradcheck(Wrong(layer, spoil), x)
