"""Devices: what is chosen, and what is said about a GPU that cannot be used."""

import sys
from importlib import metadata

import numpy as np
import pytest

from bad_input import refused
from fake_cupy import OnGpu, fake_cupy, raising
from minialex.errors import DeviceError
from minialex.gpu.devices import choose_device
from minialex.gpu.diagnosis import WHEELS, gpu_problem, is_out_of_memory


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


NVRTC = (
    "CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12: cannot open shared object file"
)
NO_DEVICE = RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
MISMATCH = RuntimeError(
    "CUDA_ERROR_SYSTEM_DRIVERMISMATCH / cudaErrorSystemDriverMismatch: system has unsupported"
)

# What is wrong -> the stand-in for CuPy, and what must be said.
TROUBLES = {
    "no driver": (fake_cupy(driver=0), ("no NVIDIA driver", "nvidia.com/drivers")),
    "old driver": (
        fake_cupy(driver=11_080),
        ("driver is too old", "CUDA 11.8", "needs 12.9", "nvidia.com/drivers"),
    ),
    "no GPU": (fake_cupy(count=0), ("no GPU is visible", "CUDA_VISIBLE_DEVICES")),
    "no GPU, raised": (
        fake_cupy(count=raising(NO_DEVICE)),
        ("no GPU is visible", "CUDA_VISIBLE_DEVICES"),
    ),
    "driver not loaded": (
        fake_cupy(count=raising(MISMATCH)),
        ("does not fit its libraries", "reboot"),
    ),
    "no NVRTC": (
        fake_cupy(ones=raising(RuntimeError(NVRTC))),
        ("NVRTC cannot be found", "pip install 'minialex[gpu]'"),
    ),
    "no cuBLAS": (
        fake_cupy(ones=raising(ImportError("libcublas.so.12: cannot open shared object file"))),
        ("cuBLAS cannot be found", "pip install 'minialex[gpu]'"),
    ),
    "no headers": (
        fake_cupy(
            ones=raising(RuntimeError('k.cu(1): error: cannot open source file "cuda_fp16.h"'))
        ),
        ("the CUDA headers cannot be found", "pip install 'minialex[gpu]'"),
    ),
    "old GPU": (
        fake_cupy(
            ones=raising(RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)"))
        ),
        ("the GPU is too old for this CuPy", "--device cpu"),
    ),
    "an error without text": (
        fake_cupy(ones=raising(OSError())),
        ("OSError", "pip install 'minialex[gpu]'"),
    ),
    "wrong product": (
        fake_cupy(ones=lambda shape, dtype: OnGpu(np.zeros(shape, dtype=dtype))),
        ("wrong product", "nvidia-smi"),
    ),
}


class FailingImport:
    """A finder in sys.meta_path that raises `error` when cupy is imported."""

    def __init__(self, error):
        self.error = error

    def find_spec(self, name, path=None, target=None):
        if name == "cupy":
            raise self.error


@pytest.fixture
def wheels(monkeypatch, tmp_path):
    """Installs a distribution of this name, as far as Python's metadata tells; before that there is
    no CuPy."""
    found = metadata.distributions

    def distributions(name):
        here = (tmp_path / f"{name.replace('-', '_')}-14.0.0.dist-info").exists()
        return found(name=name) if here or name not in WHEELS else []

    def install(name):
        folder = tmp_path / f"{name.replace('-', '_')}-14.0.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 14.0.0\n")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metadata, "distributions", distributions)
    return install


def test_two_wheels_overwrite_each_other(cupy, wheels):
    wheels("cupy-cuda13x")
    assert gpu_problem() is None
    wheels("cupy-cuda12x")
    with refused(
        DeviceError, "cupy-cuda12x and cupy-cuda13x are installed and overwrite each other"
    ):
        choose_device("gpu")
    assert (
        "pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install 'minialex[gpu]'" in gpu_problem()
    )


def test_the_remedy_fits_the_wheel_that_is_there(monkeypatch, wheels):
    wheels("cupy-cuda13x")
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(ones=raising(RuntimeError(NVRTC))))
    assert gpu_problem().endswith(
        "install the CUDA libraries with: pip install 'cupy-cuda13x[ctk]'"
    )
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(driver=12_040, built_for=13_020))
    assert "pip uninstall -y cupy-cuda13x && pip install 'cupy-cuda12x[ctk]'" in gpu_problem()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(driver=11_080, built_for=13_020))
    assert "pip" not in gpu_problem()
    monkeypatch.setitem(
        sys.modules, "cupy", fake_cupy(ones=raising(RuntimeError("invalid --gpu-architecture")))
    )
    assert (
        "too old for this CuPy; run: pip uninstall -y cupy-cuda13x && pip install 'cupy-cuda12x"
        in gpu_problem()
    )


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_is_named_in_one_line_with_its_remedy(monkeypatch, wheels, trouble):
    cupy, words = TROUBLES[trouble]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    problem = gpu_problem()
    assert len(problem.splitlines()) == 1
    for word in words:
        assert word in problem
    with refused(DeviceError, "--device gpu: ", *words):
        choose_device("gpu")
    device, line = choose_device("auto")
    assert (device, line) == ("cpu", f"device: cpu (auto: {problem})")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ModuleNotFoundError("No module named 'cupy'", name="cupy"),
            ("CuPy is not installed", "minialex[gpu]"),
        ),
        (
            ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"),
            ("fastrlock", "reinstall it with"),
        ),
        (
            ImportError(
                "\n=========\nFailed to import CuPy.\n\nOriginal error:\n  ...", name="cupy"
            ),
            ("(Failed to import CuPy.)", "reinstall it with", "minialex[gpu]"),
        ),
        (
            AttributeError("module 'numpy' has no attribute 'x'"),
            ("cannot be imported", "reinstall it with"),
        ),
    ],
)
def test_a_cupy_that_cannot_be_imported_is_named(monkeypatch, wheels, error, words):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [FailingImport(error), *sys.meta_path])
    problem = gpu_problem()
    assert len(problem.splitlines()) == 1
    for word in words:
        assert word in problem


def test_a_working_gpu_is_chosen_and_named(cupy):
    assert gpu_problem() is None
    for name in ("gpu", "auto"):
        assert choose_device(name) == ("gpu", "device: gpu (Test GPU, CuPy 14.0.0)")


def test_a_driver_of_the_same_major_version_suffices(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(driver=12_000, built_for=12_090))
    assert gpu_problem() is None
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(driver=13_000, built_for=12_090))
    assert gpu_problem() is None


def test_the_cpu_is_chosen_without_a_look_at_the_gpu(monkeypatch):
    monkeypatch.setattr(
        "minialex.gpu.devices.gpu_problem", raising(AssertionError("nobody asked for a GPU"))
    )
    assert choose_device("cpu") == ("cpu", "device: cpu")


@pytest.mark.parametrize("name", ["tpu", "", "GPU", "cuda:0"])
def test_an_unknown_device_is_refused(name):
    with refused(DeviceError, f"unknown device '{name}'", "cpu, gpu or auto"):
        choose_device(name)


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


OutOfMemoryError.__module__, CUDARuntimeError.__module__ = (
    "cupy.cuda.memory",
    "cupy_backends.cuda.api.runtime",
)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OutOfMemoryError("Out of memory allocating 1,000 bytes"), True),
        (CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"), True),
        (
            CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"),
            False,
        ),
        (MemoryError(), False),
        (RuntimeError("cudaErrorMemoryAllocation"), False),
    ],
)
def test_a_full_gpu_is_told_from_a_full_machine(error, full):
    assert is_out_of_memory(error) == full
