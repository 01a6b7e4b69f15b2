"""Kernels: CUDA C++ compiled by g++ with cuda_host.h, one shared library per module."""

import ctypes as C
import functools
import os
import re
from pathlib import Path

from cupyemu import toolchain

# The names of a kernel and of its shared memory are its own, whatever other libraries call theirs.
SHARED = ("-shared", "-Wl,-Bsymbolic", "-x", "c++", "-")
# What a kernel calls is in the process already; to search the libraries of C++ for it takes long.
ALONE = ("-nostdlib", "-lgcc")
FLAGS: tuple[str, ...] = (
    "-std=c++17",
    "-O1",
    "-pipe",
    "-fpermissive",
    "-fno-gnu-unique",
    f"-I{toolchain.HERE}",
)
CPUINFO = Path("/proc/cpuinfo")
if CPUINFO.exists() and " fma " in CPUINFO.read_text():
    FLAGS += ("-mfma", "-ffp-contract=fast")  # like NVRTC: a*b + c in one rounding

# "thread" or "address": how g++ instruments our own kernels (their names begin with OWN); the
# process must have loaded its library before anything else (see tests/gpu/sanitized.py).
SANITIZER = os.environ.get("MINIALEX_SANITIZER")
OWN = "minialex_"

HOST_FILES = ("cuda_host.h", "tensor_cores.h")
HOST = '#include "cuda_host.h"\n'
TENSOR_CORES = re.compile(r"\b(copy_async|load_matrices|multiply_tf32)\b")
# CuPy's own sources all begin with these, which take a second to compile: as a precompiled header,
# a quarter.
CUPY = HOST + "".join(
    f"#include <cupy/{name}>\n"
    for name in ("complex.cuh", "carray.cuh", "atomics.cuh", "math_constants.h")
)
KERNEL = re.compile(
    r"(template\s*<[^>]*>\s*)?__global__\s+(?:void\s+__launch_bounds__\([^)]*\)|"
    r"__launch_bounds__\([^)]*\)\s*void|void)\s+(\w+)\s*\("
)

sources: dict[str, str] = {}  # path of a library -> the source that it was made from
loaded: list["Kernel"] = []  # every Kernel
modules: dict[int, tuple[C.CDLL, str]] = {}  # handle -> (library, its path)


class Kernel(C.Structure):
    """A kernel as device.c sees it."""

    _fields_ = (("run", C.c_void_p), ("launches", C.c_longlong))
    name = source = ""

    @functools.cached_property
    def is_float64(self):
        """Whether it computes with float64."""
        return re.search(r"\bdouble\b", self.source) is not None


def compile_module(source, options=(), *, name_expressions=None, **_):
    """Stands for CuPy's `_compile_module_with_cache`: a Module with the kernels of `source`."""
    import cupy

    path, mapping = compile_source(source, options, name_expressions or ())
    module = cupy.cuda.function.Module()
    module._set_mapping(mapping or None)
    sources[str(path)] = source
    module.load(str(path).encode())
    return module


def compile_source(source, options, name_expressions):
    """The library of a source, and the mapping from template expressions to the names of their
    kernels."""
    import cupy

    plain = re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL)
    names = {name: name for template, name in KERNEL.findall(plain) if not template}
    mapping = {expression: f"instance{i}" for i, expression in enumerate(name_expressions)}
    names |= {name: expression for expression, name in mapping.items()}
    barriers = "true" if re.search(r"__sync(threads|warp)|__shfl", plain) else "false"
    code = re.sub(
        r"extern\s+__shared__\s+([\w ]+?)\s+(\w+)\s*\[\s*\]", r"\1* \2 = (\1*)emu_shared", source
    )
    code += (
        "".join(f"\nEMU_KERNEL(emu_{name}, {barriers}, {value})" for name, value in names.items())
        + "\n"
    )
    defined = [option[2:].replace("=", " ") for option in options if option.startswith("-D")]
    code = "".join(f"#define {name}\n" for name in defined) + code
    # CuPy's headers alone, never those of a CUDA toolkit.
    flags = [*FLAGS, f"-I{Path(cupy.__file__).parent / '_core' / 'include'}"]
    # Not those with barriers: they run on fibres, which change stacks.
    if SANITIZER and barriers == "false" and any(name.startswith(OWN) for name in names):
        flags += [f"-fsanitize={SANITIZER}", "-g1"]
    text, libraries = CUPY if "#include <cupy/" in code else HOST, () if SANITIZER else ALONE
    if TENSOR_CORES.search(plain):  # few kernels, which run long: here to optimize more pays
        text, libraries = text + '#include "tensor_cores.h"\n', ()
        flags.append("-O2")
    include = ["-include", prelude(text, flags)]

    def make(path):
        error = toolchain.run("g++", *flags, *include, *SHARED, *libraries, "-o", path, source=code)
        if error:
            raise cupy.cuda.compiler.CompileException(error, source, str(path), options, "g++")

    return toolchain.once("kernel", ".so", (code, str(include), *flags), make), mapping


def prelude(text, flags):
    """A header with this text, precompiled."""
    host = "".join((toolchain.HERE / name).read_text() for name in HOST_FILES)

    def write(path):
        path.write_text(text.replace('#include "', f'#include "{toolchain.HERE}/'))

    def precompile(path):
        toolchain.must_run("g++", *flags, "-x", "c++-header", header, "-o", path)

    header = toolchain.once("prelude", ".h", (text, host, *flags), write)
    # g++ finds it beside the header.
    toolchain.once("prelude", ".h.gch", (text, host, *flags), precompile)
    return header


# ------------------------------------------------------------------ entries of CuPy's driver module


def load_module(data):
    path, handle = data.decode(), len(modules) + 1
    modules[handle] = C.CDLL(path), path
    return handle


def get_function(module, name):
    library, path = modules[module]
    kernel = Kernel(C.cast(getattr(library, f"emu_{name}"), C.c_void_p).value, 0)
    kernel.name, kernel.source = name, sources[path]
    loaded.append(kernel)
    return C.addressof(kernel)
