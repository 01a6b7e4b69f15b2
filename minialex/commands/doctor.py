"""What this machine offers to a training run, and what it lacks.

When something does not work, or is slow, begin with

    minialex doctor

It prints versions, the library that multiplies matrices, cores and memory, each GPU or the one line
that says what is wrong with it, and trains a tiny network for three steps on each device.  The
status is 0 when the CPU works: a machine without a GPU is healthy.

    mpiexec -n 4 minialex doctor

also tells where the ranks are, and how fast they add what they have (docs/ranks.md).
"""

import argparse
import importlib
import math
import os
import platform
import sys
import time
from collections import Counter
from importlib import metadata
from types import ModuleType

import numpy as np
from threadpoolctl import threadpool_info

from minialex.data import DataLoader
from minialex.fast.threads import cpu_count
from minialex.gpu.diagnosis import gpu_problem, installed_wheels
from minialex.models import AlexNet
from minialex.optim import Adam
from minialex.train.loop import fit
from minialex.train.memory import system_bytes, system_value
from minialex.train.ranks import HERE, join
from minialex.train.screen import Silent

LIBRARIES = ("minialex", "numpy", "pillow", "safetensors", "threadpoolctl", "tqdm")
# How far the losses of three steps may differ between two devices, which add in another order.
TOLERANCE = 1e-3


def processor() -> str:
    """The processor's name."""
    return system_value("cpuinfo", "model name") or platform.processor() or platform.machine()


def blas(threads: bool = False) -> str:
    """NumPy's matrix library, the kernels that it chose and, with `threads`, how many it starts."""
    names = []
    for library in (one for one in threadpool_info() if one["user_api"] == "blas"):
        count = f", {library['num_threads']} thread(s)" if threads else ""
        kernels = f"{library.get('architecture', '?')} kernels{count}"
        names.append(f"{library['internal_api']} {library['version']} ({kernels})")
    return ", ".join(names) or "a BLAS that threadpoolctl does not know"


def versions() -> str:
    """Python and the packages that training needs or can use."""
    found = []
    for name in (*LIBRARIES, *installed_wheels()):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def memory() -> str:
    """How much memory the machine has, and how much of it is free, where the system tells."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = system_bytes("meminfo", "MemAvailable")
    return f"{total / 2**30:.1f} GiB" + f", {available / 2**30:.1f} available" * (available > 0)


def gpus(cupy: ModuleType) -> list[str]:
    """A line per GPU, and one for the versions of CUDA."""
    runtime, lines = cupy.cuda.runtime, []
    for index in range(runtime.getDeviceCount()):
        about = runtime.getDeviceProperties(index)
        with cupy.cuda.Device(index):
            free, total = (count / 2**30 for count in runtime.memGetInfo())
        power = f"compute capability {about['major']}.{about['minor']}"
        room = f"{total:.1f} GiB, {free:.1f} free" + " (the one that is used)" * (index == 0)
        lines.append(f"{about['name'].decode()}, {power}, {room}")
    driver, built_for = runtime.driverGetVersion() // 1000, runtime.runtimeGetVersion() // 1000
    return [*lines, f"the driver is for CUDA {driver}, CuPy for CUDA {built_for}"]


def ranks() -> list[str]:
    """The MPI, where its ranks are, and how long it takes them to add a vector."""
    vector, seconds = np.ones((1, 1 << 22), dtype=np.float32), []
    for _ in range(5):
        HERE.agree("ready")
        start = time.perf_counter()
        HERE.add(vector)
        seconds.append(time.perf_counter() - start)
    hosts = ", ".join(f"{n} on {host}" for host, n in Counter(HERE.hosts).items())
    took, size = min(seconds), vector.nbytes / 1e6
    speed = f"{size:.0f} MB added over all in {1000 * took:.0f} ms, {2 * size / took:,.0f} MB/s"
    library = " ".join(HERE.MPI.Get_library_version().partition("\n")[0].split())
    return [library, f"{hosts}; {cpu_count()} thread(s) each", speed]


def losses(device: str, steps: int = 3) -> list[float]:
    """The losses of a tiny AlexNet over a few training steps on four images of noise."""
    model = AlexNet(2, "2012", width=1 / 16, image_size=67, init="he", seed=0)
    noise = np.random.default_rng(0).standard_normal((4, 67, 67, 3), dtype=np.float32)
    images = DataLoader(list(zip(noise, (0, 1, 0, 1), strict=True)), 4)
    history = fit(model, images, Adam(model, lr=1e-3), epochs=steps, device=device, screen=Silent())
    return [row["train_loss"] for row in history]


def describe(found: list[float]) -> str:
    """Losses as a line."""
    return "trains, losses " + ", ".join(f"{loss:.4f}" for loss in found)


def parser() -> argparse.ArgumentParser:
    """No options."""
    return argparse.ArgumentParser(description=__doc__.partition("\n")[0])


def main(options: argparse.Namespace) -> int:
    """Print the state of the machine; 0 when its CPU works, else 1."""

    def show(name: str, text: str) -> None:
        print(f"{name:<10}{text}", flush=True)

    for line in ranks() if join().size > 1 else []:
        show("ranks", line)
    show("system", f"{platform.platform()}, Python {platform.python_version()} ({sys.executable})")
    show("packages", versions())
    show("products", blas(threads=True))
    show("machine", f"{processor()}, {cpu_count()} cores; memory {memory()}")
    on_cpu = losses("cpu")
    healthy = all(map(math.isfinite, on_cpu))
    wrong = f"computes wrong losses: {on_cpu}; reinstall NumPy"
    show("cpu", describe(on_cpu) if healthy else wrong)
    # A rank without a GPU would wait for ever for the others to make the next steps.
    if problem := next(filter(None, HERE.agree(gpu_problem())), None):
        show("gpu", f"not used: {problem}")
    else:
        for line in gpus(importlib.import_module("cupy")):
            show("gpu", line)
        on_gpu = losses("gpu")
        apart = max(abs(a - b) for a, b in zip(on_cpu, on_gpu, strict=True))
        same = f"as on the CPU (within {apart:.0e})"
        verdict = same if apart < TOLERANCE else "not those of the CPU; use --device cpu"
        show("gpu", f"{describe(on_gpu)}: {verdict}")
    return 0 if healthy else 1
