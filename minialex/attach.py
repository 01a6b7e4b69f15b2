"""accelerate(model) -- the one place where pages get their twins.

    accelerate(model, optimizer)   each layer, and the optimizer, gets its fast form, if it has one
    plain(model, optimizer)        all are what their pages say again

Nothing else about a model changes: parameters, names, checkpoints and handles to its layers stay
what they were.  A layer without a twin, such as one of your own, stays as it is.  `repr(model)`
shows which form runs.  The training loop and the commands accelerate by themselves; `--plain` does
without.

Which twin it is depends on where the parameters are; `model.to(device)` changes it with them.
"""

from collections.abc import Iterator
from typing import Any

from minialex import fast, gpu, losses  # noqa: F401 -- fast and gpu register their twins
from minialex.errors import ConfigError, choose
from minialex.fast.conv import ALGORITHMS
from minialex.fast.linear import slices
from minialex.fast.winograd_matrices import POINTS
from minialex.gpu.losses import softmax_cross_entropy as gpu_softmax_cross_entropy
from minialex.layers import Conv2d, Dropout, Layer, Linear, LocalResponseNorm, ReLU, Sequential
from minialex.layers.lrn_2d import LocalResponseNorm2d
from minialex.layers.pool import AvgPool2d, MaxPool2d
from minialex.models import AlexNet
from minialex.params import family, named_arrays
from minialex.twin import OPTIMIZER_TWINS, TWINS, is_square, page_of
from minialex.xp import where_is

# What twins and optimizers are told beside their class.
SETTINGS = ("inplace", "head", "algorithm", "input_grad", "shared", "kept", "own")

# A ReLU may work in place after a layer that does not keep its output, and before one whose dx is
# new.
KEEPS_NO_OUTPUT = (Conv2d, Linear)
MAKES_ITS_DX = (Conv2d, Linear, MaxPool2d, AvgPool2d, LocalResponseNorm, LocalResponseNorm2d,
                Dropout)  # fmt: skip
IN_ORDER = (Sequential.forward, AlexNet.forward)  # AlexNet only looks at the shape first


def accelerate(
    model: Layer, optimizer: Any = None, *, algorithm: str = "auto", input_grad: bool = True
) -> Layer:
    """Give each layer of `model`, and `optimizer`, its fast form; returns `model`.

    `algorithm` is that of convolutions: "im2col", "winograd" (CPU), "implicit" (GPU) or "auto",
    whichever is faster.  Without `input_grad`, the backward pass ends at the first layer's weights
    and returns None: a training step needs no derivative with respect to the images.
    Raises ConfigError, and changes nothing, for an algorithm that does not exist or cannot do a
    convolution of the model.
    """
    choose("algorithm", algorithm, ALGORITHMS)
    device, layers = device_of(model), list(family(model))
    convolutions = [layer for layer in layers if page_of(layer) is Conv2d]
    for layer in convolutions:
        check_algorithm(layer, algorithm, device)
    plain(model, optimizer)
    for layer in layers:
        layer.__class__ = TWINS.get((type(layer), device), type(layer))
    for layer in convolutions:
        layer.algorithm = algorithm
    if optimizer is not None:
        optimizer.__class__ = OPTIMIZER_TWINS.get((type(optimizer), device), type(optimizer))
    once = {id(layer) for layer in layers if layers.count(layer) == 1}
    arrange(model, once, inside=False)
    _, first = next(chain(model))  # which gets the images
    if page_of(first) in (Conv2d, Linear) and id(first) in once:
        first.input_grad = input_grad
    return model


def plain(model: Layer, optimizer: Any = None) -> Layer:
    """Take the fast forms away again; returns `model`."""
    for layer in [*family(model), *([] if optimizer is None else [optimizer])]:
        layer.__class__ = page_of(layer)
        for name in SETTINGS if layer is optimizer or (type(layer), "cpu") in TWINS else ():
            vars(layer).pop(name, None)  # a layer of one's own may call its parts so
    return model


