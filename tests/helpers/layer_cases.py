"""Layers with inputs, drawn from seeds: case (kind, i) is the same in every run."""

import numpy as np

from device import on_device
from minialex.layers import AvgPool2d, Conv2d, Dropout, Flatten, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU, Sequential, Sigmoid, Tanh
from minialex.losses import softmax_cross_entropy


class Strided(Layer):
    """Hands `layer` an x and a dy that are not contiguous: every second number, or the axes lie reversed."""

    def __init__(self, layer, way):
        super().__init__()
        self.layer, self.params, self.way = layer, layer.params, way

    def spread(self, a):
        return np.stack((a, a), axis=-1)[..., 0] if self.way else a.T.copy().T

    def forward(self, x):
        return self.layer.forward(self.spread(x))

    def backward(self, dy, cache, grad):
        return self.layer.backward(self.spread(dy), cache, grad)


class CrossEntropy(Layer):
    """The loss as a layer: logits (N, C) -> a number."""

    def __init__(self, labels, label_smoothing):
        super().__init__()
        self.labels, self.label_smoothing = labels, label_smoothing

    def forward(self, x):
        return softmax_cross_entropy(x, on_device(self.labels), self.label_smoothing)

    def backward(self, dy, cache, grad):
        return dy * cache


def with_bias(layer, rng):
    """`layer` with a bias that is not zero."""
    layer.params["bias"][...] = rng.standard_normal(layer.params["bias"].shape)
    return layer


def image(rng, i, channels, least=1, most=4):
    """x (N, H, W, C), H and W each `least` to `least + most`; each fourth batch has one image."""
    H, W = rng.integers(max(1, least), max(1, least) + most + 1, 2)
    return rng.standard_normal((1 if i % 4 == 0 else int(rng.integers(2, 4)), H, W, channels))


def conv(rng, i, algorithm):
    winograd = algorithm == "winograd"
    K = int(rng.choice([2, 3, 3, 3, 4, 5]) if winograd else rng.choice([1, 2, 3, 3, 4, 5]))
    S = int(rng.integers(2, 5)) if winograd and i % 3 == 1 else 1 if winograd else int(rng.integers(1, 4))
    P, G = int(rng.integers(0, 4 if winograd else 3)), int(rng.choice([1, 1, 2, 3]))
    G = 1 if winograd and S > 1 else G
    C, F = G * int(rng.integers(1, 3 if G == 1 else 2)), G * int(rng.integers(1, 3))
    layer = Conv2d(C, F, K, S, P, G, rng=rng, algorithm=algorithm, input_grad=i % 7 != 3)
    return with_bias(layer, rng), image(rng, i, C, K - 2 * P, 2)


def pool(rng, i, kind):
    K = int(rng.integers(1, 5))
    P = int(rng.integers(0, K // 2 + 1))
    layer = kind(K, int(rng.integers(1, 4)), P)
    x = image(rng, i, int(rng.integers(1, 4)), K - 2 * P)
    return layer, np.round(x) if i % 5 == 1 else x  # with whole numbers: equal maxima


def lrn(rng, i):
    size, beta = (1, 3, 5, 7)[i % 4], float(rng.choice([0.75, 0.75, 0.5, 1, 0.3]))
    layer = LocalResponseNorm(size, alpha=rng.uniform(0.5, 1.5), beta=beta, k=rng.uniform(0.5, 2))
    return layer, image(rng, i, int(rng.integers(1, 9)), most=2)


def dense(rng, i):
    D, F = rng.integers(1, 7, 2)
    return with_bias(Linear(D, F, rng=rng), rng), rng.standard_normal((1 + i % 4, D))


def any_shape(rng, layer):
    return layer, rng.standard_normal(rng.integers(1, 4, rng.integers(1, 5)))


def dropout(rng, i):
    layer = Dropout(float(rng.uniform(0, 0.9)), seed=i, stream=i % 3)
    layer.set_step(int(rng.integers(0, 1 << 40)))
    return any_shape(rng, layer.train(i % 5 != 4))


def nested(rng, i):
    if i % 2:
        inner = Sequential(with_bias(Linear(4, 5, rng=rng), rng), Tanh(), Dropout(0.3, seed=i))
        layer = Sequential(Linear(3, 4, rng=rng), ReLU(inplace=True), inner, Linear(5, 2, rng=rng), Sigmoid())
        return layer, rng.standard_normal((1 + i // 2, 3))
    features = Sequential(Conv2d(2, 4, 3, padding=1, rng=rng), ReLU(inplace=True), LocalResponseNorm(3, 1.0))
    layer = Sequential(Sequential(features, MaxPool2d(3, 2)), Flatten(), Linear(16, 2, rng=rng))
    return layer, rng.standard_normal((1 + i // 8, 5, 5, 2))


def micro_batches(rng, i):
    conv = with_bias(Conv2d(2, 2, 3, padding=1, rng=rng, input_grad=i % 5 != 3), rng)
    layer = MicroBatches(Sequential(conv, ReLU(inplace=True), AvgPool2d(2)), workers=1 + i % 3, size=1 + i % 2)
    return layer, rng.standard_normal((1 + i % 5, 3, 2, 2))


def loss(rng, i):
    N, C = 1 if i % 4 == 0 else 3, int(rng.integers(2, 7))
    return CrossEntropy(rng.integers(0, C, N), (0, 0.1, 0.9)[i % 3]), 3 * rng.standard_normal((N, C))


# kind: (how many, how to draw one)
KINDS = {
    "conv-im2col": (48, lambda rng, i: conv(rng, i, "im2col")),
    "conv-winograd": (40, lambda rng, i: conv(rng, i, "winograd")),
    "maxpool": (26, lambda rng, i: pool(rng, i, MaxPool2d)),
    "avgpool": (14, lambda rng, i: pool(rng, i, AvgPool2d)),
    "lrn": (24, lrn),
    "relu": (8, lambda rng, i: any_shape(rng, ReLU())),
    "relu-inplace": (6, lambda rng, i: any_shape(rng, ReLU(inplace=True))),
    "tanh": (6, lambda rng, i: any_shape(rng, Tanh())),
    "sigmoid": (6, lambda rng, i: any_shape(rng, Sigmoid())),
    "dropout": (10, dropout),
    "linear": (12, dense),
    "flatten": (8, lambda rng, i: (Flatten(), image(rng, i, int(rng.integers(1, 4))))),
    "sequential": (10, nested),
    "micro-batches": (12, micro_batches),
    "cross-entropy": (12, loss),
}
CASES = [(kind, i) for kind, (count, _) in KINDS.items() for i in range(count)]


def make(kind, i):
    """Layer and float64 input of case i of this kind; each third case is handed to the layer not contiguous."""
    layer, x = KINDS[kind][1](np.random.default_rng([list(KINDS).index(kind), i]), i)
    layer, x = on_device(layer), on_device(x)
    return (Strided(layer, i % 2), x) if i % 3 == 2 else (layer, x)
