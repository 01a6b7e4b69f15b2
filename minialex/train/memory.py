"""The memory of a training step -- a formula, and what to do where it gives too much.

At its peak, in the backward pass of the convolution that needs most, a step of an accelerated model
holds

    vectors     theta, its gradient, and the optimizer's (two for Adam, one for SGD), 4 bytes per
                parameter each
    images      of the batch and of the next one as bytes, and of the batch as float32
    kept        what forward made and backward has still to read: the output of every layer, except
                those that overwrite their input; twice for Dropout (its mask), LRN (its sums),
                BatchNorm2d (its x^) and Flatten (its dy, which AlexNet holds on to); for MaxPool2d
                a byte more per output (the position of the maximum)
    at work     dx, dy and the columns (see layers/conv.py) of one layer, the largest; a GPU that
                does without columns (gpu/implicit.py) has the parts of a weight's gradient first,
                and then dx; two arrays more of BatchNorm2d and LeakyReLU, which have no twin; the
                terms of a large dense layer's y (see fast/linear.py)
    the rest    labels, losses, sums: at most 64 kB

`kept` and `at work` grow with the images that are at work at the same time.  So a step can be made
in less memory by taking the batch in chunks, one after the other, whose gradients are added: one
more vector.  The sums are the same but for their order.

The formula counts arrays.  A GPU's memory also holds CuPy's kernels and its pool of freed arrays;
on a CPU, convolutions work on a few images at a time, and need less than this; LRN keeps one array
more.  Pages are written to be read, and take several times as much per image: `--plain` has no
`--memory-limit`.

A limit is of all that the process takes, not of a step alone.  What there is beside the step,
`outside_bytes` measures and counts: Python with its libraries and your data, and the batches that
wait in the loader.  Photos that lie in a GPU's memory (resident.py) get what all this leaves.
Evaluation takes as many images at a time as the step, and needs less.

**A batch in chunks.**  The loss is a mean over the N images of the batch, so its gradient is a sum
with one term per image, and may be summed in parts: for chunks of n_1, n_2 ... images with mean
losses L_1, L_2 ...,

    L = sum over k of (n_k / N) L_k         dL/dtheta = sum over k of (n_k / N) dL_k/dtheta

Chunks are taken in order, so the result does not depend on anything but their size, and on that
only in the last digits: the same numbers are added in another order.  A layer that needs the whole
batch, such as a batch normalization, makes chunks impossible.
"""

import bisect
import contextlib
import ctypes
import functools
import importlib
import math
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

from minialex import layers
from minialex.attach import is_large, mixers
from minialex.data import DataLoader
from minialex.errors import ConfigError
from minialex.fast.linear import SLICES
from minialex.layers import Conv2d, Dropout, Layer
from minialex.optimizer import Optimizer
from minialex.params import Params, Shape, count_parameters

FLOAT = 4  # bytes
TWICE = (Dropout, layers.LocalResponseNorm, layers.LocalResponseNorm2d, layers.BatchNorm2d,
         layers.Flatten)  # fmt: skip
REST = 1 << 16
WAITING = 7  # batches as bytes and as floats, beside those of the formula, see loader.py
BESIDE = 32 * 10**6  # work space of matrix products, stacks of threads, gaps between arrays
PYTHON = 150 * 10**6  # with its libraries, where the system does not tell
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def kept_bytes(layer: Layer, shape: Shape) -> int:
    """Bytes that `layer` makes in forward, for backward, of one image of `shape`."""
    numbers = math.prod(layer.output_shape(shape))
    if getattr(layer, "inplace", False) or (isinstance(layer, Dropout) and not layer.p):
        return 0
    if isinstance(layer, TWICE):
        return 2 * numbers * FLOAT
    return numbers * (FLOAT + isinstance(layer, layers.MaxPool2d))


def work_bytes(layer: Layer, shape: Shape, N: int) -> int:
    """Bytes that `layer` has at work in backward, of N images of `shape`: dy, dx and columns."""
    output = layer.output_shape(shape)
    dx, dy, columns = N * math.prod(shape), N * math.prod(output), 0
    if isinstance(layer, Conv2d):
        dx *= getattr(layer, "input_grad", True)  # of an accelerated model
        places = N * math.prod(output[:2])
        # Without im2col's columns there are the parts of the gradient, and then dx.
        sums = layer.sums(places) if hasattr(layer, "sums") else 0
        columns = 0 if sums else places * layer.params["weight"][..., 0].size
        dx = max(dx, sums)
    elif isinstance(layer, layers.BatchNorm2d | layers.LeakyReLU):
        columns = 2 * dx
    elif is_large(layer):
        columns = SLICES * dy  # the terms of y
    return (dx + dy + columns) * FLOAT


def step_bytes(model: Layer, shape: Shape, batch_size: int, chunk: int | None = None, *,
               states: int = 2) -> int:  # fmt: skip
    """Bytes at the peak of a training step on images of `shape` (H, W, C).

    `chunk` of the batch are at work at a time; `states` is the number of the optimizer's vectors.
    """
    chunk = batch_size if chunk is None else min(chunk, batch_size)
    vectors = 2 + states + (chunk < batch_size)
    image = math.prod(shape)
    images, next_images = batch_size * image * (2 + FLOAT), batch_size * image * FLOAT
    kept = work = 0
    for _, layer in model.leaves():
        kept += kept_bytes(layer, shape)
        work = max(work, work_bytes(layer, shape, chunk))
        shape = layer.output_shape(shape)
    most = images + max(chunk * kept + work, next_images)
    return vectors * count_parameters(model.params) * FLOAT + most + REST


