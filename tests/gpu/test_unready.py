"""Machines that are not ready, with the real CuPy: one line that says what is wrong, and what mends
it.

The driver is a library of a few lines, on which NVIDIA's own runtime, inside CuPy, starts and gives
up as on a machine like that.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device import has_gpu

if has_gpu():
    pytest.skip("this machine is ready", allow_module_level=True)

from minialex.gpu.diagnosis import DRIVERS, installed_wheels, libraries_command

UNREADY = Path(__file__).with_name("unready.py")

# cuInit fails with CODE; a driver for CUDA VERSION (1000 * major + 10 * minor).
DRIVER = r"""
#include <string.h>
static int fail(void) { return CODE; }
int cuInit(unsigned flags) { return CODE; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags)
{
    *function = (void *)fail;
    if (!strcmp(name, "cuInit")) *function = (void *)cuInit;
    if (!strcmp(name, "cuDriverGetVersion")) *function = (void *)cuDriverGetVersion;
    if (!strcmp(name, "cuGetProcAddress")) *function = (void *)cuGetProcAddress;
    return 0;
}
typedef unsigned long long word;
int cuGetProcAddress_v2(const char *name, void **f, int version, word flags, int *found)
{
    if (found) *found = 0;
    return cuGetProcAddress(name, f, version, flags);
}
"""
# A compiler that refuses all, with CODE and TEXT.
NVRTC = r"""
#include <string.h>
static const char text[] = TEXT;
int nvrtcVersion(int *major, int *minor) { *major = 13; *minor = 0; return 0; }
const char *nvrtcGetErrorString(int code) { return "NVRTC_ERROR"; }
int nvrtcCreateProgram(void **p, const char *s, const char *n, int k, void *h, void *i)
{
    *p = p;
    return 0;
}
int nvrtcCompileProgram(void *p, int n, void *options) { return CODE; }
int nvrtcGetProgramLogSize(void *p, size_t *size) { *size = sizeof text; return 0; }
int nvrtcGetProgramLog(void *p, char *log) { strcpy(log, text); return 0; }
int nvrtcDestroyProgram(void **p) { return 0; }
int nvrtcAddNameExpression(void *p, const char *name) { return 0; }
"""


def build(folder, source, *names, **macros):
    """A library of C source under each of these names."""
    for name in names:
        command = [
            "g++",
            "-x",
            "c",
            "-shared",
            "-fPIC",
            *(f"-D{k}={v}" for k, v in macros.items()),
            "-",
        ]
        subprocess.run([*command, "-o", folder / name], input=source, text=True, check=True)


def run(state, folder, *arguments):
    """The finished process of unready.py, with the libraries in `folder`."""
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(folder),
        "CUPY_CACHE_DIR": str(folder / "cache"),
    }
    command = [sys.executable, UNREADY, state, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=UNREADY.parents[2]
    )


def said(state, folder):
    """The one line that gpu_problem() gives."""
    done = run(state, folder)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return line


def test_no_driver(tmp_path):
    assert said("no driver", tmp_path).startswith(
        f"no NVIDIA driver was found; install it from {DRIVERS}"
    )


def test_old_driver(tmp_path):
    build(tmp_path, DRIVER, "libcuda.so.1", CODE=0, VERSION=11080)
    line = said("no driver", tmp_path)
    assert (
        line.startswith("the NVIDIA driver is too old: it supports CUDA 11.8, CuPy needs 1")
        and DRIVERS in line
    )


@pytest.mark.parametrize(
    "code, words",
    [
        (100, "no GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"),
        (803, "the NVIDIA driver does not fit its libraries, as after an update; reboot, or use"),
        (804, "the NVIDIA driver does not fit its libraries, as after an update; reboot, or use"),
        (2, "the memory of the GPU is full; see with nvidia-smi what uses it, or use --device cpu"),
        (999, "the GPU cannot be used (cudaErrorUnknown: unknown error); check it with nvidia-smi"),
    ],
    ids=["no device", "mismatch", "compatibility", "full", "unknown"],
)
def test_a_driver_that_does_not_start(tmp_path, code, words):
    build(tmp_path, DRIVER, "libcuda.so.1", CODE=code, VERSION=13000)
    assert said("no driver", tmp_path).startswith(words)


@pytest.mark.parametrize("library", ["NVRTC", "cuBLAS"])
def test_missing_library(tmp_path, library):
    line = said(f"no {library}", tmp_path)
    assert line.startswith(
        f"the GPU cannot be used ({library} cannot be found); install the CUDA libraries with: "
    )
    assert line.endswith(libraries_command()) and libraries_command().startswith(
        "pip install 'cupy-cuda"
    )


# What NVRTC 13.0 says without the headers, and of a GPU of compute capability 6.1.
REFUSALS = {
    "headers": (
        6,
        r'"k.cu(1): catastrophic error: could not open source file \"vector_types.h\"\n\nEnded.\n"',
    ),
    "old GPU": (5, r'"nvrtc: error: invalid value for --gpu-architecture (-arch)\n"'),
}


@pytest.mark.parametrize(
    "refusal, words",
    [
        (
            "headers",
            "the GPU cannot be used (the CUDA headers cannot be found); install the CUDA libraries"
            " with: ",
        ),
        ("old GPU", "the GPU is too old for this CuPy; "),
    ],
)
def test_a_compiler_that_refuses(tmp_path, refusal, words):
    code, text = REFUSALS[refusal]
    build(tmp_path, NVRTC, "libnvrtc.so.12", "libnvrtc.so.13", CODE=code, TEXT=text)
    assert said("no NVRTC", tmp_path).startswith(words)


def test_both_wheels(tmp_path):
    other = "cupy-cuda12x" if installed_wheels() == ["cupy-cuda13x"] else "cupy-cuda13x"
    (tmp_path / f"{other.replace('-', '_')}-14.2.0.dist-info").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = "from minialex.gpu.diagnosis import gpu_problem; print(gpu_problem())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.startswith(
        "cupy-cuda12x and cupy-cuda13x are installed and overwrite each other; run: pip un"
    )


def test_out_of_memory_before_training(tmp_path):
    assert said("full", tmp_path) == "None"  # 100 kB are enough for the question


def test_out_of_memory_in_training(tmp_path):
    done = run("full", tmp_path, str(tmp_path / "run"))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines == [
        "error: the memory of the GPU is full; use a smaller --batch-size, or a --memory-limit"
    ]


def test_curand_is_not_needed(tmp_path):
    done = run("no cuRAND", tmp_path, "doctor")
    assert done.returncode == 0, done.stderr
    assert "as on the CPU" in done.stdout.splitlines()[-1]
