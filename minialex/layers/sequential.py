"""Sequential -- layers one after the other.

    forward    x_1 = f_1(x),  x_2 = f_2(x_1),  ...,  y = f_n(x_{n-1})
    backward   dx_{n-1} = f_n.backward(dy),  ...,  dx = f_1.backward(dx_1)

The chain rule is this loop, run from the last layer to the first.
"""

from minialex.layers.layer import Layer


class Sequential(Layer):
    """A chain of layers.  Their parameters are named by position: "0.weight", "0.bias", "3.weight"."""

    def __init__(self, *layers):
        if not all(isinstance(layer, Layer) for layer in layers):
            raise TypeError("Sequential: expected layers, as in Sequential(Flatten(), ReLU())")
        self.layers, self.training = list(layers), True
        self.number_streams()

    def children(self):
        return {str(i): layer for i, layer in enumerate(self.layers)}

    @property
    def params(self):
        """The parameters of the layers inside, nested by their names."""
        return {name: layer.params for name, layer in self.children().items() if layer.params}

    def forward(self, x):
        caches = []
        for layer in self.layers:
            x, cache = layer.forward(x)
            caches.append(cache)
        return x, caches

    def backward(self, dy, caches, grad):
        children = reversed(self.children().items())
        for (name, layer), cache in zip(children, reversed(caches), strict=True):
            dy = layer.backward(dy, cache, grad.get(name, {}))  # {}: it has no parameters
        return dy

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def output_shape(self, shape):
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def __getitem__(self, i):
        return self.layers[i]

    def __repr__(self):
        rows = [f"\n({name}): {layer!r}" for name, layer in self.children().items()]
        return f"{type(self).__name__}(" + "".join(rows).replace("\n", "\n  ") + "\n)"
