"""The numbers of the AlexNet paper, counted again: this program prints the table.

    neurons           the values that a layer outputs per image
    connections       weights times the positions where each is used: the multiply-adds of one
                      forward pass
    on the image      the same without those that fall on the zeros of the padding
    receptive field   the side, in pixels of the image, of what one output can see.  A layer with a
                      K x K window, on inputs that see r pixels and lie j pixels apart, sees
                      r + (K-1) j pixels; with stride S, its outputs lie S j apart.

What the paper says, and what we find for its network (variant "2012"):

    8 layers                  8
    60 million parameters     60,965,224, of which 96.2 % in the three dense layers ("ungrouped":
                              94.0 %)
    650,000 neurons           659,272; section 3.5 lists 253,440 for the first layer, but it has
                              55 * 55 * 96, which is 290,400
    630 million connections   724 million, or 671 million without those on padding; in the
                              convolutions alone 666 and 613 million.  No one rule of counting that
                              we tried gives 630, and the slides that state it do not say how it was
                              counted.
    2048 views of a photo     1,800 of 227 x 227 pixels; of 224 x 224 there are 33 * 33 * 2 = 2,178,
                              where the paper counts 32 * 32 * 2

Sources: neurons and inputs stand in section 3.5 of Krizhevsky, Sutskever, Hinton (2012), the totals
of neurons and parameters in its abstract, 2048 in its section 4.1; the connections in the authors'
slides for the contest, "ImageNet Classification with Deep Convolutional Neural Networks" (ILSVRC
2012 workshop).
"""

import argparse
import math
from dataclasses import dataclass

from minialex.commands.main import run_main
from minialex.layers import Conv2d, Linear
from minialex.layers.layer import Layer
from minialex.layers.pool import MaxPool2d
from minialex.models.alexnet import AlexNet
from minialex.params import Shape, count_parameters
from minialex.use.summary import multiply_adds

NAMES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
PAPER_NEURONS = (253_440, 186_624, 64_896, 64_896, 43_264, 4_096, 4_096, 1_000)


@dataclass(frozen=True)
class Numbers:
    """What was counted of one layer; see the head of this page."""

    name: str
    shape: Shape
    neurons: int
    parameters: int
    connections: int
    on_image: int
    field: int


def count(model: AlexNet) -> list[Numbers]:
    """The numbers of the layers of `model` that have weights, in order."""
    rows: list[Numbers] = []
    shape, field, step = model.input_shape, 1, 1
    for _, layer in model.leaves():
        before, shape = shape, layer.output_shape(shape)
        if isinstance(layer, Conv2d | MaxPool2d):
            field, step = field + (layer.kernel_size - 1) * step, layer.stride * step
        if isinstance(layer, Linear):
            field = model.image_size  # everything
        if layer.params:
            connections = multiply_adds(layer, before)
            on_image = connections - on_padding(layer, before)
            parameters, name = count_parameters(layer.params), NAMES[len(rows)]
            neurons = math.prod(shape)
            rows.append(Numbers(name, shape, neurons, parameters, connections, on_image, field))
    return rows


def on_padding(layer: Layer, shape: Shape) -> int:
    """The multiply-adds of a convolution of inputs of `shape` that fall on the padding's zeros."""
    if not isinstance(layer, Conv2d):
        return 0

    K, S, P = layer.kernel_size, layer.stride, layer.padding

    def inside(size: int, outputs: int) -> int:
        """Positions of the window's cells, along one axis, that lie in x."""
        positions = (p * S + i - P for p in range(outputs) for i in range(K))
        return sum(0 <= position < size for position in positions)

    H, W, _ = shape
    OH, OW, F = layer.output_shape(shape)
    per_cell = F * layer.in_channels // layer.groups
    return multiply_adds(layer, shape) - inside(H, OH) * inside(W, OW) * per_cell


def views(photo: int, crop: int) -> int:
    """How many squares of side `crop` one of side `photo` contains, mirror images included."""
    return (photo - crop + 1) ** 2 * 2


def dense_share(model: AlexNet) -> float:
    """The share of the parameters that the dense layers hold."""
    return count_parameters(model.classifier.params) / count_parameters(model.params)


def table(variant: str = "2012") -> str:
    """All of this for a variant of AlexNet with 1,000 classes, beside what the paper says."""
    model = AlexNet(1000, variant)
    rows = count(model)
    header = (
        "layer", "output", "neurons", "in the paper", "parameters", "connections", "on the image",
        "sees",
    )  # fmt: skip
    cells: list[tuple[str, ...]] = [header]
    for row, paper in zip(rows, PAPER_NEURONS, strict=True):
        counts = (row.neurons, paper, row.parameters, row.connections, row.on_image, row.field)
        cells.append((row.name, " x ".join(map(str, row.shape)), *(f"{n:,}" for n in counts)))
    columns = ("neurons", "parameters", "connections", "on_image")
    own = [sum(getattr(row, name) for row in rows) for name in columns]
    totals = (own[0], sum(PAPER_NEURONS), *own[1:])
    cells.append(("total", f"{len(rows)} layers", *(f"{n:,}" for n in totals), ""))

    form = "{:<6} {:<13} {:>8} {:>13} {:>11} {:>13} {:>13} {:>5}"
    side = model.image_size
    shares = (
        f"parameters in dense layers: {dense_share(model):.2%}",
        f"views of a photo of 256 x 256 pixels: {views(256, side):,} of {side} x {side}"
        " (in the paper: 2,048)",
    )
    return "\n".join([*(form.format(*row).rstrip() for row in cells), *shares])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--variant", default="2012", help="2012 (default), ungrouped or owt")
    print(table(parser.parse_args().variant))
    return 0


if __name__ == "__main__":
    run_main(main)
