"""The roofline of a training step: how fast it could be on a GPU, from arithmetic alone.

A kernel has to do F floating-point operations (a multiplication and an addition count as two) and
to move B bytes between the memory and the processor.  A GPU does P operations and moves W bytes per
second, both at once, so

    time of a kernel  >=  max(F / P, B / W)

and a kernel whose F / B lies below P / W waits for memory, however fast the processor is (Williams,
Waterman, Patterson 2009, "Roofline").  This page lists the kernels of each layer, forward and
backward, as the twins in `minialex/gpu/` launch them, and adds their times up.  Each array counts
once each time a kernel reads or writes it.

What this leaves out: the launch of a kernel, some microseconds each, which decides for small
batches; the loss; and that no kernel quite reaches P or W.  So it is a prediction of the best, not
a measurement.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from minialex.gpu.implicit import ROUNDS, ROWS
from minialex.layers import Conv2d, Dropout, Flatten, Linear, LocalResponseNorm, MaxPool2d, ReLU
from minialex.layers.layer import Layer
from minialex.layers.lrn_2d import LocalResponseNorm2d
from minialex.models.alexnet import AlexNet
from minialex.params import Shape, count_parameters
from minialex.use.summary import multiply_adds

FLOAT, BYTE = 4, 1  # bytes of a float32, and of a pixel or the position of a maximum


@dataclass(frozen=True)
class Machine:
    """Operations and bytes per second; `products`: operations of matrix products if those differ.

    `tensor`: operations of tensor cores in TF32, and `processors`, how many the GPU has.
    The defaults are NVIDIA's for the H100 SXM (data sheet "NVIDIA H100 Tensor Core GPU"):
    67 TFLOP/s in float32, 3.35 TB/s; with TF32, 989 TFLOP/s for sparse products, half of it for
    others.
    """

    peak: float = 67e12
    bandwidth: float = 3.35e12
    products: float | None = None
    tensor: float = 989e12 / 2
    processors: int = 132


H100_TF32 = Machine.tensor


class Work(NamedTuple):
    """What one kernel does; `on_tensor_cores`: as so many products in TF32."""

    flops: float
    bytes: float
    is_product: bool = False
    on_tensor_cores: int = 0

    def seconds(self, machine: Machine) -> float:
        """The least time for it."""
        peak = machine.products if self.is_product and machine.products else machine.peak
        if self.on_tensor_cores:
            peak = machine.tensor / self.on_tensor_cores
        return max(self.flops / peak, self.bytes / machine.bandwidth)

    def waits_for_memory(self, machine: Machine) -> bool:
        """Whether its bytes, not its operations, take that time."""
        return self.seconds(machine) == self.bytes / machine.bandwidth


@dataclass(frozen=True)
class LayerWork:
    """The kernels of a layer in a training step."""

    name: str
    forward: list[Work]
    backward: list[Work]


def step_work(model: AlexNet, N: int, implicit: int = 0) -> list[LayerWork]:
    """The kernels of a training step on N images with Adam, in the order of the network.

    `implicit`: convolutions without im2col's matrix (`minialex/gpu/implicit.py`), as so many
    products in TF32, 3 for float32, with the ReLUs that their neighbours do.  Else im2col.
    """
    image = math.prod(model.input_shape) * N
    rows = [LayerWork("pixels", [Work(3 * image, (BYTE + FLOAT) * image)], [])]
    shape = model.input_shape
    leaves = [*model.leaves()]
    joined = joined_relus([layer for _, layer in leaves]) if implicit else set()
    for i, (name, layer) in enumerate(leaves):
        works = layer_work(layer, shape, N, i == 0, implicit, i - 1 in joined)
        works = ([], []) if i in joined else works
        rows.append(LayerWork(f"{name} {type(layer).__name__}", *works))
        shape = layer.output_shape(shape)
    parameters = count_parameters(model.params)
    # Adam reads theta, g, m and v, and writes theta, m and v.
    return [*rows, LayerWork("Adam", [], [Work(12 * parameters, 7 * FLOAT * parameters)])]


def joined_relus(layers: list[Layer]) -> set[int]:
    """The numbers of the ReLUs that their neighbours do, see `minialex/gpu/sequential.py`."""
    trios = enumerate(zip(layers, layers[1:], layers[2:], strict=False), start=1)
    return {
        i
        for i, (before, relu, after) in trios
        if isinstance(before, Conv2d)
        and isinstance(relu, ReLU)
        and isinstance(after, Conv2d | MaxPool2d)
    }


def layer_work(
    layer: Layer, shape: Shape, N: int, first: bool = False, implicit: int = 0,
    after_relu: bool = False,
) -> tuple[list[Work], list[Work]]:  # fmt: skip
    """The kernels of a layer for N inputs of `shape`; the first passes no gradient on."""
    x, y = N * math.prod(shape), N * math.prod(layer.output_shape(shape))
    weight = int(layer.params["weight"].size) if layer.params else 0
    flops = 2 * N * multiply_adds(layer, shape)

    def moved(*numbers: int) -> int:
        return FLOAT * sum(numbers)

    match layer:
        case Conv2d() if implicit:
            mask = x * after_relu
            sums = parts(layer, y // layer.out_channels) * (weight + layer.out_channels)
            forward, dw, dx = (
                Work(flops, moved(*arrays), True, implicit)
                for arrays in ((x, weight, y), (x, y, sums), (y, weight, mask, x))
            )
            add = Work(sums, moved(sums, weight))
            return [forward], [dw, add] if first else [dw, add, dx]
        case Conv2d():
            F = layer.out_channels
            columns = y // F * weight // F * layer.groups  # M * D per group
            unfold, fold = Work(0, moved(x, columns)), Work(columns, moved(columns, x))
            # The product has the same three arrays in each direction.
            product = Work(flops, moved(columns, weight, y), True)
            backward = [unfold, product, Work(y, moved(y))]
            backward += [product, fold] if not first else []
            return [unfold, product, Work(y, moved(y, y))], backward
        case Linear():
            product = Work(flops, moved(x, weight, y), True)
            return [product, Work(y, moved(y, y))], [product, product, Work(y, moved(y))]
        case ReLU():
            return [Work(y, moved(y, y))], [Work(y, moved(y, y, y))]
        case MaxPool2d():
            each = Work(layer.kernel_size**2 * y, moved(x, y) + BYTE * y)
            mask = moved(y) if implicit and after_relu else 0
            return [each], [each._replace(bytes=each.bytes + mask)]
        case LocalResponseNorm() | LocalResponseNorm2d():
            n = layer.size if isinstance(layer, LocalResponseNorm) else layer.size**2
            forward = Work((2 * n + 8) * y, moved(x, y, y))
            return [forward], [Work((6 * n + 8) * y, moved(y, y, y, x))]
        case Dropout():
            # The random bits are made by integer operations, where they are used.
            return [Work(2 * y, moved(x, y, y))], [Work(y, moved(y, y, x))]
        case Flatten():
            return [], []
    raise TypeError(f"no kernels are known for {type(layer).__name__}")


def parts(layer: Conv2d, places: int, machine: Machine = Machine()) -> int:
    """How many parts the sums of a weight gradient over `places` are cut into, on this GPU."""
    G = layer.groups
    D = layer.params["weight"].size // layer.out_channels
    tiles = -(-(D + 1) // ROWS) * -(-layer.out_channels // G // ROWS) * G
    return max(1, min(2 * ROUNDS * machine.processors // tiles, places // 512))


def total(works: Iterable[Work]) -> Work:
    """Operations and bytes of all of them."""
    works = list(works)
    return Work(sum(w.flops for w in works), sum(w.bytes for w in works))


def predicted_seconds(rows: Iterable[LayerWork], machine: Machine) -> float:
    """The least time of a training step."""
    return sum(w.seconds(machine) for row in rows for w in (*row.forward, *row.backward))


def table(model: AlexNet, N: int, machine: Machine, implicit: int = 0) -> str:
    """Operations, bytes and the least time of each layer, forward and backward, as lines."""
    rows = step_work(model, N, implicit)
    columns = "".join(f"{head:>{width}}" for head, width in (("GFLOP", 11), ("MB", 9), ("ms", 9)))
    lines = [f"{'':<30}{'forward':>29}{'backward':>29}{'ms that wait':>14}"]
    lines.append(f"{'':<30}{columns}{columns}{'for memory':>14}")
    forward = [work for row in rows for work in row.forward]
    step = LayerWork("a step", forward, [work for row in rows for work in row.backward])
    lines += [line(row, machine) for row in (*rows, step) if row.forward or row.backward]
    seconds, work = predicted_seconds(rows, machine), total((*step.forward, *step.backward))
    faster = f" ({machine.products / 1e12:g} in products)" if machine.products else ""
    if implicit and not machine.products:
        faster = f" ({machine.tensor / implicit / 1e12:.4g} in convolutions)"
    return "\n".join(lines) + (
        f"\n\nPREDICTION, not measured: {work.flops / 1e9:,.0f} GFLOP and {work.bytes / 1e9:.1f} GB"
        f" per step take at least {seconds * 1e3:.1f} ms, {N / seconds:,.0f} images/s,"
        f"\nat {machine.peak / 1e12:g} TFLOP/s{faster} and {machine.bandwidth / 1e9:,.0f} GB/s,"
        " if every kernel reaches one of the two"
    )


def line(row: LayerWork, machine: Machine) -> str:
    """A line of the table."""
    text = f"{row.name:<30}"
    for works in (row.forward, row.backward):
        flops, moved, *_ = total(works)
        seconds = sum(work.seconds(machine) for work in works)
        cells = f"{flops / 1e9:11,.2f}{moved / 1e6:9,.1f}{seconds * 1e3:9.3f}"
        text += cells if works else " " * len(cells)
    both = (*row.forward, *row.backward)
    waiting = sum(work.seconds(machine) for work in both if work.waits_for_memory(machine))
    return text + f"{waiting * 1e3:14.3f}"