def largest_chunk(model: Layer, shape: Shape, batch_size: int, limit: int | None, *,
                  states: int = 2, outside: int = 0) -> int:  # fmt: skip
    """The most images at a time, at most the batch, with which a step stays within `limit` bytes.

    `outside` bytes are taken beside the step.  Raises ConfigError where one image is too much.
    """

    def needed(chunk: int) -> int:
        return outside + step_bytes(model, shape, batch_size, chunk, states=states)

    if limit is None or needed(batch_size) <= limit:
        return batch_size
    if needed(1) > limit:
        line = f"--memory-limit {show_bytes(limit)} is too little: with one image at a time the"
        line += f" program takes {show_bytes(needed(1))}; raise it, or choose a smaller --width,"
        raise ConfigError(f"{line} --image-size or --batch-size")
    return bisect.bisect_right(range(1, batch_size), limit, key=needed)


def outside_bytes(model: Layer, shape: Shape, batch_size: int, device: str = "cpu", *,
                  states: int = 2) -> int:  # fmt: skip
    """Bytes of the memory of `device` that the process takes beside what `step_bytes` counts."""
    # g is counted twice, to be safe.
    vectors = (1 + states) * count_parameters(model.params) * FLOAT
    held = max(0, held_bytes(device) - vectors)
    return held if device == "gpu" else held + WAITING * batch_size * math.prod(shape) + BESIDE


def chunk_of(run: Any) -> tuple[int, float]:
    """How many images of a Training are at work at a time, all of a batch unless memory is limited;
    and the bytes that this leaves of the limit, room for photos in a GPU's memory.
    """
    model, N, limit = run.model, run.loader.batch_size, run.memory_limit
    if limit is None:
        return N, math.inf
    x, _ = next(DataLoader(run.loader.dataset, 1, run.loader.transform).epoch(0))
    shape, states = x.shape[1:], len(run.optimizer.state)
    outside = outside_bytes(model, shape, N, run.device, states=states)
    chunk = largest_chunk(model, shape, N, limit, states=states, outside=outside)
    return chunk, limit - outside - step_bytes(model, shape, N, chunk, states=states)


def check_limit(run: Any) -> None:
    """Say so, once, where a Training did not keep its memory limit."""
    if (limit := run.memory_limit) and (taken := peak_bytes(run.device)) > limit:
        run.screen.line(f"--memory-limit is not kept: {show_bytes(taken)} are taken")
        run.memory_limit = None


class Chunks:
    """Parts of at most `size` images of batches of up to `batch_size`, for `optimizer`'s gradient.

    Raises ConfigError for several parts of a model that has a layer which needs the whole batch.
    """

    def __init__(self, model: Layer, optimizer: Optimizer, size: int, batch_size: int):
        if size < batch_size and (whole := list(mixers(model))):
            raise ConfigError(f"a batch cannot be taken in chunks: {whole[0]} needs all its images")
        self.size, self.optimizer, self.most = size, optimizer, -(-batch_size // size)
        self.part_grad = Params()
        self.part: Any = None  # a vector as long as the gradient, made when it is needed

    def of(self, N: int) -> Generator[tuple[slice, float, Params]]:
        """(images, their share of the batch, the grad for backward to write to), part by part.

        The gradient of the first part replaces the last batch's, those of the others are added to
        it when the next part is asked for.
        """
        if self.part is None and self.size < N:
            self.part = self.optimizer.zeros()
            self.part_grad = self.optimizer.views(self.part)
        for start in range(0, N, self.size):
            images = slice(start, min(N, start + self.size))
            share = (images.stop - start) / N
            yield images, share, self.optimizer.grad if start == 0 else self.part_grad
            if start > 0:
                self.optimizer.g += self.part


@functools.cache
def held_bytes(device: str) -> int:
    """What the process holds of a device's memory when this is first asked for.

    Not later: what runs have freed, Python and CuPy keep for the next.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # of glibc
        ctypes.CDLL(None).malloc_trim(0)
    return (system_bytes("self/status", "VmRSS") if device == "cpu" else 0) or peak_bytes(device)


def peak_bytes(device: str) -> int:
    """The most that the process has held of a device's memory; a guess where nobody tells."""
    if device == "gpu":
        return importlib.import_module("cupy").get_default_memory_pool().total_bytes()
    if found := system_bytes("self/status", "VmHWM"):
        return found
    try:
        resource = importlib.import_module("resource")
    except ImportError:  # Windows
        return PYTHON
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of macOS, in bytes


def system_bytes(file: str, name: str) -> int:
    """A number of Linux's /proc, such as VmRSS of self/status, in bytes; elsewhere 0."""
    return int((system_value(file, name) or "0").split()[0]) << 10  # there it is in kB


def system_value(file: str, name: str) -> str:
    """What Linux's /proc says of a name in one of its files; elsewhere ""."""
    path = Path("/proc", file)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    pairs = (line.partition(":")[::2] for line in lines)
    return next((value.strip() for key, value in pairs if key.strip() == name), "")


def parse_bytes(text: str) -> int:
    """Bytes from "2GB", "1.5 GB", "800M" or "1000000"; a kB has 1,000.

    Raises ConfigError for anything else.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) ?([kmgt]?)b?", text.strip().lower())
    if not match or not float(match[1]):
        raise ConfigError(f"--memory-limit: cannot understand '{text}'; write it like 2GB or 800MB")
    return int(float(match[1]) * UNITS[match[2]])


def show_bytes(count: int) -> str:
    """`count` bytes for a reader, such as "1.25 GB"."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
