"""Layer -- the protocol that every page in this folder follows.

A network computes from its input, in the end, one number: the loss L, which says how wrong it is.
Training asks how L changes with each of the network's parameters, and moves each a little to where
L is smaller.  The chain rule answers that question layer by layer, from the last one back to the
first:

    x  ->  [layer]  ->  y  ->  ...  ->  L        forward
    dx <-  [layer]  <-  dy <-  ...  <-  1        backward      dy = dL/dy, dx = dL/dx

A layer therefore has two functions.  `forward` gives its output y, and beside it a `cache`:
whatever `backward` will need.  `backward` turns dL/dy into dL/dx, and into dL/d(parameter) for the
parameters of its own:

    y, cache = layer.forward(x)
    dx = layer.backward(dy, cache, grad)

The smallest example is y = a x, with one parameter a.  Move a by a little h: each y[i] moves by
x[i] h, and so L by (sum over i of dy[i] x[i]) h.  Move x[i] by h: y[i] moves by a h.  Therefore

    da = sum over i of dy[i] x[i]        dx[i] = a dy[i]

For a = 3, x = (1, 2) and dy = (10, 1), that is da = 12 and dx = (30, 3).  Every page finds its
backward pass by the same question: which outputs does this number move, and how far?

`grad` is a dictionary of arrays like `layer.params`; backward OVERWRITES grad["weight"] with
dL/dweight, and so on.  Each derivative has the shape of its variable.

Images, and what layers make of them, are channels-last: (N, H, W, C) for N images of H x W pixels
with C channels each.  Everything follows the dtype of the input: float32 to train, float64 to check
gradients; and its device: get_xp(x) is NumPy, or CuPy for an array on a GPU.  Read it as np.

Since the cache is returned and not kept, one layer can work on several parts of a batch at once.
What a layer does keep is its parameters and its `training` flag (Dropout acts differently in
training).  Forward changes nothing in it but its `buffers`, a second dictionary of arrays: what is
kept but not learned, such as the running mean of a batch normalization.  (Dropout counts its steps,
too.)  Buffers are saved and moved like parameters, but no optimizer sees them.

`per_image` says that y[n] depends on x[n] alone.  Only then may a batch be taken in parts; a layer
that mixes its images, such as a batch normalization, leaves it False and gets them all.
"""

from minialex.params import own_arrays
from minialex.xp import get_xp, to_device


class Layer:
    """Base of all layers.  A subclass fills `self.params` and writes `forward` and `backward`."""

    per_image, training = False, True

    def __init__(self):
        # params: name -> array; of a container, name -> the params of a layer inside
        self.params, self.buffers = {}, {}

    def forward(self, x):
        """The output y for the input x, and the cache for `backward`.

        Raises TypeError unless x holds floats, ValueError unless its shape is one that fits.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy, cache, grad):
        """dL/dx from dy = dL/dy; writes dL/d(parameter) into `grad`.

        Raises ValueError unless dy is shaped like y and `grad` has an array for each parameter.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, x):
        """The output alone, for prediction."""
        return self.forward(x)[0]

    def output_shape(self, shape):
        """The shape of y for one image x of `shape`, both without the batch axis."""
        return shape

    def children(self):
        """The layers inside this one, by name."""
        return {}

    def leaves(self, prefix=""):
        """Yield (dotted name, layer) for each layer without children, in order of execution."""
        if not self.children():
            yield prefix, self
        for name, child in self.children().items():
            yield from child.leaves(f"{prefix}.{name}" if prefix else name)

    def train(self, mode=True):
        """Switch to training or, with False, to evaluation, here and inside; returns the layer."""
        self.training = mode
        for child in self.children().values():
            child.train(mode)
        return self

    def eval(self):
        """Switch to evaluation: the same as train(False)."""
        return self.train(False)

    def set_step(self, step, first=0):
        """For random layers: the next forward is of training step `step`, from image `first` on."""
        for child in self.children().values():
            child.set_step(step, first)

    def to(self, device=None, dtype=None):
        """Move all arrays to "cpu" or "gpu", or to another float dtype; returns the layer."""
        for child in self.children().values():
            child.to(device, dtype)
        for own, key in own_arrays(self):
            own[key] = to_device(own[key], device, dtype)
        return self

    def __repr__(self):
        return f"{type(self).__name__}()"


def check_input(layer, x, form=None, what="an input"):
    """Raise TypeError unless x holds floats like the parameters, ValueError unless it has the form.

    `form` is the shape that `layer` expects, such as ("N", "H", "W", 3): a letter stands for any
    size.  `what` is how messages call x.
    """
    name, found = type(layer).__name__, getattr(x, "dtype", type(x).__name__)
    if getattr(found, "kind", "") != "f":
        raise TypeError(f"{name}: expected floating-point numbers in an array, got {found}")
    if form is not None:
        fits = [isinstance(n, str) or n == size for n, size in zip(form, x.shape, strict=False)]
        if len(form) != x.ndim or not all(fits):
            form = str(form).replace("'", "")
            raise ValueError(f"{name}: expected {what} of shape {form}, got {x.shape}")
        if what != "dy" and min(len(x), *layer.output_shape(x.shape[1:])) < 1:
            why = f"the window does not fit: {layer!r}" if len(x) else "the batch is empty"
            raise ValueError(f"{name}: an input of shape {x.shape}: {why}")
    for key, array in layer.params.items():
        if hasattr(array, "dtype") and (array.dtype, get_xp(array)) != (x.dtype, get_xp(x)):
            raise TypeError(f"{name}: {what} and {key} of two dtypes or devices; use model.to(...)")


def check_gradient(layer, dy, x_shape, grad):
    """Raise ValueError unless dy has y's shape for x of `x_shape`, and grad all the parameters.

    Raises TypeError unless dy holds floats like the parameters.
    """
    check_input(layer, dy, (*x_shape[:1], *layer.output_shape(x_shape[1:])), "dy")
    for key in layer.params.keys() - grad.keys():
        name = type(layer).__name__
        raise ValueError(f"{name}: grad has no {key!r}; make it with zeros_like(layer.params)")
