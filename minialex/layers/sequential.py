"""Sequential -- layers one after the other.

    forward    x_1 = f_1(x),  x_2 = f_2(x_1),  ...,  y = f_n(x_{n-1})
    backward   dx_{n-1} = f_n.backward(dy),  ...,  dx = f_1.backward(dx_1)

where x_i is the output of layer f_i and dx_i = dL/dx_i.  L depends on x_i through x_{i+1} alone, so
the derivative that one layer returns is all that the layer before it has to know.  The chain rule
is this loop, run from the last layer to the first.
"""

from minialex.layers.layer import Layer
from minialex.seeds import number_streams


class Sequential(Layer):
    """A chain of layers, x -> y.  Parameters are named by position: "0.weight", "0.bias" ...

    Raises TypeError for anything that is not a layer.
    """

    def __init__(self, *layers):
        if not all(isinstance(layer, Layer) for layer in layers):
            raise TypeError("Sequential: expected layers, as in Sequential(Flatten(), ReLU())")
        self.layers, self.buffers = list(layers), {}  # no super().__init__(): see `params`
        number_streams(self)

    def children(self):
        return {str(i): layer for i, layer in enumerate(self.layers)}

    @property
    def params(self):
        """The parameters of the layers inside, nested by their names; it has none of its own."""
        return {name: layer.params for name, layer in self.children().items() if layer.params}

    def forward(self, x):
        caches = [None] * len(self.layers)
        for i, layer in enumerate(self.layers):
            x, caches[i] = layer.forward(x)
        return x, caches

    def backward(self, dy, caches, grad):
        for i, name in reversed([*enumerate(self.children())]):
            dy = self.layers[i].backward(dy, caches[i], grad.get(name, {}))  # {}: no parameters
        return dy

    def __call__(self, x):  # without the caches, which would take memory
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
