"""NVIDIA's compilers, where there are any: they need no GPU, and say whether a real one could run
our kernels."""

import ctypes as C
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ARCHITECTURES = ("75", "80", "90", "120")  # Turing, Ampere, Hopper, Blackwell
HOW = "put nvcc on the PATH, or: pip install nvidia-cuda-nvrtc nvidia-cuda-runtime"


def merged(sources):
    """One source of many, each in a namespace of its own: so a compiler starts once and not for
    each kernel."""
    includes = dict.fromkeys(
        line for source in sources for line in re.findall(r"^\s*#include .*$", source, re.M)
    )
    parts = []
    for i, source in enumerate(sources):
        body = re.sub(r"^\s*#include .*$", "", source, flags=re.M).replace('extern "C"', "")
        macros = re.findall(r"^\s*#\s*define\s+(\w+)", body, re.M)
        parts += [
            f'#line 1 "kernel{i}"',
            f"namespace kernel{i} {{",
            body,
            "}",
            *(f"#undef {m}" for m in macros),
        ]
    return "\n".join([*includes, *parts]) + "\n"


class CompileError(Exception):
    """The compiler's messages."""


def nvcc(source, arch, kind="cubin", options=()):
    """The `source` as "cubin", machine code, or "ptx", assembler text, or the "report" of what its
    kernels need; in bytes.  Raises CompileError."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "kernels.cu"
        at.write_text(source)
        flags = [*_options(), *options, f"-arch=sm_{arch}", "-o", at.with_suffix(".out"), at]
        flags += ["-cubin", "-Xptxas", "-v"] if kind == "report" else [f"-{kind}"]
        done = subprocess.run(["nvcc", *flags], capture_output=True, text=True)
        if done.returncode:
            raise CompileError(done.stdout + done.stderr)
        return done.stderr.encode() if kind == "report" else at.with_suffix(".out").read_bytes()


def nvrtc(source, arch, kind="cubin", options=()):
    """The same by NVRTC, which is what CuPy uses."""
    library, program, size = C.CDLL(_nvrtc_library()), C.c_void_p(), C.c_size_t()
    headers = Path(_nvrtc_library()).parents[1] / "include"
    flags = (*_options(), *options, f"-I{headers}", "-default-device", f"-arch=sm_{arch}")
    flags += ("--ptxas-options=-v",) if kind == "report" else ()
    options = [flag.encode() for flag in flags]
    library.nvrtcCreateProgram(C.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    failed = library.nvrtcCompileProgram(
        program, len(options), (C.c_char_p * len(options))(*options)
    )

    def text(name):
        getattr(library, f"nvrtcGet{name}Size")(program, C.byref(size))
        buffer = C.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{name}")(program, buffer)
        return buffer.raw

    try:
        if failed:
            raise CompileError(text("ProgramLog").decode())
        return text({"cubin": "CUBIN", "ptx": "PTX", "report": "ProgramLog"}[kind])
    finally:
        library.nvrtcDestroyProgram(C.byref(program))


def needs(report):
    """{kernel: (registers of a thread, bytes that it spills, bytes of shared memory)} of a report.

    Spilled is what did not fit into registers: what is written to slow memory and read again.
    """
    found = {}
    for part in report.decode().split("Compiling entry function '")[1:]:
        spilled = map(int, re.findall(r"(\d+) bytes spill", part))
        shared = re.findall(r"(\d+) bytes smem", part) or ["0"]
        registers = int(re.findall(r"Used (\d+) registers", part)[0])
        found[part.partition("'")[0]] = registers, sum(spilled), int(shared[0])
    return found


def found():
    """{name: compiler} of those that are here."""
    here = {"nvcc": nvcc} if shutil.which("nvcc") else {}
    return here | ({"nvrtc": nvrtc} if _nvrtc_library() else {})


def version(name):
    """Of the compiler of this name, as text."""
    if name == "nvcc":
        said = subprocess.run(
            ["nvcc", "--version"], capture_output=True, text=True, check=True
        ).stdout
        return re.findall(r"release ([\d.]+)", said)[0]
    numbers = C.c_int(), C.c_int()
    C.CDLL(_nvrtc_library()).nvrtcVersion(*map(C.byref, numbers))
    return ".".join(str(number.value) for number in numbers)


def report():
    """A line for the end of a test run, and whether there is any compiler."""
    names = [f"{name} {version(name)}" for name in found()]
    if not names:
        return (
            f"NOT CHECKED that kernels compile for a real GPU: there is no CUDA compiler; {HOW}",
            False,
        )
    return f"CUDA compilers: {' and '.join(names)}, for sm_{', sm_'.join(ARCHITECTURES)}", True


@functools.cache
def _wheels():
    """The folders nvidia/cu<version> of NVIDIA's wheels."""
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else []
    return [folder for place in places for folder in sorted(Path(place).glob("cu[0-9]*"))]


@functools.cache
def _nvrtc_library():
    toolkit = Path(os.environ.get("CUDA_PATH", "/usr/local/cuda"))
    folders = [*(folder / "lib" for folder in _wheels()), toolkit / "lib64"]
    return next(
        (str(path) for folder in folders for path in sorted(folder.glob("libnvrtc.so.[0-9]*"))),
        None,
    )


@functools.cache
def _options():
    """CuPy's own, for its headers and arithmetic, without those of a toolkit."""
    core = Path(importlib.util.find_spec("cupy").origin).parent / "_core" / "include"
    bundled = [core / "cupy" / "_cccl" / name for name in ("cub", "thrust", "libcudacxx")]
    return ["-std=c++17", "-ftz=true", *(f"-I{folder}" for folder in (core, *bundled))]
