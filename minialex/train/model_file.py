"""Networks in files: what a checkpoint says about its network, and how that is built again.

    save("mine.safetensors", model)         weights, and a description of the layers
    model = load("mine.safetensors")        the same network

A description is JSON: the name of a layer and its arguments,

    {"layer": "Sequential", "layers": [{"layer": "Conv2d", "in_channels": 3, ...}, ...]}

Names are looked up in a table of our own layers.  Nothing is imported by name, so that a file from
a stranger can build no more than what stands in this table.  A network with a layer of your own has
no description: you make it in your program, and `load(path, into=model)` fills it.
"""

import inspect
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from minialex import layers
from minialex.attach import plain
from minialex.data import CenterCrop, Compose, Normalize, Resize, ToArray, Transform
from minialex.data.mean_image import MeanImage
from minialex.errors import CheckpointError, MinialexError
from minialex.files import write_whole
from minialex.layers import Layer, Sequential
from minialex.models import AlexNet
from minialex.train import checkpoint
from minialex.train.checkpoint import load_checkpoint, load_state_dict, state_dict
from minialex.train.torch_file import pth_bytes
from minialex.twin import page_of

TABLE: dict[str, Any] = {name: getattr(layers, name) for name in layers.__all__
                         if name not in ("Layer", "Sequential")}  # fmt: skip
FIXED = (Resize, CenterCrop, ToArray, Normalize, MeanImage)  # they give a photo one form only
DRAWN = ("rng", "std")  # arguments that only choose the initial weights


def describe(model: Layer) -> dict[str, Any] | None:
    """`model` as JSON-ready data; None where a layer inside is not one of ours."""
    kind: Any = page_of(model)
    if kind is AlexNet:
        return {"layer": "AlexNet", **model.config}  # type: ignore[attr-defined]
    if kind is Sequential:
        inside = [describe(layer) for layer in model.children().values()]
        return None if None in inside else {"layer": "Sequential", "layers": inside}
    if kind not in TABLE.values():
        return None
    # Its attributes of the same names hold the arguments.  A switch that is as usual is left out,
    # and so is what came later, which is given by name alone.
    usual = inspect.signature(kind).parameters
    values = {name: getattr(model, name) for name in usual if name not in DRAWN}
    told = {name: list(value) if isinstance(value, tuple) else value  # as JSON has it
            for name, value in values.items()
            if not (isinstance(value, bool) or usual[name].kind is usual[name].KEYWORD_ONLY)
            or value != usual[name].default}  # fmt: skip
    return {"layer": kind.__name__, **told}


def build(description: dict[str, Any]) -> Layer:
    """The network of a description, with initial weights.

    Raises CheckpointError for a layer that is not in the table, or arguments that do not fit it.
    """
    given = dict(description)
    name = given.pop("layer", "AlexNet")  # version 0.1.0 knew only that
    if name == "Sequential" and isinstance(given.get("layers"), list):
        return Sequential(*map(build, given["layers"]))
    kind = AlexNet if name == "AlexNet" else TABLE.get(name)
    if kind is None:
        raise CheckpointError(f"it has a layer {str(name)[:40]!r}, which is not one of minialex's")
    if "rng" in inspect.signature(kind).parameters:
        given["rng"] = SimpleNamespace(standard_normal=np.zeros)  # the weights are in the file
    return kind(**given)


def save(path: str | os.PathLike[str], model: Layer, *, classes: list[str] | None = None,
         transform: Transform | None = None) -> None:  # fmt: skip
    """Write `model` to a .safetensors file, with its class names and preprocessing if given.

    The weights stand under PyTorch's names and in its axis order.  Where the name of the file ends
    in .pth, it is one of PyTorch's, which holds the weights alone, for torch.load.  Raises
    CheckpointError where the disk refuses, and for a .pth with classes or a transform.
    """
    if os.fspath(path).endswith(".pth"):
        if classes is not None or transform is not None:
            text = f"{str(path)!r}: a .pth holds the weights alone; leave classes and transform out"
            raise CheckpointError(f"{text}, or choose a name that ends in .safetensors")
        write_whole(path, [pth_bytes(state_dict(model))])
        return
    checkpoint.save_checkpoint(path, state_dict(model), header_of(model, classes, transform))


def header_of(model: Layer, classes: list[str] | None = None,
              transform: Transform | None = None) -> dict[str, Any]:  # fmt: skip
    """What a user of the weights must know: the network, its classes, its preprocessing.

    The preprocessing is None where it holds a transform that is not one of ours, or that draws
    random numbers: a photo is to be seen the same way each time.
    """
    steps = None
    if isinstance(transform, Compose) and all(type(step) in FIXED for step in transform.transforms):
        steps = transform.to_config()
    return {"model": describe(model), "classes": classes, "transform": steps}


def read_model(path: str | os.PathLike[str], into: Layer | None = None,
    report: Callable[[str], None] | None = None) -> tuple[Layer, dict[str, Any]]:  # fmt: skip
    """The network in a file, and the header beside it: "model", "classes", "transform".

    Its weights are copied into the network `into`, if one is given; the file may then be any
    .safetensors or .pth file with our names, which are PyTorch's.  Where `report` is given, too, it
    is called with a line about the weights, and the last layer stays as it is where that of the
    file has another number of classes.  Raises CheckpointError where the file is missing or
    damaged, does not fit `into`, or describes no network.
    """
    weights, header = load_checkpoint(path, ours=into is None)
    weights = {key: value for key, value in weights.items() if not key.startswith("optimizer.")}
    if into is None:
        if (description := header.get("model")) is None:
            raise CheckpointError(f"{str(path)!r} holds a network with a layer of your own; make"
                " it in your program and load the file with mx.load(path, into=model)")  # fmt: skip
        try:
            into = build(description)
        except (TypeError, ValueError, AttributeError, RecursionError, MinialexError) as error:
            raise CheckpointError(f"{str(path)!r} has no usable model header ({error})") from None
    words = keep_head(into, weights) if report else ""
    try:
        load_state_dict(into, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{str(path)!r}: {error}") from None
    if report:
        report(f"weights: {path}{words}")
    return into, header


def keep_head(model: Layer, weights: dict[str, np.ndarray]) -> str:
    """Put the last layer of `model` into `weights` where that has another number of classes there.

    Returns words that say so; "" where it has the same.
    """
    own, words = checkpoint.state_views(model), ""
    head = list(own)[-1].rpartition(".")[0]
    for name in (name for name in weights.keys() & own if name.rpartition(".")[0] == head):
        theirs, ours = weights[name].shape, own[name].shape
        if theirs != ours and theirs[1:] == ours[1:]:
            weights[name] = own[name]
            words = f"; its last layer is a new one, of {ours[0]:,} classes, not {theirs[0]:,}"
    return words


def load(path: str | os.PathLike[str], into: Layer | None = None, device: str = "cpu") -> Layer:
    """The network in a file, on "cpu" or "gpu": a new one, or `into` with the weights of the file.

    A new one is made of pages alone; `accelerate` gives it its fast form.
    Raises CheckpointError where the file is missing or damaged, does not fit `into`, or holds a
    network with a layer of your own and `into` is not given.
    """
    model = read_model(path, into)[0]
    return (plain(model) if into is None else model).to(device)
