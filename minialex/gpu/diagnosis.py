"""Why can the GPU not be used?  One line, with the command that fixes it.

You cannot find out by importing CuPy: `import cupy` works on a machine without a GPU, and with a
driver alone even `cupy.zeros` does.  What is missing shows only when it is needed: NVRTC and the
CUDA headers with the first kernel, cuBLAS with the first matrix product.  So we do both, and read
the result, because only reading forces them.  (cuRAND, which CuPy's own random numbers need, may be
missing: those of minialex come from kernels, see philox.py.)
"""

import importlib
from importlib import metadata
from types import ModuleType

import numpy as np

INSTALL = "pip install 'minialex[gpu]'"
# Each of these distributions brings the same files, so only one may be installed.
WHEELS = ("cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy")
# What CuPy's message says where one of them is missing; NVRTC's own begin with "nvrtc: error".
LIBRARIES = {"libnvrtc": "NVRTC", "nvrtc64": "NVRTC", "cublas": "cuBLAS",
    "open source file": "the CUDA headers"}  # fmt: skip
DRIVERS = "https://www.nvidia.com/drivers"
NOT_VISIBLE = "no GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
FULL = "the memory of the GPU is full; see with nvidia-smi what uses it, or use --device cpu"
UPDATED = ("the NVIDIA driver does not fit its libraries, as after an update; reboot, or use"
    " --device cpu")  # fmt: skip
CHECK = "check it with nvidia-smi, or use --device cpu"
OUT_OF_MEMORY = ("OutOfMemory", "MemoryAllocation", "STATUS_ALLOC_FAILED")  # in CuPy's exceptions
MEANINGS = {  # of words in what CuPy raises
    "NoDevice": NOT_VISIBLE, "DriverMismatch": UPDATED, "CompatNotSupported": UPDATED,
    **dict.fromkeys(OUT_OF_MEMORY, FULL)}  # fmt: skip


def gpu_problem() -> str | None:
    """None where a GPU works; else one line: what is wrong and the command that fixes it."""
    if len(wheels := installed_wheels()) > 1:
        what = f"{' and '.join(wheels)} are installed and overwrite each other"
        return f"{what}; run: pip uninstall -y {' '.join(wheels)} && {INSTALL}"
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # ImportError, or what the libraries raise that it loads
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return f"CuPy is not installed; install it with: {INSTALL}"
        what = f"CuPy is installed but cannot be imported ({first_line(error)})"
        return f"{what}; reinstall it with: {INSTALL}"
    try:
        return _problem(cupy)
    except Exception as error:  # CuPy raises its own types, ImportError and OSError here
        return _explain(error)


def installed_wheels() -> list[str]:
    """The distributions of CuPy that are installed."""
    return [name for name in WHEELS if any(metadata.distributions(name=name))]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the memory of the GPU, or the pinned memory, is full."""
    text = f"{type(error).__name__} {error}"
    return _is_cupys(error) and any(word in text for word in OUT_OF_MEMORY)


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    words = (line for line in lines if any(map(str.isalnum, line)))  # not a rule such as "====="
    return next(words, type(error).__name__)


def _problem(cupy: ModuleType) -> str | None:
    runtime = cupy.cuda.runtime
    driver, built_for = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        return f"no NVIDIA driver was found; install it from {DRIVERS} or use --device cpu"
    if driver // 1000 < built_for // 1000:
        supports, needs = (f"{v // 1000}.{v % 1000 // 10}" for v in (driver, built_for))
        instead = _older_cupy() if driver >= 12_000 else "use --device cpu"
        what = f"it supports CUDA {supports}, CuPy needs {needs}"
        return f"the NVIDIA driver is too old: {what}; update it from {DRIVERS}, or {instead}"
    if runtime.getDeviceCount() == 0:
        return NOT_VISIBLE
    x = cupy.ones((2, 2), dtype=np.float32)
    right = float((x @ (x + x)).sum()) == 16  # two kernels and a product, forced
    return None if right else f"the GPU returned a wrong product; {CHECK}"


def _explain(error: Exception) -> str:
    text = f"{type(error).__name__} {error}"
    for word, meaning in MEANINGS.items():
        if word in text:
            return meaning
    if _is_cupys(error) and "cudaError" in text:
        return f"the GPU cannot be used ({first_line(error)}); {CHECK}"
    if "--gpu-architecture" in text:
        return f"the GPU is too old for this CuPy; {_older_cupy()}"
    missing = [library for word, library in LIBRARIES.items() if word in text]
    what = f"{missing[-1]} cannot be found" if missing else first_line(error)
    install = f"install the CUDA libraries with: {libraries_command()}"
    return f"the GPU cannot be used ({what}); {install}"


def libraries_command() -> str:
    """The command that installs the CUDA libraries for the CuPy that is there."""
    wheels = installed_wheels()
    return f"pip install '{wheels[0]}[ctk]'" if wheels and wheels[0] != "cupy" else INSTALL


def _older_cupy() -> str:
    """How to change to the CuPy for CUDA 12, which takes older drivers and GPUs; else, the CPU."""
    if "cupy-cuda13x" in installed_wheels():
        return "run: pip uninstall -y cupy-cuda13x && pip install 'cupy-cuda12x[ctk]'"
    return "use --device cpu"


def _is_cupys(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("cupy", "cupy_backends")
