"""cuBLAS on NumPy: the matrix products that CuPy asks for, in float32 and float64.

cuBLAS is column-major and knows a matrix by its address, its sizes and the distance `ld` between columns.
Other functions and types fail with cuBLAS's own status CUBLAS_STATUS_NOT_SUPPORTED.
"""

import ctypes as C
import importlib
import os
import re
import subprocess

import numpy as np

from cupyemu import capi, device, toolchain

REAL = {0: np.dtype(np.float32), 1: np.dtype(np.float64)}  # cudaDataType


def _type(number):
    if number not in REAL:
        raise NotImplementedError(f"cupyemu: matrix products of cudaDataType {number} are not emulated")
    return REAL[number]


def _view(address, rows, columns, ld, dtype):
    size = dtype.itemsize
    memory = (C.c_char * ((ld * (columns - 1) + rows) * size)).from_address(address)
    return np.ndarray((rows, columns), dtype, memory, strides=(size, ld * size))


def _scalar(address, dtype):
    return np.frombuffer(C.string_at(address, dtype.itemsize), dtype)[0]


def _product(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, result, ldc, dtype):
    """result (m, n) = alpha op(A) op(B) + beta result; op transposes where ta, tb are not 0."""
    a = _view(A, *((k, m) if ta else (m, k)), lda, dtype)
    b = _view(B, *((n, k) if tb else (k, n)), ldb, dtype)
    c = _view(result, m, n, ldc, dtype)
    alpha, beta = _scalar(alpha, dtype), _scalar(beta, dtype)
    product = alpha * ((a.T if ta else a) @ (b.T if tb else b))
    c[...] = product if beta == 0 else product + beta * c  # what was in c may be NaN


def _begin(m, n, k, count=1):
    device.gemms.update(gemms=1, gemm_flops=2 * m * n * k * count)
    stream = importlib.import_module("cupy").cuda.get_current_stream()
    device.library.emu_catch_up(C.c_ssize_t(stream.ptr))


def _gemm_ex(
    handle, ta, tb, m, n, k, alpha, A, type_a, lda, B, type_b, ldb, beta, result, type_c, ldc, compute, algorithm
):
    assert type_a == type_b == type_c, "products of different types"
    _begin(m, n, k)
    _product(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, result, ldc, _type(type_a))


def _gemm_strided(
    handle, ta, tb, m, n, k, alpha, A, type_a, lda, step_a, B, type_b, ldb, step_b, beta, result, type_c, ldc, step_c,
    count, compute, algorithm,
):  # fmt: skip
    assert type_a == type_b == type_c, "products of different types"
    dtype = _type(type_a)
    _begin(m, n, k, count)
    for i in range(count):
        a, b, c = (at + i * step * dtype.itemsize for at, step in ((A, step_a), (B, step_b), (result, step_c)))
        _product(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, dtype)


def _gemm_batched(dtype):
    def gemm(handle, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, result, ldc, count):
        _begin(m, n, k, count)
        lists = [(C.c_size_t * count).from_address(at) for at in (A, B, result)]
        for a, b, c in zip(*lists, strict=True):
            _product(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, np.dtype(dtype))

    return gemm


FUNCTIONS = {
    "create": lambda: 1,
    "destroy": lambda handle: None,
    "getPointerMode": lambda handle: 0,
    "setPointerMode": lambda handle, mode: None,
    "getMathMode": lambda handle: 0,
    "setMathMode": lambda handle, mode: None,
    "gemmEx": _gemm_ex,
    "gemmStridedBatchedEx": _gemm_strided,
    "sgemmBatched": _gemm_batched(np.float32),
    "dgemmBatched": _gemm_batched(np.float64),
}


def patch():
    """Put these functions in the place of CuPy's bindings of cuBLAS."""
    libs = importlib.import_module("cupy_backends.cuda.libs")
    folder = os.path.dirname(libs.__file__)
    binding = next(os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("cublas."))
    C.CDLL(str(_stand_in(binding)), C.RTLD_GLOBAL)
    module = importlib.import_module("cupy_backends.cuda.libs.cublas")
    capi.replace(module, FUNCTIONS)


def _stand_in(binding):
    """A library that answers CUBLAS_STATUS_NOT_SUPPORTED, under the name that CuPy's `binding` looks for."""
    wanted = subprocess.run(["readelf", "-d", binding], capture_output=True, text=True, check=True).stdout
    name = re.search(r"libcublas\.so\.\d+", wanted).group()
    undefined = ["nm", "-D", "--undefined-only", binding]
    symbols = re.findall(r" U (cublas\w+)", subprocess.run(undefined, capture_output=True, text=True, check=True).stdout)
    code = "".join(f"int {symbol}(void) {{ return 15; }}\n" for symbol in symbols)

    def write_versions(path):  # the symbols are versioned by the name of the library
        path.write_text(f"{name} {{ global: *; }};\n")

    versions = toolchain.once("cublas", ".map", (name,), write_versions)
    flags = ("-shared", f"-Wl,-soname,{name}", f"-Wl,--version-script={versions}", "-x", "c", "-")

    def make(path):
        toolchain.must_run("gcc", *flags, "-o", path, source=code)

    return toolchain.once("cublas", ".so", (code, *flags), make)