def loss_function(device: str, fused: bool = True) -> Any:
    """softmax_cross_entropy, in the form that is fastest on this device."""
    return gpu_softmax_cross_entropy if device == "gpu" and fused else losses.softmax_cross_entropy


def device_of(model: Layer) -> str:
    """Where the parameters of `model` are; "cpu" where it has none."""
    arrays = [owner[key] for owner, key, _ in named_arrays(model.params)]
    return where_is(arrays[0]) if arrays else "cpu"


def chain(layer: Layer, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, layer) of the layers that run one after the other, however they are nested.

    A block that does something else with the layers inside it counts as one layer.
    """
    children = layer.children() if is_chain(layer) else {}
    if not children:
        yield name, layer
    for key, child in children.items():
        yield from chain(child, f"{name}.{key}" if name else key)


def is_chain(layer: Layer) -> bool:
    """Whether its layers run one after the other, and nothing else; AlexNet is one, too."""
    page: Any = page_of(layer)
    return page.backward is Sequential.backward and page.forward in IN_ORDER


def head_of(layer: Any) -> int:
    """How many of its layers are the head of a Sequential, see fast/sequential.py."""
    return getattr(layer, "head", 0) if page_of(layer) is Sequential else 0


def check_algorithm(layer: Conv2d, algorithm: str, device: str) -> None:
    """Raise ConfigError where `algorithm` cannot compute this convolution."""
    if algorithm == "winograd" and device == "gpu":
        text = "--algorithm winograd is for the CPU; on a GPU choose auto, im2col or implicit"
        raise ConfigError(text)
    if algorithm == "implicit" and device == "cpu":
        raise ConfigError("--algorithm implicit is for a GPU; on the CPU choose auto or im2col")
    K, S, G = layer.kernel_size, layer.stride, layer.groups
    fits = is_square(layer) and len(POINTS) * S >= K and 1 in (S, G)
    if algorithm == "winograd" and not fits:
        raise ConfigError(f"--algorithm winograd cannot do {layer!r}; choose auto or im2col")


def arrange(layer: Any, once: set[int], inside: bool) -> None:
    """Micro-batches for the outermost Sequentials that convolve, ReLUs in place; those inside, too.

    Micro-batches end where large dense layers begin, which would read their weights for each.

    `once` holds the ids of the layers that stand at one place in the model only.
    """
    children = list(layer.children().values())
    if page_of(layer) is Sequential:
        for before, relu, after in zip(children, children[1:], children[2:], strict=False):
            if page_of(relu) is ReLU and id(relu) in once:
                keeps_none = page_of(before) in KEEPS_NO_OUTPUT
                relu.inplace = keeps_none and page_of(after) in MAKES_ITS_DX
        dense = (i for i, child in enumerate(children) if any(map(is_large, family(child))))
        head = min(head_length(children), next(dense, len(children)))
        convolves = any(isinstance(p, Conv2d) for child in children[:head] for p in family(child))
        if type(layer) is not Sequential and convolves and not inside:
            layer.head, inside = head, True
        else:
            layer.__class__ = Sequential
    for child in children:
        arrange(child, once, inside)


def is_large(layer: Layer) -> bool:
    """Whether it is a dense layer that is cut into slices, and takes whole batches."""
    return page_of(layer) is Linear and bool(slices(layer.params["weight"]))


def head_length(children: list[Layer]) -> int:
    """How many layers, from the first on, treat each image by itself and draw no random numbers."""
    draws = (any(hasattr(part, "stream") for part in family(child)) for child in children)
    ends = (i for i, drawn in enumerate(draws) if drawn or any(mixers(children[i])))
    return next(ends, len(children))


def mixers(layer: Layer, name: str = "") -> Iterator[str]:
    """Name and class of each layer inside, or of `layer`, that needs all images of a batch."""
    if not (layer.per_image or page_of(layer) is Sequential):  # of a Sequential its layers say it
        yield f"{name} {type(layer).__name__}".strip()
    for key, child in layer.children().items():
        yield from mixers(child, f"{name}.{key}" if name else key)
