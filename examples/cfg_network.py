"""A network from the files of Krizhevsky's programs: layers-145.cfg is the one that won in 2012.

The program of 2012 reads a network from two files: one says which layers there are and which layer
reads which, the other how they are trained.  This reads the same format, and builds the network:

    git clone https://github.com/computerhistory/AlexNet-Source-Code krizhevsky
    cd krizhevsky/layers
    python cfg_network.py layers-145.cfg layer-params-145.cfg

(with the path of this file, examples/cfg_network.py) prints its layers, shapes and parameters;
`--side 32` builds for images of 32 pixels, as the networks in example-layers/ need; `--train 3`
trains three epochs on drawings, at the rates of the files.

A layer that two GPUs share stands there twice, as conv2a and conv2b.  Here both are one layer: of
two groups, where conv2a reads pool1a alone and conv2b pool1b, and of one where both read both.
Types of layers and options that minialex has not, such as "local", are refused by name.
"""

import argparse
import configparser
import math
from pathlib import Path
from typing import Any

import numpy as np

import minialex as mx
from minialex.errors import ConfigError
from minialex.transforms import Compose, Normalize, ToArray

NEURONS = {"relu": mx.ReLU, "tanh": mx.layers.Tanh, "logistic": mx.layers.Sigmoid}
DROPOUT = {"hs": "keep", "dropout": "keep", "dropout2": "keep"}
ENDS = ("softmax", "cost.logreg")
YES, NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
# The only values that minialex has of these; outputsX = 0 is as many as there is room for.
USUAL = {"sharedBiases": YES, "randSparse": NO, "blocked": NO, "outputsX": {"0"}}
Stage = list[tuple[str, dict[str, str]]]  # the columns of a layer: their names and options


class MeanPool2d(mx.layers.AvgPool2d):
    """The program's "avg": windows may hang over the edge, and have the mean of what is there."""

    ceil_mode = True

    def forward(self, x: Any) -> Any:
        """x (N, H, W, C) -> y (N, OH, OW, C)."""
        count = self.windows(np.ones((1, *x.shape[1:3], 1), x.dtype), 0).sum(axis=0)
        return self.windows(x, 0).sum(axis=0) / count, (x.shape, count)

    def backward(self, dy: Any, cache: Any, grad: Any) -> Any:
        """The same share of dy to each number of a window."""
        shape, count = cache
        return self.add_windows([dy / count] * len(self.positions(1, 1)), shape)


