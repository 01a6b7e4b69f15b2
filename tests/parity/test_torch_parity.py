"""Layers against PyTorch: as their pages say, and accelerated."""

import numpy as np
import pytest
import torch
from torch import nn

from minialex.attach import accelerate
from minialex.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    LeakyReLU,
    LocalResponseNorm,
    LocalResponseNorm2d,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from minialex.params import zeros_like
from minialex.train.checkpoint import state_dict
from torch_bridge import by_name, fill_biases, from_torch, linear, relative, to_torch

# -------------------------------------------------------------------------------- layer by layer


def conv(*size, **options):
    layer = Conv2d(*size, rng=np.random.default_rng(0), **options)
    return layer, nn.Conv2d(*size, **options)


def pool(kind, *size, **options):
    module = nn.MaxPool2d if kind is MaxPool2d else nn.AvgPool2d
    return kind(*size, **options), module(*size, **options)


def adaptive(size):
    return AdaptiveAvgPool2d(size), nn.AdaptiveAvgPool2d(size)


def global_mean():
    return GlobalAvgPool2d(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def batch_norm(C, training, **options):
    return BatchNorm2d(C, **options).train(training), nn.BatchNorm2d(C, **options).train(training)


def lrn(n, alpha=1e-4, beta=0.75, k=2.0):
    return LocalResponseNorm(n, alpha, beta, k), nn.LocalResponseNorm(n, n * alpha, beta, k)


class Lrn2dOfTorch(nn.Module):
    """Within maps: PyTorch's mean over each window of the squares, times the size of the window."""

    def __init__(self, n, alpha, beta, k):
        super().__init__()
        self.n, self.alpha, self.beta, self.k = n, alpha, beta, k

    def forward(self, x):
        mean = nn.functional.avg_pool2d(x**2, self.n, 1, self.n // 2)
        return x * (self.k + self.alpha * self.n**2 * mean) ** -self.beta


class LrnInGroupsOfTorch(nn.Module):
    """PyTorch's, of each group by itself."""

    def __init__(self, groups, *numbers):
        super().__init__()
        self.groups, self.norm = groups, nn.LocalResponseNorm(*numbers)

    def forward(self, x):
        return torch.cat([self.norm(part) for part in x.chunk(self.groups, dim=1)], dim=1)


class OverTheEdge(nn.Conv2d):
    """Of x with zeros `beyond` its last rows and columns."""

    beyond = (0, 0)

    def forward(self, x):
        down, across = self.beyond
        return super().forward(nn.functional.pad(x, (0, across, 0, down)))


def lrn_2d(n, alpha, beta=0.75, k=1.0):
    return LocalResponseNorm2d(n, alpha, beta, k), Lrn2dOfTorch(n, alpha, beta, k)


def lrn_in_groups(groups, n, alpha=1e-4, beta=0.75, k=2.0):
    layer = LocalResponseNorm(n, alpha, beta, k, groups=groups)
    return layer, LrnInGroupsOfTorch(groups, n, n * alpha, beta, k)


def conv_over_the_edge(beyond, *size, **options):
    layer = Conv2d(*size, ceil_mode=True, rng=np.random.default_rng(0), **options)
    theirs = OverTheEdge(*size, **options)
    theirs.beyond = beyond
    return layer, theirs


def both(name, shape, *size, **options):
    """A convolution that Winograd's method can do as well: `errors` looks at the name."""
    return {f"{name} winograd": (lambda: conv(*size, **options), shape)}


# name: (a pair of ours and PyTorch's, the shape of x)
PUBLISHED = {
    "conv1": (lambda: conv(3, 96, 11, stride=4), (2, 227, 227, 3)),
    "conv1 of 2012-program": (
        lambda: conv_over_the_edge((3, 3), 3, 96, 11, stride=4),
        (2, 224, 224, 3),
    ),
    "lrn1 of 2012-program": (lambda: lrn_in_groups(2, 5, 2e-5), (2, 27, 27, 96)),
    "lrn2 within maps": (lambda: lrn_2d(5, 4e-5), (2, 27, 27, 64)),
    "conv1 of owt": (lambda: conv(3, 64, 11, stride=4, padding=2), (2, 224, 224, 3)),
    **both("conv2", (2, 27, 27, 96), 96, 256, 5, padding=2),
    **both("conv2 of 2012", (2, 27, 27, 96), 96, 256, 5, padding=2, groups=2),
    **both("conv3", (4, 13, 13, 256), 256, 384, 3, padding=1),
    **both("conv4 of 2012", (5, 13, 13, 384), 384, 384, 3, padding=1, groups=2),
    **both("conv5", (1, 13, 13, 384), 384, 256, 3, padding=1),
    "fc6": (lambda: linear(9216, 512), (3, 9216)),
    "fc8": (lambda: linear(4096, 2), (3, 4096)),
    "pool1": (lambda: pool(MaxPool2d, 3, 2), (2, 55, 55, 96)),
    "lrn1": (lambda: lrn(5), (2, 55, 55, 96)),
    "flatten": (lambda: (Flatten(), nn.Flatten()), (2, 6, 6, 256)),
    "relu": (lambda: (ReLU(), nn.ReLU()), (2, 13, 13, 384)),
    "tanh": (lambda: (Tanh(), nn.Tanh()), (2, 13, 13, 384)),
    "sigmoid": (lambda: (Sigmoid(), nn.Sigmoid()), (2, 13, 13, 384)),
}
ODD = {
    "conv stride 3, 3 groups": (
        lambda: conv(6, 9, 4, stride=3, padding=2, groups=3),
        (3, 11, 8, 6),
    ),
    "conv 1x1, stride 2": (lambda: conv(4, 6, 1, stride=2), (2, 7, 10, 4)),
    "conv 1x1, padded": (lambda: conv(4, 6, 1, padding=1), (2, 7, 10, 4)),
    "conv, stride above kernel": (lambda: conv(3, 4, 2, stride=3), (2, 9, 10, 3)),
    "conv, one channel a group": (lambda: conv(5, 10, 3, padding=1, groups=5), (2, 6, 7, 5)),
    **both("conv 2x2", (3, 6, 9, 4), 4, 6, 2, padding=1, groups=2),
    **both("conv 3x3, padding 3", (7, 5, 8, 3), 3, 4, 3, padding=3),
    **both("conv 4x4", (2, 4, 11, 4), 4, 6, 4),
    **both("conv 5x5, one place", (5, 5, 5, 6), 6, 6, 5, groups=3),
    "max 4, stride 3, padding 2": (lambda: pool(MaxPool2d, 4, 3, 2), (2, 11, 8, 3)),
    "max 2, stride 1, padding 1": (lambda: pool(MaxPool2d, 2, 1, 1), (1, 5, 6, 3)),
    "max 2, stride 3": (lambda: pool(MaxPool2d, 2, 3), (2, 9, 10, 3)),
    "mean 3, stride 2, padding 1": (lambda: pool(AvgPool2d, 3, 2, 1), (2, 11, 8, 3)),
    "mean 4, stride 3, padding 2": (lambda: pool(AvgPool2d, 4, 3, 2), (2, 11, 8, 3)),
    "mean 2, stride 3": (lambda: pool(AvgPool2d, 2, 3), (1, 9, 10, 3)),
    "mean 3": (lambda: pool(AvgPool2d, 3), (2, 8, 9, 3)),
    # At the paper's alpha of 1e-4 the sum hardly matters; a large one shows what it takes in.
    "lrn 5": (lambda: lrn(5, alpha=1.0), (2, 3, 4, 9)),
    "lrn 1": (lambda: lrn(1, alpha=0.7), (2, 3, 4, 9)),
    "lrn 3, k 1": (lambda: lrn(3, alpha=1.3, k=1.0), (2, 3, 4, 9)),
    "lrn 5 in 3 groups": (lambda: lrn_in_groups(3, 5, alpha=1.0), (2, 3, 4, 9)),
    "lrn 2d 3": (lambda: lrn_2d(3, alpha=1.0), (2, 7, 4, 5)),
    "lrn 2d 5, k 2": (lambda: lrn_2d(5, alpha=0.6, beta=0.5, k=2.0), (2, 4, 3, 5)),
    "conv over the edge winograd": (
        lambda: conv_over_the_edge((3, 2), 4, 6, 5, stride=4, padding=1),
        (3, 8, 9, 4),
    ),
    "conv over the edge, stride above kernel": (
        lambda: conv_over_the_edge((1, 0), 4, 6, 2, stride=3, groups=2),
        (3, 7, 8, 4),
    ),
    "lrn 7 on 4 channels": (lambda: lrn(7, alpha=0.9, beta=0.5), (2, 3, 4, 4)),
    "conv of pairs": (
        lambda: conv(4, 6, (3, 5), stride=(2, 1), padding=(0, 2), groups=2, bias=False),
        (2, 9, 8, 4),
    ),
    "conv 1x7": (lambda: conv(3, 4, (1, 7), padding=(0, 3)), (1, 5, 9, 3)),
    **both("conv 3x3 without a bias", (3, 8, 9, 4), 4, 6, 3, padding=1, bias=False),
    "linear without a bias": (lambda: linear(12, 5, bias=False), (3, 12)),
    "max of pairs": (lambda: pool(MaxPool2d, (2, 5), (3, 2), (1, 2)), (2, 9, 10, 3)),
    "mean of pairs": (lambda: pool(AvgPool2d, (2, 5), (3, 2), (1, 2)), (2, 9, 10, 3)),
    "max 3, stride 2, ceil": (lambda: pool(MaxPool2d, 3, 2, ceil_mode=True), (2, 8, 6, 3)),
    "max 2, stride 3, ceil": (lambda: pool(MaxPool2d, 2, 3, 1, ceil_mode=True), (1, 6, 8, 3)),
    "max of pairs, ceil": (
        lambda: pool(MaxPool2d, (2, 5), (3, 2), (1, 0), ceil_mode=True),
        (2, 10, 10, 3),
    ),
    "adaptive, fewer": (lambda: adaptive((6, 6)), (2, 7, 13, 3)),
    "adaptive, more": (lambda: adaptive((5, 4)), (1, 3, 2, 3)),
    "adaptive, the same": (lambda: adaptive(6), (2, 6, 6, 3)),
    "global": (global_mean, (2, 7, 5, 3)),
    "batch norm": (lambda: batch_norm(5, True), (4, 6, 7, 5)),
    "batch norm, one image": (lambda: batch_norm(3, True, eps=0.1, momentum=0.3), (1, 3, 1, 3)),
    "batch norm, evaluation": (lambda: batch_norm(5, False), (2, 6, 7, 5)),
    "leaky relu": (lambda: (LeakyReLU(), nn.LeakyReLU()), (2, 5, 6, 3)),
    "leaky relu 0.3": (lambda: (LeakyReLU(0.3), nn.LeakyReLU(0.3)), (2, 5, 6, 3)),
    "lrn 3, beta 1": (lambda: lrn(3, alpha=2.0, beta=1.0, k=0.5), (1, 3, 4, 5)),
}


def forms(cases):
    """(name, form) of all cases: plain, and accelerated with each algorithm that can do it."""
    for name in cases:
        fast = ["im2col"] if "conv" in name else ["auto"]
        fast += ["winograd"] if name.endswith("winograd") else []
        yield from ((name, form) for form in ["plain", *fast])


def errors(name, form, dtype, values=None):
    """The relative error of y, dx, each parameter's gradient and each buffer: {name: error}."""
    build, shape = (PUBLISHED | ODD)[name]
    layer, module = build()
    rng = np.random.default_rng(3)
    fill_biases(layer, rng)
    ours, theirs = Sequential(layer).to(dtype=dtype), nn.Sequential(module)
    if form != "plain":
        accelerate(ours, algorithm=form)
    for kind, buffer in layer.buffers.items():
        if kind != "num_batches_tracked":
            buffer[...] = rng.uniform(0.5, 2, buffer.shape)
    weights = {name: torch.from_numpy(array.copy()) for name, array in state_dict(ours).items()}
    theirs.load_state_dict(weights, assign=True)

    x = (rng.standard_normal(shape) if values is None else rng.choice(values, shape)).astype(dtype)
    their_x = to_torch(x).requires_grad_()
    their_y = theirs(their_x)
    y, cache = ours.forward(x.copy())
    dy = rng.standard_normal(y.shape).astype(dtype)
    their_y.backward(to_torch(dy))
    grad = zeros_like(ours.params)
    dx = ours.backward(dy.copy(), cache, grad)

    result = {"y": relative(y, from_torch(their_y)), "dx": relative(dx, from_torch(their_x.grad))}
    gradients = by_name(ours, grad)
    for name, parameter in theirs.named_parameters(remove_duplicate=False):
        result[name] = relative(gradients.pop(name), parameter.grad.numpy())
    assert not gradients
    after = state_dict(ours)
    for name, buffer in theirs.named_buffers():
        result[name] = relative(after[name], buffer.numpy()) if buffer.any() else after[name].max()
    return result


@pytest.mark.parametrize("name, form", list(forms(PUBLISHED | ODD)))
def test_a_layer_in_float32_within_1e_5(name, form):
    found = errors(name, form, np.float32)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("name, form", list(forms(ODD)))
def test_a_layer_in_float64_within_1e_12(name, form):
    found = errors(name, form, np.float64)
    assert max(found.values()) < 1e-12, found


MAXIMA = [name for name in PUBLISHED | ODD if name.startswith(("max", "pool"))]


@pytest.mark.parametrize("name, form", list(forms(MAXIMA)))
def test_ties_between_maxima_go_where_pytorch_sends_them(name, form):
    found = errors(name, form, np.float64, values=(-2.0, -1.0))  # below 0: padding must not win
    assert max(found.values()) < 1e-12, found


def test_a_large_batch_is_normalized_within_1e_5_in_float32():
    ours, theirs = batch_norm(8, True)
    x = np.random.default_rng(0).standard_normal((64, 40, 40, 8), dtype=np.float32) * 2 + 3
    assert relative(ours(x), from_torch(theirs(to_torch(x)))) < 1e-5
    for name, buffer in ours.buffers.items():
        assert relative(buffer, getattr(theirs, name).numpy()) < 1e-5


def test_the_last_windows_are_where_pytorch_has_them():
    for K in (1, 2, 3, 4):
        for side, S, P in np.ndindex(9, 4, K // 2 + 1):
            side, S = side + 1, S + 1
            size = K, S, P
            try:
                theirs = nn.MaxPool2d(*size, ceil_mode=True)(torch.zeros(1, 1, side, side)).shape[2]
            except RuntimeError:
                theirs = 0
            ours = MaxPool2d(*size, ceil_mode=True).output_shape((side, side, 1))[0]
            assert max(0, ours) == theirs, (side, size)
