"""A layer of your own: batch normalization, its gradient checked, in a network that trains.

A layer is a forward pass and a backward pass.  Whether the second fits the first, `mx.gradcheck`
finds out, by moving each number a little.  Then the layer is one like all others: it trains, it is
saved, it moves to a GPU.

    python examples/own_layer.py             4 epochs with it and without, about 20 seconds
"""

import sys
from typing import Any

import numpy as np

import minialex as mx


class BatchNorm(mx.Layer):
    """Give each channel mean 0 and variance 1, then the scale and the shift that it learns.

        x_hat = (x - mean) / sqrt(var + eps)        y = weight x_hat + bias

    x is (N, D) or (N, H, W, C); mean and variance are those of all numbers of a channel in the
    batch.  In evaluation they are the running ones, so that an image has the same answer in any
    company.  Reference: Ioffe, Szegedy (2015), "Batch Normalization".
    """

    per_image = False  # y[n] depends on all images, so a batch must not be taken in parts

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self.params = {"weight": one, "bias": zero}
        # What is kept but not learned; saved with the weights, but no optimizer moves it.
        self.buffers = {"running_mean": zero.copy(), "running_var": one.copy()}

    def forward(self, x: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1])  # (M, C): a column is a channel
        if self.training:
            mean, var = rows.mean(axis=0), rows.var(axis=0)
            for name, new in (("running_mean", mean), ("running_var", var)):
                self.buffers[name] += self.momentum * (new - self.buffers[name])
        else:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        scale = 1 / (var + self.eps) ** 0.5
        x_hat = (rows - mean) * scale
        y = self.params["weight"] * x_hat + self.params["bias"]
        return y.reshape(x.shape), (x_hat, scale)

    def backward(self, dy: Any, cache: Any, grad: Any) -> Any:
        x_hat, scale = cache
        rows = dy.reshape(x_hat.shape)
        grad["bias"][...] = rows.sum(axis=0)
        grad["weight"][...] = (rows * x_hat).sum(axis=0)
        dx = self.params["weight"] * rows  # dL/dx_hat
        if self.training:  # x also moves the mean and the variance, and they move all of x_hat
            dx = dx - dx.mean(axis=0) - x_hat * (dx * x_hat).mean(axis=0)
        return (dx * scale).reshape(dy.shape)


def network(normalized: bool) -> mx.Sequential:
    """Two convolutions and a dense layer, with batch normalization before each ReLU or without."""
    mx.seed(0)
    layers: list[mx.Layer] = []
    for inputs, outputs in ((3, 16), (16, 32)):
        layers.append(mx.Conv2d(inputs, outputs, 5))
        layers += [BatchNorm(outputs)] if normalized else []
        layers += [mx.ReLU(), mx.MaxPool2d(2)]
    return mx.Sequential(*layers, mx.Flatten(), mx.Linear(512, 2))


if __name__ == "__main__":
    x = np.random.default_rng(1).standard_normal((4, 3, 3, 2))
    for training in (True, False):
        report = mx.gradcheck(BatchNorm(2).train(training), x)
        assert report.ok, report
        print(f"{report.checked} derivatives are right, the worst to {report.error:.0e}")

    drawings = list(mx.Drawings(3500, size=28))
    train = mx.DataLoader(drawings[:3000], batch_size=50, shuffle=True)
    val = mx.DataLoader(drawings[3000:], batch_size=100)
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    accuracy = {}
    for kind in ("without", "with"):
        print(f"\n{kind} batch normalization")
        model = network(normalized=kind == "with")
        mx.fit(model, train, mx.SGD(model, lr=0.01), epochs=epochs, val=val)
        accuracy[kind] = mx.evaluate(model, val)[1]  # the weights are those of the best epoch
    print(f"\n{accuracy['without']:.1%} without it, {accuracy['with']:.1%} with it")
