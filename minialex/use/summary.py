"""The table that `model.summary()` prints: what each layer makes, and what it costs.

To compare AlexNet's numbers with those in its paper, run `benchmarks/paper_numbers.py`.
"""

import math

from minialex.layers import Conv2d, Layer
from minialex.params import Shape, count_parameters
from minialex.train.memory import show_bytes, step_bytes

HEADER = ("name", "layer", "output shape", "parameters", "multiply-adds", "kB")


def multiply_adds(layer: Layer, shape: Shape) -> int:
    """Multiply-adds of `layer.forward` for one image of `shape` (products of its weights only)."""
    positions = 1
    if isinstance(layer, Conv2d):
        positions = math.prod(layer.output_shape(shape)[:2])
    return positions * layer.params["weight"].size if "weight" in layer.params else 0


def summary(model: Layer, shape: Shape) -> str:
    """A table of the layers of `model` for one image of `shape` (H, W, C).

    Multiply-adds are those of the forward pass of one image, and kB (1,024 bytes) the size of its
    output in float32.  The last rows add up; a training step with Adam needs about 4 numbers per
    parameter: the weight, its gradient and two moments.
    """
    image = shape
    rows: list[tuple[str, ...]] = [HEADER]
    parameters = products = numbers = 0
    for name, layer in model.leaves():
        counts = count_parameters(layer.params), multiply_adds(layer, shape)
        shape = layer.output_shape(shape)
        size = math.prod(shape)
        parameters += counts[0]
        multiply_adds += counts[1]
        numbers += size
        cells = [f"{count:,}" if count else "-" for count in counts]
        kind = repr(layer).partition("(")[0] if len(repr(layer)) > 48 else repr(layer)
        rows.append((name, kind, " x ".join(map(str, shape)), *cells, f"{size * 4 / 1024:,.0f}"))
    totals = f"{parameters:,}", f"{products:,}", f"{numbers * 4 / 1024:,.0f}"
    rows.append(("total", "", "", *totals))

    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < 3 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    step = 4 * parameters * 4 / 1024**2
    note = (
        f"weights, gradient and Adam's two vectors: {step:,.0f} MB;"
        " kB are those of one image in float32"
    )
    fixed = step_bytes(model, image, 0)
    each = step_bytes(model, image, 1) - fixed
    peak = (
        f"peak of a training step with Adam: {show_bytes(fixed)} + {show_bytes(each)} per image"
        " (1 MB = 10^6 bytes)"
    )
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], note, peak])
