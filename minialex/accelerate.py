"""accelerate(model) -- the one place where pages get their twins.

    accelerate(model, optimizer)     each layer, and the optimizer, gets its fast form, where it has one
    plain(model, optimizer)          all are what their pages say again

Nothing else about a model changes: parameters, names, checkpoints and handles to its layers stay what
they were.  A layer without a twin, such as one of your own, stays as it is.  `repr(model)` shows which
form runs.  The training loop and the commands accelerate by themselves; `--plain` does without.

Which twin it is depends on where the parameters are; `model.to(device)` changes it with them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex import fast, gpu, losses
from minialex.errors import ConfigError
from minialex.fast.conv import ALGORITHMS
from minialex.gpu.losses import softmax_cross_entropy as gpu_softmax_cross_entropy
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.params import named_arrays
from minialex.twin import TWINS, page_of
from minialex.xp import get_xp

OPTIMIZERS = {
    "cpu": {twin.page: twin for twin in fast.OPTIMIZERS},
    "gpu": {twin.page: twin for twin in gpu.OPTIMIZERS},
}
SETTINGS = ("inplace", "head", "algorithm", "input_grad")  # what twins are told beside their class

# A ReLU may work in place after a layer that does not keep its output, and before one whose dx is new.
KEEPS_NO_OUTPUT = (Conv2d, Linear)
MAKES_ITS_DX = (Conv2d, Linear, MaxPool2d, AvgPool2d, LocalResponseNorm, Dropout)


def accelerate(
    model: Layer, optimizer: Any = None, *, algorithm: str = "auto", input_grad: bool = True
) -> Layer:
    """Give each layer of `model`, and `optimizer`, its fast form; returns `model`.

    `algorithm` is that of convolutions on the CPU: "im2col", "winograd" or "auto", whichever is faster.
    Without `input_grad`, the backward pass ends at the first layer's weights and returns None: a
    training step needs no derivative with respect to the images.
    Raises ConfigError for an algorithm that does not exist or cannot do a convolution of the model.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"unknown algorithm '{algorithm}'; choose {', '.join(ALGORITHMS)}")
    plain(model, optimizer)
    device = device_of(model)
    for layer in family(model):
        layer.__class__ = TWINS.get((type(layer), device), type(layer))
        if isinstance(layer, Conv2d):
            check_algorithm(layer, algorithm, device)
            layer.algorithm = algorithm
    if optimizer is not None:
        optimizer.__class__ = OPTIMIZERS[device].get(type(optimizer), type(optimizer))
    arrange(model, inside=False)
    first = next(leaf for _, leaf in model.leaves())
    if isinstance(first, Conv2d) and page_of(first) is Conv2d:
        first.input_grad = input_grad
    return model


def plain(model: Layer, optimizer: Any = None) -> Layer:
    """Take the fast forms away again; returns `model`."""
    for layer in [*family(model), *([] if optimizer is None else [optimizer])]:
        layer.__class__ = page_of(layer)
        for name in SETTINGS:
            vars(layer).pop(name, None)
    return model


def loss_function(device: str, fused: bool = True) -> Any:
    """softmax_cross_entropy, in the form that is fastest on this device."""
    return gpu_softmax_cross_entropy if device == "gpu" and fused else losses.softmax_cross_entropy


def device_of(model: Layer) -> str:
    """Where the parameters of `model` are; "cpu" where it has none."""
    arrays = [owner[key] for owner, key, _ in named_arrays(model.params)]
    return "gpu" if arrays and get_xp(arrays[0]) is not np else "cpu"


def family(layer: Layer) -> Iterator[Any]:
    """A layer and all layers inside it."""
    yield layer
    for child in layer.children().values():
        yield from family(child)


def check_algorithm(layer: Conv2d, algorithm: str, device: str) -> None:
    """Raise ConfigError where `algorithm` cannot compute this convolution."""
    if algorithm == "winograd" and device == "gpu":
        raise ConfigError("--algorithm winograd is for the CPU; on a GPU choose auto or im2col")
    if algorithm == "winograd" and layer.stride > 1 and layer.groups > 1:
        raise ConfigError(f"--algorithm winograd cannot do {layer!r}; choose auto or im2col")


def arrange(layer: Any, inside: bool) -> None:
    """Micro-batches for the outermost Sequentials that convolve, ReLUs in place; those inside, too."""
    children = list(layer.children().values())
    if page_of(layer) is Sequential:
        for before, relu, after in zip(children, children[1:], children[2:], strict=False):
            if isinstance(relu, ReLU) and page_of(relu) is ReLU and type(relu) is not ReLU:
                keeps_none = page_of(before) in KEEPS_NO_OUTPUT
                relu.inplace = keeps_none and page_of(after) in MAKES_ITS_DX
        head = [child for child in children[: head_length(children)]]
        convolves = any(isinstance(leaf, Conv2d) for child in head for _, leaf in child.leaves())
        if type(layer) is not Sequential and convolves and not inside:
            layer.head, inside = len(head), True
        else:
            layer.__class__ = Sequential
    for child in children:
        arrange(child, inside)


def head_length(children: list[Layer]) -> int:
    """How many layers, from the first on, treat each image by itself and draw no random numbers."""
    for length, child in enumerate(children):
        if not all(leaf.per_image and not hasattr(leaf, "stream") for _, leaf in child.leaves()):
            return length
    return len(children)
