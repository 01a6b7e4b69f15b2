"""summary(model, shape) -- a table of what each layer makes, what it costs, and which form runs.

    print(summary(model, model.input_shape))

To compare AlexNet's numbers with those in its paper, run `benchmarks/paper_numbers.py`.
"""

import math
import re

import numpy as np

from minialex.attach import device_of
from minialex.layers import Conv2d, Layer, Linear
from minialex.params import Shape, count_parameters, family, named_arrays
from minialex.train.evaluation import evaluating, watching
from minialex.train.memory import show_bytes, step_bytes
from minialex.xp import Array, to_device

HEADER = ("name", "layer", "output shape", "parameters", "multiply-adds", "kB", "form")
LEFT = {"name", "layer", "output shape", "form"}  # the columns of text


class Table(str):
    """Text that shows itself as it is, where Python or a notebook shows a value."""

    __repr__ = str.__str__


def multiply_adds(layer: Layer, shape: Shape) -> int:
    """Multiply-adds of `layer.forward` for one image of `shape` (products of its weights only)."""
    if not isinstance(layer, Conv2d | Linear):
        return 0
    positions = math.prod(layer.output_shape(shape)[:-1])  # 1 of a Linear
    return positions * layer.params["weight"].size


def calls(model: Layer, shape: Shape) -> list[tuple[str, Layer, Shape, Shape]]:
    """(name, layer, shape of its input, of its output) of the layers, in order of execution.

    They are found by a forward pass of an image of `shape`, so a block of your own may use the
    layers inside it as it likes.  Shapes are those of one image.
    """
    found: list[tuple[str, Layer, Shape, Shape]] = []

    def note(name: str, layer: Layer, x: Array, y: Array) -> None:
        found.append((name, layer, x.shape[1:], y.shape[1:]))

    dtypes = [owner[key].dtype for owner, key, _ in named_arrays(model.params)] or [np.float32]
    x = np.random.default_rng(0).standard_normal((1, *shape)).astype(dtypes[0])
    with evaluating(model), watching(model, note):
        model.forward(to_device(x, device_of(model)))
    return found


def summary(model: Layer, shape: Shape) -> str:
    """A table of the layers of `model` for one image of `shape` (H, W, C).

    Multiply-adds are those of the forward pass of one image, and kB (1,024 bytes) the size of its
    output in float32.  The form is what runs: the page, or a twin in `fast` or `gpu`, of which
    `repr(model)` says more.  The last rows add up; a training step with Adam needs about 4 numbers
    per parameter: the weight, its gradient and two moments.
    """
    rows: list[tuple[str, ...]] = [HEADER]
    products = numbers = 0
    for name, layer, taken, made in calls(model, shape):
        counts = count_parameters(layer.params), multiply_adds(layer, taken)
        size = math.prod(made)
        products, numbers = products + counts[1], numbers + size
        what, _, form = repr(layer).partition("  # ")  # see minialex/twin.py
        what = what.partition("(")[0] if len(what) > 48 else what
        form = re.split("[:,]", form or "page")[0]
        sizes = " x ".join(map(str, made)), *(f"{count:,}" if count else "-" for count in counts)
        rows.append((name, what, *sizes, f"{size * 4 / 1024:,.0f}", form))
    parameters = count_parameters(model.params)
    totals = f"{parameters:,}", f"{products:,}", f"{numbers * 4 / 1024:,.0f}"
    rows.append(("total", "", "", *totals, ""))

    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<" if name in LEFT else ">" for name in HEADER]
    columns = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    table = [columns.format(*row).rstrip() for row in rows]
    rule = "-" * max(map(len, table))
    adam = show_bytes(4 * parameters * 4)
    note = f"weights, gradient and Adam's two vectors: {adam}; kB are those of one image in float32"
    buffers = sum(a.size for part in family(model) for a in getattr(part, "buffers", {}).values())
    if buffers:
        note += f"\nbuffers, which training does not change by gradients: {buffers:,} numbers"
    fixed = step_bytes(model, shape, 0)
    each = show_bytes(step_bytes(model, shape, 1) - fixed)
    step = f"{show_bytes(fixed)} + {each} per image (1 MB = 10^6 bytes)"
    peak = f"peak of an accelerated training step with Adam: {step}"
    return Table("\n".join([table[0], rule, *table[1:-1], rule, table[-1], note, peak]))
