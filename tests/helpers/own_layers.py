"""Layers that a reader might write after reading layers/layer.py."""

import numpy as np

from minialex.layers import Layer
from minialex.xp import get_xp


class BatchNorm(Layer):
    """y = gain * (x - mean) / deviation + bias of each channel, over the whole batch.

    `per_image` stays False.  In evaluation, mean and variance are running means of those seen.
    """

    def __init__(self, C, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.params = {"weight": np.ones(C, np.float32), "bias": np.zeros(C, np.float32)}
        self.buffers = {
            "running_mean": np.zeros(C, np.float32), "running_var": np.ones(C, np.float32),
            "num_batches_tracked": np.zeros((), np.int64),
        }  # fmt: skip

    def forward(self, x):
        axes = tuple(range(x.ndim - 1))
        if self.training:
            mean, var, N = x.mean(axis=axes), x.var(axis=axes), x.size // x.shape[-1]
            running, m = self.buffers, self.momentum
            running["running_mean"] = (1 - m) * running["running_mean"] + m * mean
            running["running_var"] = (1 - m) * running["running_var"] + m * var * N / (N - 1)
            running["num_batches_tracked"] = running["num_batches_tracked"] + 1
        else:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        deviation = get_xp(x).sqrt(var + 1e-5).astype(x.dtype)
        normal = (x - mean.astype(x.dtype)) / deviation
        return normal * self.params["weight"] + self.params["bias"], (normal, deviation)

    def backward(self, dy, cache, grad):
        normal, deviation = cache
        axes = tuple(range(dy.ndim - 1))
        grad["weight"][...] = (dy * normal).sum(axis=axes)
        grad["bias"][...] = dy.sum(axis=axes)
        d = dy * self.params["weight"]
        if self.training:
            d = d - d.mean(axis=axes) - normal * (d * normal).mean(axis=axes)
        return d / deviation


class Scale(Layer):
    """y = a x."""

    per_image = True

    def __init__(self, a=2.0):
        super().__init__()
        self.params = {"a": np.array([a], np.float32)}

    def forward(self, x):
        return x * self.params["a"], x

    def backward(self, dy, x, grad):
        grad["a"][...] = (dy * x).sum()
        return dy * self.params["a"]
