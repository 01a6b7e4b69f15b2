"""Layers and inputs, drawn from a generator and the number of the case: draw(rng, i) -> both."""

import numpy as np

from device import on_device
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
from minialex.losses import softmax_cross_entropy


class Wrapper(Layer):
    """`layer`, looked at through something."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.params, self.per_image = layer, layer.params, layer.per_image

    def set_step(self, step, first=0):
        self.layer.set_step(step, first)

    def forward(self, x):
        return self.layer.forward(x)

    def backward(self, dy, cache, grad):
        return self.layer.backward(dy, cache, grad)


class Strided(Wrapper):
    """Hands `layer` x and dy that are not contiguous: every second number, or axes reversed."""

    def __init__(self, layer, way):
        super().__init__(layer)
        self.way = way

    def spread(self, a):
        return np.stack((a, a), axis=-1)[..., 0] if self.way else a.T.copy().T

    def forward(self, x):
        return self.layer.forward(self.spread(x))

    def backward(self, dy, cache, grad):
        return self.layer.backward(self.spread(dy), cache, grad)


class CrossEntropy(Layer):
    """The loss as a layer: logits (N, C) -> a number."""

    def __init__(self, labels, label_smoothing, weight=None):
        super().__init__()
        self.labels, self.label_smoothing, self.weight = labels, label_smoothing, weight
        self.loss = softmax_cross_entropy

    def forward(self, x):
        weight = None if self.weight is None else on_device(self.weight)
        return self.loss(x, on_device(self.labels), self.label_smoothing, weight)

    def backward(self, dy, cache, grad):
        return dy * cache


def with_bias(layer, rng):
    """`layer` with a bias, if it has one, that is not zero."""
    if "bias" in layer.params:
        layer.params["bias"][...] = rng.standard_normal(layer.params["bias"].shape)
    return layer


def image(rng, i, channels, least=1, most=4):
    """x (N, H, W, C), H and W each `least` to `least + most`; each fourth batch has one image."""
    H, W = rng.integers(max(1, least), max(1, least) + most + 1, 2)
    return rng.standard_normal((1 if i % 4 == 0 else int(rng.integers(2, 4)), H, W, channels))


def conv(rng, i, winograd=False):
    K = int(rng.choice([2, 3, 3, 3, 4, 5]) if winograd else rng.choice([1, 2, 3, 3, 4, 5]))
    S = int(rng.integers(2, 5)) if winograd and i % 3 == 1 else 1
    S = S if winograd else int(rng.integers(1, 4))
    P, G = int(rng.integers(0, 4 if winograd else 3)), int(rng.choice([1, 1, 2, 3]))
    G = 1 if winograd and S > 1 else G
    C, F = G * int(rng.integers(1, 3 if G == 1 else 2)), G * int(rng.integers(1, 3))
    layer = Conv2d(C, F, K, S, P, G, ceil_mode=winograd and i % 4 < 2, rng=rng)
    return with_bias(layer, rng), image(rng, i, C, K - 2 * P, 2)


def conv_for_winograd(rng, i):
    return conv(rng, i, winograd=True)


def conv_of_pairs(rng, i):
    """Another kernel, stride and padding down than across; each third without a bias."""
    K, S, P = ((int(a), int(b)) for a, b in rng.integers([[1], [1], [0]], [[5], [4], [3]], (3, 2)))
    G, many = (1, 2)[i % 2], (i % 4 < 2, i % 5 < 4, i % 7 < 5)  # of each a pair or a number
    K, S, P = (pair if two else pair[0] for pair, two in zip((K, S, P), many, strict=True))
    layer = Conv2d(2 * G, G, K, S, P, G, bias=i % 3 > 0, rng=rng)
    return with_bias(layer, rng), image(rng, i, 2 * G, 4, 2)


def conv_over_the_edge(rng, i):
    """Windows that hang over the edge, here of one number, there of a pair; some larger than S."""
    K, S, P = ((int(a), int(b)) for a, b in rng.integers([[1], [2], [0]], [[6], [5], [3]], (3, 2)))
    G = (1, 2)[i % 2]
    if i % 3:
        K, S, P = K[0], S[0], P[0]
    layer = Conv2d(2, 2, K, S, P, G, ceil_mode=True, rng=rng)
    return with_bias(layer, rng), image(rng, i, 2, 5, 2)


def pool_of_pairs(rng, i, kind=MaxPool2d):
    """As above; MaxPool2d's last windows hang over the edge, unless i % 4 is 3."""
    K = rng.integers(1, 5, 2)
    P = rng.integers(0, K // 2 + 1)
    K, S, P = (tuple(map(int, pair)) for pair in (K, rng.integers(1, 4, 2), P))
    if i % 3 == 0:
        K, S, P = K[0], S[0], P[0]
    layer = kind(K, S, P, *[i % 4 < 3] * (kind is MaxPool2d))
    x = image(rng, i, int(rng.integers(1, 4)), 4)
    return layer, np.round(x) if i % 5 == 1 else x


def avgpool_of_pairs(rng, i):
    return pool_of_pairs(rng, i, AvgPool2d)


def batch_norm(rng, i):
    """In training, where i is even, and in evaluation, with running means of its own."""
    C = int(rng.integers(1, 5))
    layer = BatchNorm2d(C, eps=float(rng.choice([1e-5, 0.1]))).train(i % 2 == 0)
    for key, array in layer.params.items():
        array[...] = rng.standard_normal(C) + (key == "weight")
    layer.buffers["running_mean"][...] = rng.standard_normal(C)
    layer.buffers["running_var"][...] = rng.uniform(0.5, 2, C)
    return layer, image(rng, i, C, least=2)


def adaptive(rng, i):
    sizes = tuple(map(int, rng.integers(1, 6, 2)))
    layer = GlobalAvgPool2d() if i % 4 == 3 else AdaptiveAvgPool2d(sizes if i % 3 else sizes[0])
    return layer, image(rng, i, int(rng.integers(1, 4)), most=8)


def pool(rng, i, kind):
    K = int(rng.integers(1, 5))
    P = int(rng.integers(0, K // 2 + 1))
    layer = kind(K, int(rng.integers(1, 4)), P)
    x = image(rng, i, int(rng.integers(1, 4)), K - 2 * P)
    return layer, np.round(x) if i % 5 == 1 else x  # with whole numbers: equal maxima


def maxpool(rng, i):
    return pool(rng, i, MaxPool2d)


def avgpool(rng, i):
    return pool(rng, i, AvgPool2d)


def lrn(rng, i):
    size, beta = (1, 3, 5, 7)[i % 4], float(rng.choice([0.75, 0.75, 0.5, 1, 0.3]))
    layer = LocalResponseNorm(size, alpha=rng.uniform(0.5, 1.5), beta=beta, k=rng.uniform(0.5, 2))
    return layer, image(rng, i, int(rng.integers(1, 9)), most=2)


def lrn_in_groups(rng, i):
    """1 to 3 groups of 1 to 4 channels."""
    layer, G = lrn(rng, i)[0], int(rng.integers(1, 4))
    layer.groups = G
    return layer, image(rng, i, G * int(rng.integers(1, 5)), most=2)


def lrn_2d(rng, i):
    size, beta = (1, 3, 5)[i % 3], float(rng.choice([0.75, 0.75, 0.5, 1, 0.3]))
    layer = LocalResponseNorm2d(size, rng.uniform(0.1, 0.5), beta, rng.uniform(0.5, 2))
    return layer, image(rng, i, int(rng.integers(1, 4)), most=5)


def dense(rng, i):
    D, F = rng.integers(1, 7, 2)
    return with_bias(Linear(int(D), int(F), rng=rng), rng), rng.standard_normal((1 + i % 4, D))


def dense_without_bias(rng, i):
    D, F = rng.integers(1, 7, 2)
    return Linear(int(D), int(F), bias=False, rng=rng), rng.standard_normal((1 + i % 4, D))


def any_shape(rng, layer):
    return layer, rng.standard_normal(rng.integers(1, 4, rng.integers(1, 5)))


def relu_between(rng, i):
    """A ReLU between two layers that let it work in place, with each kind of them in turn."""
    if i % 6 == 0:
        chain = Linear(3, 4, rng=rng), ReLU(), Linear(4, 2, rng=rng)
        return Sequential(*chain), rng.standard_normal((1 + i % 4, 3))
    after = (
        Conv2d(3, 2, 2, rng=rng), MaxPool2d(2, 1), AvgPool2d(2, 1), LocalResponseNorm(3, 1.0),
        Dropout(0.3),
    )[i % 6 - 1]  # fmt: skip
    return Sequential(Conv2d(2, 3, 2, rng=rng), ReLU(), after), image(rng, i, 2, least=3, most=1)


def dropout(rng, i):
    layer = Dropout(float(rng.uniform(0, 0.9)), seed=i)
    layer.stream = i % 3
    layer.set_step(int(rng.integers(0, 1 << 40)))
    return any_shape(rng, layer.train(i % 5 != 4))


def flat(rng, i):
    return Flatten(), image(rng, i, int(rng.integers(1, 4)))


def nested(rng, i):
    if i % 2:
        inner = Sequential(with_bias(Linear(4, 5, rng=rng), rng), Tanh(), Dropout(0.3, seed=i))
        chain = Linear(3, 4, rng=rng), ReLU(), inner, Linear(5, 2, rng=rng), Sigmoid()
        return Sequential(*chain), rng.standard_normal((1 + i // 2, 3))
    features = Sequential(Conv2d(2, 4, 3, padding=1, rng=rng), ReLU(), LocalResponseNorm(3, 1.0))
    layer = Sequential(Sequential(features, MaxPool2d(3, 2)), Flatten(), Linear(16, 2, rng=rng))
    return layer, rng.standard_normal((1 + i // 8, 5, 5, 2))


def convolving(rng, i):
    conv = with_bias(Conv2d(2, 2, 3, padding=1, rng=rng), rng)
    return Sequential(conv, ReLU(), AvgPool2d(2)), rng.standard_normal((1 + i % 5, 3, 2, 2))


def loss(rng, i):
    N, C = 1 if i % 4 == 0 else 3, int(rng.integers(2, 7))
    layer = CrossEntropy(rng.integers(0, C, N), (0, 0.1, 0.9)[i % 3])
    return layer, 3 * rng.standard_normal((N, C))


def weighted_loss(rng, i):
    """Labels or probabilities, with class weights where i is odd."""
    N, C = 1 if i % 4 == 0 else 3, int(rng.integers(2, 7))
    labels = rng.dirichlet(np.ones(C), N) if i % 3 else rng.integers(0, C, N)
    weight = rng.uniform(0.2, 3, C) if i % 2 else None
    return CrossEntropy(labels, (0, 0.1, 0.9)[i // 2 % 3], weight), 3 * rng.standard_normal((N, C))


def normalized(rng, i):
    """A network of the layers that came after AlexNet."""
    layer = Sequential(
        Conv2d(2, 3, (3, 1), padding=(1, 0), bias=False, rng=rng), batch_norm_of(3, rng), ReLU(),
        MaxPool2d(2, ceil_mode=True), AdaptiveAvgPool2d((2, 1)), LeakyReLU(0.2), GlobalAvgPool2d(),
        Linear(3, 2, bias=False, rng=rng),
    )  # fmt: skip
    return layer.train(i % 2 == 0), rng.standard_normal((2 + i % 3, 5, 3, 2))


def batch_norm_of(C, rng):
    """A BatchNorm2d whose ReLU, if one follows, is not half closed at 0."""
    layer = BatchNorm2d(C)
    layer.params["bias"][...] = rng.standard_normal(C)
    return layer
