"""The kernels of implicit.cu through NVIDIA's compilers, for each generation of GPUs: they fit into
registers and shared memory, and what does not is little.

A module takes seconds, so that only some are compiled; MINIALEX_ALL_MODULES=1 takes all, and
`pytest -s` prints what they need.
"""

import os

import cupy
import pytest

import cuda_compilers
from device import has_gpu
from minialex.gpu import implicit
from minialex.gpu.implicit import FLOAT32, TF32, THREE_TF32

if has_gpu():
    pytest.skip("a real GPU compiles its kernels itself", allow_module_level=True)

COMPILERS = cuda_compilers.found() or {None: None}
TURING, AMPERE_AND_LATER = "75", ("80", "86", "89", "90", "120")
# What AlexNet uses: an image's 3 channels do not come in fours, all others do.
ALL = [(TURING, FLOAT32, 64, vx) for vx in (1, 4)] + [
    (arch, math, columns, vx)
    for arch in AMPERE_AND_LATER
    for math in (TF32, THREE_TF32)
    for columns in (128, 96, 64)
    for vx in (1, 4)
]
SOME = [
    (TURING, FLOAT32, 64, 4), ("80", THREE_TF32, 128, 4), ("86", TF32, 96, 1),
    ("89", THREE_TF32, 64, 1), ("90", THREE_TF32, 96, 4), ("120", TF32, 128, 4),
]  # fmt: skip
MODULES = ALL if os.environ.get("MINIALEX_ALL_MODULES") else SOME
# By arithmetic and columns: registers of a thread, as many as leave room for two or three tiles on
# a multiprocessor, and bytes that a thread spills, written and read.
MOST = {
    (FLOAT32, 64): (128, 0), (TF32, 128): (255, 0), (TF32, 96): (200, 0), (TF32, 64): (168, 0),
    (THREE_TF32, 128): (255, 160), (THREE_TF32, 96): (255, 160), (THREE_TF32, 64): (168, 420),
}  # fmt: skip
SHARED = 48 << 10  # bytes of a block, on every GPU


@pytest.fixture(params=COMPILERS)
def compile(request):
    if request.param is None:
        pytest.skip(f"NOT CHECKED, for there is no CUDA compiler: {cuda_compilers.HOW}")
    return COMPILERS[request.param]


def source(arch, math, columns, vx, patch):
    """The source and options of a module, as CuPy gets them."""
    patch.setattr(implicit, "capability", lambda: int(arch))
    patch.setattr(cupy, "RawModule", lambda **arguments: arguments)
    found = implicit.module.__wrapped__(math, columns, vx, 4)
    return found["code"], found["options"]


@pytest.mark.parametrize("arch, math, columns, vx", MODULES)
def test_kernels_fit(compile, arch, math, columns, vx, monkeypatch):
    code, options = source(arch, math, columns, vx, monkeypatch)
    needs = cuda_compilers.needs(compile(code, arch, "report", options))
    assert needs.keys() == {"conv_forward", "conv_dx", "conv_dw", "sum_parts"}
    for kernel, (registers, spilled, shared) in needs.items():
        print(
            f"sm_{arch} MATH={math} BN={columns} VX={vx} {kernel}: "
            f"{registers} registers, {spilled} bytes spilled, {shared} shared"
        )
    registers, spilled, shared = map(max, zip(*needs.values(), strict=True))
    most_registers, most_spilled = MOST[math, columns]
    assert registers <= most_registers and spilled <= most_spilled
    assert shared <= SHARED


@pytest.mark.parametrize("arch, math, columns, vx", SOME[:2])
def test_no_instruction_of_float64(compile, arch, math, columns, vx, monkeypatch):
    code, options = source(arch, math, columns, vx, monkeypatch)
    assert b".f64" not in compile(code, arch, "ptx", options)
