"""The device of device.c as CuPy's `runtime` and `driver` modules see it, and its counters."""

import collections
import contextlib
import ctypes as C
import importlib

from cupyemu import capi, kernels, toolchain

library = toolchain.load("device.c", "barriers.c")
gemms: collections.Counter = collections.Counter()  # filled by blas.py

# name in CuPy -> name in device.c
RUNTIME_IN_C = {
    "malloc": "emu_malloc",
    "free": "emu_free",
    "hostAlloc": "emu_host_alloc",
    "freeHost": "emu_free_host",
    "memcpy": "emu_memcpy",
    "memcpyAsync": "emu_memcpy_async",
    "memset": "emu_memset",
    "memsetAsync": "emu_memset_async",
    "pointerGetMemoryType": "emu_memory_type",
    "streamCreate": "emu_stream_create",
    "streamCreateWithFlags": "emu_stream_create_with_flags",
    "streamCreateWithPriority": "emu_stream_create_with_priority",
    "streamDestroy": "emu_stream_destroy",
    "streamSynchronize": "emu_stream_synchronize",
    "streamQuery": "emu_stream_query",
    "streamWaitEvent": "emu_stream_wait_event",
    "streamIsCapturing": "emu_stream_is_capturing",
    "eventCreate": "emu_event_create",
    "eventCreateWithFlags": "emu_event_create_with_flags",
    "eventDestroy": "emu_event_destroy",
    "eventRecord": "emu_event_record",
    "eventQuery": "emu_event_query",
    "eventSynchronize": "emu_event_synchronize",
    "eventElapsedTime": "emu_event_elapsed_time",
    "deviceSynchronize": "emu_device_synchronize",
    "getDevice": "emu_get_device",
    "_ensure_context": "emu_ensure_context",
    "setDevice": "emu_set_device",
}
DRIVER_IN_C = {
    "launchKernel": "emu_launch",
    "launchCooperativeKernel": "emu_launch_cooperative",
    "moduleUnload": "emu_nothing",
    "ctxGetDevice": "emu_get_device",
}

TOTAL_MEMORY = 80 << 30
PROPERTIES = {
    "name": b"CuPy emulated on CPU", "major": 9, "minor": 0, "warpSize": 32,
    "totalGlobalMem": TOTAL_MEMORY, "maxThreadsPerBlock": 1024, "multiProcessorCount": 132,
    "sharedMemPerBlock": 49152, "l2CacheSize": 50 << 20,
}  # fmt: skip
# cudaDeviceAttr: the limits of a block and a grid, its shared memory, warp size, processors,
# compute capability
ATTRIBUTES = {
    1: 1024, 2: 1024, 3: 1024, 4: 64, 5: 2**31 - 1, 6: 65535, 7: 65535, 8: 49152, 10: 32, 16: 132,
    39: 2048, 75: 9, 76: 0, 95: 1, 97: 49152,
}  # fmt: skip


def _attribute(attribute, device):
    return ATTRIBUTES[attribute]


def _pointer_attributes(pointer):
    runtime = importlib.import_module("cupy_backends.cuda.api.runtime")
    kind = library.emu_memory_type(C.c_ssize_t(pointer), 0)
    return runtime.PointerAttributes(0, pointer, pointer, kind)


RUNTIME = {
    "getDeviceCount": lambda: 1,
    "getDeviceProperties": lambda device: dict(PROPERTIES),
    "deviceGetAttribute": _attribute,
    "deviceCanAccessPeer": lambda device, peer: 0,
    "driverGetVersion": lambda: 13000,
    "memGetInfo": lambda: (TOTAL_MEMORY - value("live_bytes"), TOTAL_MEMORY),
    "pointerGetAttributes": _pointer_attributes,
    "profilerStart": lambda: None,
    "profilerStop": lambda: None,
}
DRIVER = {
    "ctxGetCurrent": lambda: 1,
    "streamGetCtx": lambda stream: 1,
    "moduleLoadData": kernels.load_module,
    "moduleGetFunction": kernels.get_function,
    "funcGetAttribute": lambda attribute, function: 0,
    "funcSetAttribute": lambda function, attribute, value: None,
    "occupancyMaxActiveBlocksPerMultiprocessor": lambda function, block, shared: 1,
    "occupancyMaxPotentialBlockSize": lambda function, shared, block: (132, 256),
}


def patch():
    """Put the emulated device in the place of CuPy's runtime and driver."""
    for name, in_c, in_python in (
        ("driver", DRIVER_IN_C, DRIVER),
        ("runtime", RUNTIME_IN_C, RUNTIME),
    ):
        module = importlib.import_module(f"cupy_backends.cuda.api.{name}")
        addresses = {
            ours: C.cast(library[theirs], C.c_void_p).value for ours, theirs in in_c.items()
        }
        capi.replace(module, addresses | in_python)


# ----------------------------------------------------------------------------------------- counters

COUNTERS = (
    "launches", "synchronizations", "allocations", "overruns", "copies_h2d",
    "copies_h2d_pageable", "copies_d2h",
    "copies_d2d", "copies_h2h", "bytes_h2d", "bytes_d2h",
)  # fmt: skip


def value(name):
    """One number of device.c, such as "live_bytes" or "peak_bytes"."""
    return C.c_longlong.in_dll(library, name).value


def counters():
    """All that was counted until now: COUNTERS, "gemms", "gemm_flops", and "float64" launches.
    Subtract two."""
    found = collections.Counter({name: value(name) for name in COUNTERS}) + gemms
    found["float64"] = sum(kernel.launches for kernel in kernels.loaded if kernel.is_float64)
    return found


def reset_peak():
    """Forget the peak of device memory: "peak_bytes" starts again at what is live."""
    C.c_longlong.in_dll(library, "peak_bytes").value = value("live_bytes")


def forgive_overruns():
    """Forget that kernels wrote outside their arrays: a test did it on purpose."""
    C.c_longlong.in_dll(library, "overruns").value = 0


def take_turns(backwards):
    """The order in which the threads and blocks of a kernel run; CUDA promises none."""
    C.c_int.in_dll(library, "emu_backwards").value = backwards


@contextlib.contextmanager
def idle():
    """A block in which kernels and products are ordered and counted, but compute nothing."""
    flag = C.c_int.in_dll(library, "emu_idle")
    flag.value = True
    try:
        yield
    finally:
        flag.value = False


def is_idle():
    return bool(C.c_int.in_dll(library, "emu_idle").value)
