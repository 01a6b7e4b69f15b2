"""Layer -- the protocol that every page in this folder follows.

A layer is a pure function with parameters.  `forward` returns, beside its output y, whatever `backward` will
need; `backward` turns the derivative of the loss L with respect to y into those with respect to x and to the
parameters, by the chain rule:

    y, cache = layer.forward(x)
    dx = layer.backward(dy, cache, grad)      dy = dL/dy, dx = dL/dx, both shaped like their variable

`grad` is a dictionary like `layer.params`; backward overwrites grad["weight"] with dL/dweight, and so on.
Nothing is hidden on `self`, so one layer can work on several parts of a batch at once, in several threads.

    Activations are channels-last: (N, H, W, C) for N images of H x W places with C channels each.
    Everything follows the dtype of the input: float32 to train, float64 to check gradients.

All parameters of a model can be moved into ONE flat vector theta (`flatten`), of which the arrays in `params`
are then views.  The optimizer is then the formula on its page, applied to one vector.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.backend import Array, get_xp, to_device

Shape = tuple[int, ...]
Params = dict[str, Any]  # name -> array, or name -> Params of a layer inside


class Layer:
    """Base of all layers.  A subclass fills `self.params` and writes `forward`, `backward`, `output_shape`."""

    # PyTorch's axis order of each parameter, as a permutation of ours (see minialex/checkpoint.py).
    torch_axes: dict[str, Shape] = {}  # noqa: RUF012 -- a constant of the class, replaced and never changed

    def __init__(self) -> None:
        self.params: Params = {}
        self.training = True  # only layers that act differently in training, such as Dropout, look at it
        self.shared: Any = None  # see `share`

    def forward(self, x: Array) -> tuple[Array, Any]:
        """The output y for the input x, and the cache for `backward`."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        """dL/dx from dy = dL/dy; writes dL/d(parameter) into `grad`."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, x: Array) -> Array:
        """The output alone, for prediction: nothing is kept for a backward pass."""
        return self.forward(x)[0]

    def share(self, shape: Shape) -> Any:
        """What depends on the parameters alone, for inputs of `shape` (N, ...); None where there is nothing.

        `MicroBatches` computes it once for all its groups, and lets the layer find it in `self.shared`.
        """
        return None

    # ------------------------------------------------------------------------------- shapes and costs

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of y for one image x of `shape`, both without the batch axis."""
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        """Multiply-adds of `forward` for one image of `shape` (products of a layer's weights only)."""
        return 0

    # ------------------------------------------------------------------------------- the tree of layers

    def children(self) -> dict[str, "Layer"]:
        """The layers inside this one, by name."""
        return {}

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, "Layer"]]:
        """Every layer that has no children, with its dotted name, in order of execution."""
        children = self.children()
        if not children:
            yield prefix, self
        for name, child in children.items():
            yield from child.leaves(f"{prefix}.{name}" if prefix else name)

    def train(self, mode: bool = True) -> "Layer":
        """Switch this layer and all inside it to training (or, with False, to evaluation)."""
        self.training = mode
        for child in self.children().values():
            child.train(mode)
        return self

    def set_step(self, step: int, first: int = 0) -> None:
        """Tell layers that draw random numbers of which training step to draw them.

        `first` is the number, in the batch of that step, of the first image that they will see.
        """
        for child in self.children().values():
            child.set_step(step, first)

    def to(self, device: str | None = None, dtype: Any = None) -> "Layer":
        """Move the parameters to "cpu" or "gpu", or to another float dtype.  Call before `flatten`."""
        for owner, key, _ in named_arrays(self.params):
            if device is not None:
                owner[key] = to_device(owner[key], device)
            if dtype is not None:
                owner[key] = owner[key].astype(dtype)
        return self

    def flatten(self) -> Array:
        """Move all parameters into one vector theta and return it; `params` become views of it."""
        arrays = list(named_arrays(self.params))
        if not arrays:
            raise ValueError(f"{type(self).__name__} has no parameters to flatten")
        first = arrays[0][0][arrays[0][1]]
        theta = get_xp(first).empty(sum(owner[key].size for owner, key, _ in arrays), dtype=first.dtype)
        views = dict_like(self.params, theta)
        for (owner, key, _), (new, _, _) in zip(arrays, named_arrays(views), strict=True):
            new[key][...] = owner[key]
            owner[key] = new[key]
        return theta


def named_arrays(params: Params, prefix: str = "") -> Iterator[tuple[Params, str, str]]:
    """Yield (dictionary, key, dotted name) of every array in a nested dictionary, in order."""
    for key, value in params.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict):
            yield from named_arrays(value, name)
        else:
            yield params, key, name


def dict_like(params: Params, vector: Array) -> Params:
    """A nested dictionary of the form of `params` whose arrays are consecutive views of the flat `vector`."""

    def build(params: Params, start: int) -> tuple[Params, int]:
        result: Params = {}
        for key, value in params.items():
            if isinstance(value, dict):
                result[key], start = build(value, start)
            else:
                result[key] = vector[start : start + value.size].reshape(value.shape)
                start += value.size
        return result, start

    return build(params, 0)[0]


def zeros_like(params: Params) -> Params:
    """A nested dictionary of zeros of the form of `params`: a `grad` for `backward` to write into."""
    return {
        # Contiguous even where `value` is not: layers write through reshaped views.
        key: zeros_like(value) if isinstance(value, dict) else get_xp(value).zeros(value.shape, dtype=value.dtype)
        for key, value in params.items()
    }


def count_parameters(params: Params) -> int:
    """How many numbers are in `params`."""
    return sum(int(np.prod(owner[key].shape)) for owner, key, _ in named_arrays(params))


def check_shape(layer: Layer, x: Array, expected: tuple[int | str, ...]) -> None:
    """Raise ValueError, naming the layer and both shapes, unless x.shape is `expected` (a str fits any size)."""
    fits = len(x.shape) == len(expected) and all(
        isinstance(want, str) or want == size for want, size in zip(expected, x.shape, strict=True)
    )
    if not fits:
        form = "(" + ", ".join(map(str, expected)) + ")"
        raise ValueError(f"{type(layer).__name__}: expected an input of shape {form}, got {tuple(x.shape)}")
    if x.shape[0] == 0:
        raise ValueError(f"{type(layer).__name__}: the batch is empty")
    check_float(layer, x)


def check_float(layer: Layer, x: Array) -> None:
    """Raise TypeError, naming the layer, unless x holds floating-point numbers."""
    if x.dtype.kind != "f":
        raise TypeError(f"{type(layer).__name__}: expected floating-point input, got {x.dtype}")


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many places a window takes along one axis (a remainder at the far edge is unused)."""
    return (size + 2 * padding - kernel) // stride + 1


def check_window(layer: Layer, H: int, W: int, kernel: int, padding: int) -> None:
    """Raise ValueError where not even one window fits into the padded image."""
    if min(H, W) + 2 * padding < kernel:
        raise ValueError(
            f"{type(layer).__name__}: a {kernel}x{kernel} window does not fit into {H}x{W} with padding {padding}"
        )


def group_slices(C: int, F: int, groups: int) -> list[tuple[slice, slice]]:
    """Of C channels and F filters: what each group of a convolution reads, and what it writes."""
    c, f = C // groups, F // groups
    return [(slice(g * c, (g + 1) * c), slice(g * f, (g + 1) * f)) for g in range(groups)]
