"""cuBLAS on NumPy: the matrix products that CuPy asks for, in float32 and float64.

cuBLAS is column-major and knows a matrix by its address, its sizes and the distance `ld` between
columns.  Read row by row, the same memory is the transposed matrix; so C = op(A) op(B) is computed
as C' = op(B)' op(A)'.  Other types are refused; other functions answer with cuBLAS's own status,
CUBLAS_STATUS_NOT_SUPPORTED.
"""

import ctypes as C
import importlib
import re
import subprocess
from pathlib import Path

import numpy as np

from cupyemu import capi, device, toolchain

REAL = {0: np.dtype(np.float32), 1: np.dtype(np.float64)}  # cudaDataType


def _type(number):
    if number not in REAL:
        raise NotImplementedError(
            f"cupyemu: matrix products of cudaDataType {number} are not emulated"
        )
    return REAL[number]


def _transposed(address, rows, columns, ld, dtype, count=1, step=0):
    """The `count` matrices, `step` numbers apart, as an array (count, columns, rows)."""
    size = dtype.itemsize
    numbers = step * (count - 1) + ld * (columns - 1) + rows
    memory = (C.c_char * (numbers * size)).from_address(address)
    return np.ndarray((count, columns, rows), dtype, memory, strides=(step * size, ld * size, size))


def _scalar(address, dtype):
    return np.frombuffer(C.string_at(address, dtype.itemsize), dtype)[0]


def _product(
    ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, result, ldc, dtype, count=1, steps=(0, 0, 0)
):
    """result (m, n) = alpha op(A) op(B) + beta result, `count` times; op transposes where ta, tb
    are not 0."""
    if device.is_idle():
        return
    a = _transposed(A, *((k, m) if ta else (m, k)), lda, dtype, count, steps[0])
    b = _transposed(B, *((n, k) if tb else (k, n)), ldb, dtype, count, steps[1])
    c = _transposed(result, m, n, ldc, dtype, count, steps[2])
    alpha, beta = _scalar(alpha, dtype), _scalar(beta, dtype)
    product = (b.swapaxes(1, 2) if tb else b) @ (a.swapaxes(1, 2) if ta else a)
    if alpha != 1:
        product *= alpha
    c[...] = product if beta == 0 else product + beta * c  # what was in c may be NaN


TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32: counted, and computed in float32 all the same


def _begin(m, n, k, count=1, compute=0):
    counted = {"gemms_batched": int(count > 1), "gemms_tf32": int(compute == TF32)}
    device.gemms.update(gemms=1, gemm_flops=2 * m * n * k * count, **counted)
    stream = importlib.import_module("cupy").cuda.get_current_stream()
    device.library.emu_catch_up(C.c_ssize_t(stream.ptr))


def _gemm_ex(
    handle, ta, tb, m, n, k, alpha, A, type_a, lda, B, type_b, ldb,
    beta, result, type_c, ldc, compute, algorithm,
):  # fmt: skip
    assert type_a == type_b == type_c, "products of different types"
    _begin(m, n, k, compute=compute)
    _product(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, result, ldc, _type(type_a))


def _gemm_strided(
    handle, ta, tb, m, n, k, alpha, A, type_a, lda, step_a, B, type_b, ldb, step_b,
    beta, result, type_c, ldc, step_c, count, compute, algorithm,
):  # fmt: skip
    assert type_a == type_b == type_c, "products of different types"
    _begin(m, n, k, count)
    steps = (step_a, step_b, step_c)
    _product(ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, result, ldc, _type(type_a), count, steps)


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
    binding = next(path for folder in libs.__path__ for path in Path(folder).glob("cublas.*"))
    C.CDLL(str(_stand_in(binding)), C.RTLD_GLOBAL)
    module = importlib.import_module("cupy_backends.cuda.libs.cublas")
    capi.replace(module, FUNCTIONS)


def _stand_in(binding):
    """A library that answers CUBLAS_STATUS_NOT_SUPPORTED, under the name that CuPy's `binding`
    looks for."""

    def about_binding(*command):
        return subprocess.run(
            [*command, binding], capture_output=True, text=True, check=True
        ).stdout

    name = re.findall(r"libcublas\.so\.\d+", about_binding("readelf", "-d"))[0]
    symbols = re.findall(r" U (cublas\w+)", about_binding("nm", "-D", "--undefined-only"))
    code = "".join(f"int {symbol}(void) {{ return 15; }}\n" for symbol in symbols)

    def write_versions(path):  # the symbols are versioned by the name of the library
        path.write_text(f"{name} {{ global: *; }};\n")

    versions = toolchain.once("cublas", ".map", (name,), write_versions)
    flags = ("-shared", f"-Wl,-soname,{name}", f"-Wl,--version-script={versions}", "-x", "c", "-")

    def make(path):
        toolchain.must_run("gcc", *flags, "-o", path, source=code)

    return toolchain.once("cublas", ".so", (code, *flags), make)