def sections(*files: str | Path) -> dict[str, dict[str, str]]:
    """{layer: {option: value}} of both files; initW and initw are two options.

    Raises ConfigError where one cannot be read.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    for file in files:
        try:
            parser.read_string(Path(file).read_text("utf-8"), str(file))
        except (OSError, configparser.Error) as error:
            text = " ".join(str(error).split())
            raise ConfigError(f"{str(file)!r} is no file of layers: {text}") from None
    return {name: dict(parser[name]) for name in parser.sections()}


def names(options: dict[str, str]) -> list[str]:
    """The layers that a layer reads."""
    return [name.strip() for name in options.get("inputs", "").split(",") if name.strip()]


def number(name: str, options: dict[str, str], key: str, default: float | None = None) -> float:
    """One option, which is the same for all inputs.  Raises ConfigError where it is not."""
    value = options.get(key)
    if value is None and default is not None:
        return default
    try:
        value = value.split("base=")[-1] if value and "base=" in value else value
        (found,) = {float(part.rstrip("]").split(";")[0]) for part in (value or "").split(",")}
    except ValueError:
        raise ConfigError(f"layer {name!r}: {key} must be one number, not {value!r}") from None
    return found


def stages(layers: dict[str, dict[str, str]]) -> list[Stage]:
    """The layers as a chain, in order; columns of one layer, which read the same ones, together.

    Raises ConfigError where they are no chain.
    """
    (data,) = [name for name, own in layers.items() if own.get("type") == "data"][:1] or ("data",)
    chain: list[Stage] = []
    before = {data}
    while True:
        readers = [(name, own) for name, own in layers.items() if {*names(own)} & before]
        readers = [(name, own) for name, own in readers if own.get("type") not in ENDS]
        if not readers:
            return chain
        kinds = {own.get("type", "") for _, own in readers}
        read = {name for _, own in readers for name in names(own)}
        if len(kinds) > 1 or read != before or len(chain) == len(layers):
            raise ConfigError(f"the layers that read {sorted(before)} are no chain: {readers}")
        chain.append(readers)
        before = {name for name, _ in readers}


def groups_of(stage: Stage, before: int) -> int:
    """The groups of a stage after one of `before` columns.  Raises ConfigError for other wiring."""
    reads = [len(names(own)) for _, own in stage]
    if {*reads} == {before}:  # each column reads all of them
        return 1
    if {*reads} == {1} and before == len(stage):
        return len(stage)
    raise ConfigError(f"layer {stage[0][0]!r}: its columns read {reads} of {before} columns")


def check_options(stage: Stage, groups: int) -> None:
    """Raise ConfigError for an option that would make it another layer than is built."""
    for name, own in stage:
        for key in USUAL.keys() & own.keys():
            if not {value.strip().lower() for value in own[key].split(",")} <= USUAL[key]:
                raise ConfigError(f"layer {name!r}: minialex has no {key}={own[key]}")
        one_column = groups == len(stage) and len(names(own)) == 1
        if number(name, own, "groups", 1) > 1 and not one_column:
            text = "needs a column of its own to read, and no other"
            raise ConfigError(f"layer {name!r}: groups={own['groups']} {text}")


def make_layer(stage: Stage, groups: int, shape: tuple[int, ...], rng: Any) -> list[mx.Layer]:
    """What a stage computes of images of `shape`.  Raises ConfigError for an unknown type."""
    (name, own), columns = stage[0], len(stage)

    def n(key: str, default: float | None = None) -> float:
        return number(name, own, key, default)

    def whole(key: str, default: float | None = None) -> int:
        return int(n(key, default))

    kind, C = own.get("type", ""), shape[-1]
    if kind == "conv":
        F, inner = columns * whole("filters") * whole("groups", 1), groups * whole("groups", 1)
        sizes = whole("filterSize"), whole("stride", 1), whole("padding", 0)
        made: mx.Layer = mx.Conv2d(C, F, *sizes, inner, ceil_mode=True, rng=rng, std=n("initW"))
    elif kind == "fc":
        F = columns * whole("outputs")
        made = mx.Linear(math.prod(shape), F, rng=rng, std=n("initW"))
        if groups > 1:
            raise ConfigError(f"layer {name!r}: each of its columns must read all columns")
    elif kind == "pool" and own.get("pool") == "max" and not whole("start", 0):
        made = mx.MaxPool2d(whole("sizeX"), whole("stride"), ceil_mode=True)
    elif kind == "pool" and own.get("pool") == "avg" and not whole("start", 0):
        made = MeanPool2d(whole("sizeX"), whole("stride"))
    elif kind == "cmrnorm":
        size = whole("size")
        numbers = n("scale") / size, n("pow"), n("minDiv", 1)
        made = mx.LocalResponseNorm(size, *numbers, groups=columns)
    elif kind == "rnorm":
        size = whole("size", 0) or whole("sizeX")  # as older versions call it
        made = mx.layers.LocalResponseNorm2d(size, n("scale") / size**2, n("pow"), 1.0)
    elif kind in DROPOUT:
        made = mx.Dropout(1 - n(DROPOUT[kind], 0.5), seed=0)
    else:
        what = " ".join(filter(None, (kind, own.get("pool"))))
        raise ConfigError(f"layer {name!r}: minialex has no layer of type {what!r}")
    if "bias" in made.params:
        made.params["bias"][...] = n("initB", 0)
    neuron = own.get("neuron", "ident")
    if neuron not in ("", "ident", *NEURONS):
        raise ConfigError(f"layer {name!r}: minialex has no neuron of type {neuron!r}")
    flat = [mx.Flatten()] if kind == "fc" and len(shape) > 1 else []
    return [*flat, made, *([NEURONS[neuron]()] if neuron in NEURONS else [])]


def build(layers: dict[str, dict[str, str]], side: int = 224) -> tuple[mx.Sequential, list[Stage]]:
    """The network, and the stage of each of its layers that has parameters.

    Raises ConfigError for what minialex has not.
    """
    chain: list[mx.Layer] = []
    weighted, before, rng = [], 1, np.random.default_rng(0)
    found = stages(layers)
    if not found:
        raise ConfigError("there is no layer that reads the data")
    shape: tuple[int, ...] = (side, side, int(number(*found[0][0], "channels")))
    for stage in found:
        groups = groups_of(stage, before)
        check_options(stage, groups)
        new = make_layer(stage, groups, shape, rng)
        weighted += [stage for layer in new if layer.params]
        for layer in new:
            shape = layer.output_shape(shape)
        chain, before = chain + new, len(stage)
    return mx.Sequential(*chain), weighted


def optimizer_of(model: mx.Sequential, weighted: list[Stage]) -> Any:
    """SGD at the rates, weight decay and momentum of the files, layer by layer."""
    rates, decays = dict[str, float](), dict[str, float]()
    positions = (name for name, layer in model.children().items() if layer.params)
    for at, ((name, own), *_) in zip(positions, weighted, strict=True):
        rates |= {
            f"{at}.weight": number(name, own, "epsW"),
            f"{at}.bias": number(name, own, "epsB"),
        }
        decays |= {f"{at}.weight": number(name, own, "wc", 0), f"{at}.bias": 0.0}
    (name, own), *_ = weighted[0]
    return mx.SGD(model, lr=rates, weight_decay=decays, momentum=number(name, own, "momW", 0.9))


def main() -> None:
    """Print the network of two files, and train it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs=2, help="layers-*.cfg and layer-params-*.cfg")
    parser.add_argument("--side", type=int, default=224, help="pixels of an image (224)")
    parser.add_argument("--train", type=int, default=0, help="epochs on drawings (0)")
    parser.add_argument("--images", type=int, default=2000, help="drawings to train on (2000)")
    options = parser.parse_args()
    model, weighted = build(sections(*options.files), options.side)
    shape, total = (options.side, options.side, 3), 0
    for layer in model.layers:
        shape = layer.output_shape(shape)
        count = sum(array.size for array in layer.params.values())
        total += count
        print(f"{layer!r:64} {' x '.join(map(str, shape)):>14}" + f" {count:,}" * (count > 0))
    print(f"{total:,} parameters")
    if options.train:
        scaled = Compose([ToArray(), Normalize((0.5,) * 3, (1 / 255,) * 3)])
        train = [*mx.Drawings(options.images, size=options.side)]
        test = [*mx.Drawings(400, size=options.side, start=100_000)]
        loader = mx.DataLoader(train, 128, scaled, shuffle=True)
        val = mx.DataLoader(test, 100, scaled)
        mx.fit(model, loader, optimizer_of(model, weighted), epochs=options.train, val=val)


if __name__ == "__main__":
    try:
        main()
    except mx.MinialexError as error:
        raise SystemExit(f"error: {error}") from None
