"""summary(model, shape) -- a table of what each layer makes, what it costs, and which form runs.

    print(summary(model, model.input_shape))

To compare AlexNet's numbers with those in its paper, run `benchmarks/paper_numbers.py`.
"""

import math
import re

from minialex.layers import Conv2d, Layer
from minialex.params import Shape, count_parameters
from minialex.train.memory import show_bytes, step_bytes

HEADER = ("name", "layer", "output shape", "parameters", "multiply-adds", "kB", "form")
LEFT = {"name", "layer", "output shape", "form"}  # the columns of text


def multiply_adds(layer: Layer, shape: Shape) -> int:
    """Multiply-adds of `layer.forward` for one image of `shape` (products of its weights only)."""
    positions = 1
    if isinstance(layer, Conv2d):
        positions = math.prod(layer.output_shape(shape)[:2])
    return positions * layer.params["weight"].size if "weight" in layer.params else 0


def summary(model: Layer, shape: Shape) -> str:
    """A table of the layers of `model` for one image of `shape` (H, W, C).

    Multiply-adds are those of the forward pass of one image, and kB (1,024 bytes) the size of its
    output in float32.  The form is what runs: the page, or a twin in `fast` or `gpu`, of which
    `repr(model)` says more.  The last rows add up; a training step with Adam needs about 4 numbers
    per parameter: the weight, its gradient and two moments.
    """
    image = shape
    rows: list[tuple[str, ...]] = [HEADER]
    parameters = products = numbers = 0
    for name, layer in model.leaves():
        counts = count_parameters(layer.params), multiply_adds(layer, shape)
        shape = layer.output_shape(shape)
        size = math.prod(shape)
        parameters += counts[0]
        products += counts[1]
        numbers += size
        what, _, form = repr(layer).partition("  # ")  # see minialex/twin.py
        what = what.partition("(")[0] if len(what) > 48 else what
        form = re.split("[:,]", form or "page")[0]
        sizes = " x ".join(map(str, shape)), *(f"{count:,}" if count else "-" for count in counts)
        rows.append((name, what, *sizes, f"{size * 4 / 1024:,.0f}", form))
    totals = f"{parameters:,}", f"{products:,}", f"{numbers * 4 / 1024:,.0f}"
    rows.append(("total", "", "", *totals, ""))

    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: tuple[str, ...]) -> str:
        cells = zip(HEADER, row, widths, strict=True)
        aligned = (cell.ljust(w) if name in LEFT else cell.rjust(w) for name, cell, w in cells)
        return "  ".join(aligned).rstrip()

    table = [line(row) for row in rows]
    rule = "-" * max(map(len, table))
    step = 4 * parameters * 4 / 1024**2
    note = (
        f"weights, gradient and Adam's two vectors: {step:,.0f} MB;"
        " kB are those of one image in float32"
    )
    fixed = step_bytes(model, image, 0)
    each = step_bytes(model, image, 1) - fixed
    peak = (
        f"peak of an accelerated training step with Adam: {show_bytes(fixed)} + {show_bytes(each)}"
        " per image (1 MB = 10^6 bytes)"
    )
    return "\n".join([table[0], rule, *table[1:-1], rule, table[-1], note, peak])
