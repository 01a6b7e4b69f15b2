"""The one file that knows NumPy from CuPy: where arrays live, how they move, and scratch memory.

Everything else asks an array for its module (`get_xp(x)`) and then writes the same line for both devices.
A *device* is the string "cpu" or "gpu"; `examples/improvements.py gpu` times the same training step on both.
"""

import importlib
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from minialex.errors import DeviceError

# A NumPy or a CuPy array.  The two share their methods but no base class that a type checker could use.
Array = Any

INSTALL = "pip install 'minialex[gpu]'"


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


def gpu_problem() -> str | None:
    """None where a GPU works; else one line: what is wrong and what to install."""
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # ImportError, or what the libraries raise that it loads
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return f"CuPy is not installed; install it with: {INSTALL}"
        return f"CuPy is installed but cannot be imported ({_first_line(error)}); reinstall it with: {INSTALL}"

    runtime = cupy.cuda.runtime
    try:
        driver, built_for = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        if driver == 0:
            return "no NVIDIA driver was found; install it from https://www.nvidia.com/drivers or use --device cpu"
        if driver // 1000 < built_for // 1000:
            return (
                f"the NVIDIA driver is too old: it supports CUDA {_version(driver)}, CuPy needs "
                f"{_version(built_for)}; update it from https://www.nvidia.com/drivers, or use --device cpu"
            )
        if runtime.getDeviceCount() == 0:
            return "no GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
        # The driver alone is not enough: a kernel needs NVRTC and the CUDA headers, a product needs cuBLAS.
        x = cupy.ones((2, 2), dtype=np.float32)
        if float((x @ (x + x)).sum()) != 16:
            return "the GPU returned a wrong product; check it with nvidia-smi, or use --device cpu"
    except Exception as error:  # CuPy raises its own types, ImportError and OSError here
        text = _first_line(error)
        if "NoDevice" in text:
            return "no GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
        if "DriverMismatch" in text:
            return "the NVIDIA driver was updated but is not loaded yet; reboot, or use --device cpu"
        return f"the GPU cannot be used ({text}); install the CUDA libraries with: {INSTALL}"
    return None


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


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if any(map(str.isalnum, line))), type(error).__name__)  # not "====="


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
