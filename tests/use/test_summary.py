"""The summary of networks with blocks and layers of one's own."""

import numpy as np

from device import on_device
from minialex.attach import accelerate
from minialex.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from minialex.use.summary import calls, summary


class Mean(Layer):
    """(N, H, W, C) -> (N, C), without an output_shape; it counts what it has seen."""

    def __init__(self):
        super().__init__()
        self.buffers = {"seen": np.zeros(5, dtype=np.float32)}

    def forward(self, x):
        return x.mean(axis=(1, 2)), x.shape


class Branches(Layer):
    """Two convolutions of the same input, side by side."""

    def __init__(self):
        super().__init__()
        self.parts = {"a": Conv2d(4, 2, 1), "b": Conv2d(4, 3, 3, padding=1)}
        self.params = {name: layer.params for name, layer in self.parts.items()}

    def children(self):
        return self.parts

    def forward(self, x):
        a, b = (layer(x) for layer in self.parts.values())
        return np.concatenate([a, b], axis=3), None

    def output_shape(self, shape):
        return (*shape[:2], 5)


def network():
    return Sequential(Conv2d(3, 4, 3), ReLU(), MaxPool2d(2), Branches(), Mean(), Linear(5, 3))


def test_shapes_are_those_of_a_forward_pass():
    model = network()
    model.train()
    for form in (model, accelerate(model)):
        found = {name: (taken, made) for name, _, taken, made in calls(form, (8, 8, 3))}
        assert list(found) == ["0", "1", "2", "3.a", "3.b", "4", "5"]
        assert found["3.a"] == ((3, 3, 4), (3, 3, 2)) and found["3.b"][1] == (3, 3, 3)
        assert found["4"] == ((3, 3, 5), (5,)) and found["5"] == ((5,), (3,))
        assert model.training and not any("forward" in vars(layer) for _, layer in form.leaves())


def test_the_table():
    text = summary(network(), (8, 8, 3))
    rows = {line.split()[0]: line for line in text.splitlines()}
    parameters = (27 + 1) * 4 + (4 + 1) * 2 + (36 + 1) * 3 + (5 + 1) * 3
    products = 36 * 27 * 4 + 9 * 4 * 2 + 9 * 36 * 3 + 15
    assert rows["total"].split()[1:3] == [f"{parameters:,}", f"{products:,}"]
    assert rows["4"].split() == ["4", "Mean()", "5", "-", "-", "0", "page"]
    assert "5 numbers" in rows["buffers,"]
    plain = summary(on_device(Sequential(Flatten(), Linear(12, 2))), (2, 2, 3))
    assert "buffers" not in plain and "26" in plain
