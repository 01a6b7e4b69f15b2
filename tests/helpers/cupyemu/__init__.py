"""cupyemu -- the real CuPy on a machine without a GPU, for the tests.

    import cupyemu
    cupy = cupyemu.install()        # before anything imports cupy

Everything above CUDA is CuPy's own code: dispatch, dtype rules, errors, and the kernels that it
generates. Below it,

    device.c, barriers.c   stand for the driver: memory, copies, streams, events, launches;
                           they count them
    kernels.py             compiles the CUDA C++ of kernels by g++ with cuda_host.h and
                           tensor_cores.h, each once (toolchain.py)
    blas.py                stands for cuBLAS: NumPy's matrix products
    capi.py                puts all that in the place of CuPy's bindings

What a pass shows: the use of CuPy's functions, dtypes, copies and when the host waits, allocations,
the logic of kernels, the order of copies and computation.  What it does not show: speed; the last
bits of exp, log and products; TF32 in cuBLAS; races between threads, or kernels of several streams
(a kernel runs at once, thread by thread, in an order that `take_turns` reverses).

Not emulated, and refused: cuRAND, Thrust (sort, argsort, unique, permutation), CUB, products of
float16 or complex numbers, CUDA graphs, cooperative launches, several devices.  Only one thread of
the host may use it at a time.
"""

import os
import sys
from importlib import metadata

from threadpoolctl import threadpool_limits

from cupyemu.toolchain import CannotEmulate

VERSION = "14.2.0"  # of CuPy: its tables of functions change without notice


def check_version():
    """Raise CannotEmulate unless exactly CuPy VERSION is installed."""
    install = f"pip install cupy-cuda13x=={VERSION}"
    found = {}
    for name in ("cupy-cuda12x", "cupy-cuda13x", "cupy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if not found:
        raise CannotEmulate(
            f"there is no GPU, and no CuPy to emulate one; install it with: {install}"
        )
    if list(found.values()) != [VERSION]:
        names = ", ".join(f"{name} {version}" for name, version in found.items())
        raise CannotEmulate(
            f"there is no GPU, and the emulator knows CuPy {VERSION} only, not {names}; {install}"
        )


def install(pool=False):
    """Emulate a GPU and return the module cupy.

    Without CuPy's memory `pool`, which keeps what is freed, every new array is full of NaN and the
    peak of memory is exact.  Raises CannotEmulate where there is no CuPy of the VERSION that this
    was written for, and RuntimeError where cupy has been imported already.
    """
    check_version()
    if "cupy" in sys.modules:
        raise RuntimeError("cupyemu.install() must come before the first import of cupy")
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB and cuTENSOR are compiled GPU code
    from cupyemu import blas, device, kernels

    device.patch()
    blas.patch()
    # Products in tests are small: threads would only wait for each other.
    threadpool_limits(1, user_api="blas")
    import cupy

    cupy.cuda.compiler._compile_module_with_cache = kernels.compile_module
    cupy.cuda.compiler._get_arch = lambda: "90"
    cupy.random.default_rng = cupy.random.Generator = _refuse_generator
    if not pool:
        cupy.cuda.set_allocator(None)
    return cupy


def _refuse_generator(*_, **__):
    raise NotImplementedError(
        "cupyemu: cupy.random.Generator is compiled GPU code and is not emulated"
    )
