"""Which device to use, and how exactly it multiplies."""

import importlib
import os

from minialex.errors import DeviceError
from minialex.gpu.diagnosis import gpu_problem


def choose_device(name: str) -> tuple[str, str]:
    """Resolve "cpu", "gpu" or "auto" to a device and a line that says what was chosen and why.

    "cuda" is another name of "gpu".
    Raises DeviceError for another name, and where "gpu" is asked for and cannot be used.
    """
    name = "gpu" if name == "cuda" else name
    if name == "cpu":
        return "cpu", "device: cpu"
    if name not in ("gpu", "auto"):
        raise DeviceError(f"unknown device '{name}'; choose cpu, gpu or auto")
    if (problem := gpu_problem()) is None:
        cupy = importlib.import_module("cupy")
        model = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        return "gpu", f"device: gpu ({model}, CuPy {cupy.__version__})"
    if name == "gpu":
        raise DeviceError(f"--device gpu: {problem} (or compute by --device cpu)")
    return "cpu", f"device: cpu (auto: {problem})"


def allow_tf32() -> None:
    """Let a GPU multiply matrices with less precision, for speed (TF32).

    It rounds their numbers to 10 bits after the point, where float32 has 23.  CuPy reads this wish
    at the first product of a process, so call it before that.  GPUs older than Ampere (2020) and
    the CPU take no notice.  A training of 60 epochs on photos learned with it (docs/gpu.md).
    """
    os.environ["CUPY_TF32"] = "1"
