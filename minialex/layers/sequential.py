"""Sequential -- layers one after the other.

    forward    x_1 = f_1(x),  x_2 = f_2(x_1),  ...,  y = f_n(x_{n-1})
    backward   dx_{n-1} = f_n'(dy),  ...,  dx = f_1'(dx_1)

The chain rule is this loop, run from the last layer to the first.
"""

from typing import Any

from minialex.backend import Array
from minialex.layers.layer import Layer, Params, Shape


class Sequential(Layer):
    """A chain of layers.  Their parameters are named by position: "0.weight", "0.bias", "3.weight" ..."""

    def __init__(self, *layers: Layer):
        self.layers = list(layers)
        self.training = True

    @property
    def params(self) -> Params:  # type: ignore[override]
        """The parameters of the layers inside, nested by their names."""
        return {str(i): layer.params for i, layer in enumerate(self.layers) if layer.params}

    def forward(self, x: Array) -> tuple[Array, Any]:
        caches = []
        for layer in self.layers:
            x, cache = layer.forward(x)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        caches = cache
        for i in reversed(range(len(self.layers))):
            dy = self.layers[i].backward(dy, caches[i], grad.get(str(i), {}))
        return dy

    def __call__(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer(x)
        return x

    def children(self) -> dict[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def output_shape(self, shape: Shape) -> Shape:
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        total = 0
        for layer in self.layers:
            total += layer.multiply_adds(shape)
            shape = layer.output_shape(shape)
        return total

    def __getitem__(self, i: int) -> Layer:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return "Sequential(\n" + "".join(f"  {i}: {layer!r}\n" for i, layer in enumerate(self.layers)) + ")"
