"""The one file that knows NumPy from CuPy: where arrays live, how they move, and scratch memory.

Everything else asks an array for its module (`get_xp(x)`) and then writes the same line for both devices.
A *device* is the string "cpu" or "gpu"; `examples/improvements/improvements.py gpu` times the same training step on both.
"""

import functools
import importlib
import os
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from minialex.errors import DeviceError
from minialex.gpu.diagnosis import gpu_problem

# A NumPy or a CuPy array.  The two share their methods but no base class that a type checker could use.
Array = Any


def get_xp(x: Array) -> ModuleType:
    """The module that `x` belongs to: the array itself says where it lives."""
    if isinstance(x, np.ndarray | np.generic):
        return np
    if type(x).__module__.partition(".")[0] == "cupy":
        return importlib.import_module("cupy")
    raise TypeError(f"expected a NumPy or CuPy array, got {type(x).__name__}")


def to_device(x: Array, device: str) -> Array:
    """`x` on "cpu" or "gpu"; `x` itself, uncopied, where it is there already."""
    on_gpu = get_xp(x) is not np
    if device == "cpu":
        return x.get() if on_gpu else x
    return x if on_gpu else importlib.import_module("cupy").asarray(x)


def to_cpu(x: Array) -> np.ndarray:
    """`x` as a NumPy array."""
    return to_device(x, "cpu")


# ---------------------------------------------------------------------------------------------- devices


def choose_device(name: str) -> tuple[str, str]:
    """Resolve "cpu", "gpu" or "auto" to a device and a line that says what was chosen and why.

    Raises DeviceError where "gpu" is asked for and cannot be used, or the name is none of the three.
    """
    if name == "cpu":
        return "cpu", "device: cpu"
    if name not in ("gpu", "auto"):
        raise DeviceError(f"unknown device '{name}'; choose cpu, gpu or auto")
    problem = gpu_problem()
    if problem is None:
        cupy = importlib.import_module("cupy")
        model = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        return "gpu", f"device: gpu ({model}, CuPy {cupy.__version__})"
    if name == "gpu":
        raise DeviceError(f"--device gpu: {problem}")
    return "cpu", f"device: cpu (auto: {problem})"


def allow_tf32() -> None:
    """Let a GPU round the factors of matrix products to 10 bits after the point (float32 has 23), for speed.

    CuPy reads this wish at the first product of a process, so call it before that.  GPUs older than Ampere (2020)
    and the CPU take no notice.  Only that the products are asked for in this way is tested: what the rounding does
    to a training was not yet seen.
    """
    os.environ["CUPY_TF32"] = "1"


# ---------------------------------------------------------------------------------------------- scratch

_buffers = threading.local()


def scratch(like: Array, name: str, shape: tuple[int, ...]) -> Array:
    """Uninitialised memory of `like`'s dtype, valid until the same thread asks for `name` again.

    Large NumPy arrays come from the operating system page by page, which costs more than filling them; so
    each thread keeps its buffers.  CuPy's memory pool does the same by itself.
    """
    xp = get_xp(like)
    if xp is not np:
        return xp.empty(shape, dtype=like.dtype)
    size = like.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    buffer = _buffers.__dict__.get(name)
    if buffer is None or buffer.size < size:
        buffer = _buffers.__dict__[name] = np.empty(size, dtype=np.uint8)
    return buffer[:size].view(like.dtype).reshape(shape)


CACHE_BYTES = 1 << 20  # of a batch at a time: what passes over it several times finds it in the processor's cache


def batch_slices(x: Array, image_bytes: int | None = None, limit: int = CACHE_BYTES) -> Iterator[slice]:
    """Slices of the batch x (N, ...), each of one image or of as many as take about `limit` bytes.

    `image_bytes` is what an image takes, by default in x itself.  On a GPU, which prefers large pieces, one slice.
    """
    N = len(x)
    if image_bytes is None:
        image_bytes = x.nbytes // max(1, N)
    step = max(1, limit // max(1, image_bytes) if get_xp(x) is np else N)
    for start in range(0, N, step):
        yield slice(start, start + step)


# ---------------------------------------------------------------------------------- kernels of our own

LARGEST_INT32 = 2**31 - 1


class Kernel:
    """One pass over arrays on a GPU, where the plain form makes many; CuPy compiles it when it is first used.

    `inputs` and `outputs` are lists such as "raw T x, int32 K", `body` is CUDA C++ for number i of the outputs,
    `functions` more that it calls.  T is the dtype of the arrays (write T(0.5): a bare 0.5 is a float64);
    a `raw` array is indexed by the body, with one number or an array of them, any other at i.  Index can
    number all that the arrays hold: an integer of 32 bits where these suffice, since a GPU divides those faster.

    No thread may write what another one reads or writes; a sum over many numbers is gathered by its owner.
    """

    def __init__(self, name: str, inputs: str, outputs: str, body: str, functions: str = ""):
        self.name, self.parameters, self.body, self.functions = name, (inputs, outputs), body, functions
        self._compiled: dict[str, Any] = {}

    def __call__(self, *arguments: Any, size: int | None = None) -> None:
        """Run on arguments in the order of `inputs`, then `outputs`; `size` is needed where all arrays are raw."""
        largest = max(a.size for a in arguments if hasattr(a, "size"))
        index = "int" if max(largest, size or 0) <= LARGEST_INT32 else "long long"
        if index not in self._compiled:
            kind = importlib.import_module("cupy").ElementwiseKernel
            code = f"typedef {index} Index;\n{self.functions}"
            self._compiled[index] = kind(*self.parameters, self.body, f"minialex_{self.name}", preamble=code)
        self._compiled[index](*arguments, **({} if size is None else {"size": size}))


def plain_form(function: Any) -> Any:
    """Decorator for a function that has a second form, of few kernels, for the GPU:

        @plain_form
        def double(x): ...             the page's text, for both devices

        @double.on_gpu
        def _double_on_gpu(x): ...      called in its place where the first array it gets is CuPy's

    `double.plain` is always the first: tests hold the two equal.
    """

    @functools.wraps(function)
    def either(*arguments: Any, **options: Any) -> Any:
        first = next(a for a in arguments if hasattr(a, "dtype"))
        return (function if get_xp(first) is np else forms["gpu"])(*arguments, **options)

    def on_gpu(fused: Any) -> Any:
        forms["gpu"] = fused
        return fused

    forms = {"gpu": function}
    vars(either).update(plain=function, on_gpu=on_gpu)
    return either
