"""The machine of the benchmark: its processor and libraries, how fast it multiplies and copies."""

import os
import platform
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from minialex.commands.doctor import blas, processor
from minialex.fast.threads import cpu_count, map_threads


class Speeds(NamedTuple):
    """The best that NumPy reaches: products in float32 (FLOP/s), copies (bytes/s, both ways)."""

    threads: int
    products: float
    products_of_one: float
    copies: float
    copies_of_one: float

    def __str__(self) -> str:
        lines = [
            f"products  {self.products_of_one / 1e9:.1f} GFLOP/s on one thread (float32)",
            f"copies    {self.copies_of_one / 1e9:.1f} GB/s on one thread (read plus written)",
        ]
        if self.threads > 1:
            lines[0] += f", {self.products / 1e9:.1f} on {self.threads}"
            lines[1] += f", {self.copies / 1e9:.1f} on {self.threads}"
        return "\n".join(lines)


def best_time(function: Callable[[], object], seconds: float) -> float:
    """The shortest run of `function` within `seconds`, of at least three after a first one."""
    function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def product_speed(threads: int, n: int = 1024, seconds: float = 0.3) -> float:
    """FLOP/s of n x n matrix products, a multiplication and an addition counted as two."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, n, n), dtype=np.float32)
    out = np.empty_like(a)
    with threadpool_limits(threads, user_api="blas"):
        return 2 * n**3 / best_time(lambda: np.matmul(a, b, out=out), seconds)


def copy_speed(threads: int, megabytes: int = 64, seconds: float = 0.2) -> float:
    """Bytes/s, read plus written, of copies far larger than the caches."""
    source = np.zeros((threads, (megabytes << 20) // threads), dtype=np.uint8)
    source += 1  # so that its pages exist
    target = np.empty_like(source)

    def copy() -> None:
        map_threads(lambda i: np.copyto(target[i], source[i]), range(threads))

    return 2 * source.nbytes / best_time(copy, seconds)


def measure(threads: int | None = None) -> Speeds:
    """The speeds of this machine with `threads` threads, by default one per core."""
    threads = threads or cpu_count()
    product, copy = product_speed(1), copy_speed(1)
    if threads == 1:
        return Speeds(1, product, product, copy, copy)
    # On a busy machine all threads can be slower than one; then one thread is the fastest.
    products, copies = max(product, product_speed(threads)), max(copy, copy_speed(threads))
    return Speeds(threads, products, product, copies, copy)


def description(torch_version: str | None) -> str:
    """Processor, cores, load and versions, in a few lines."""
    machine = f"machine   {processor()}, {cpu_count()} cores, {platform.system()}"
    if hasattr(os, "getloadavg"):
        machine += f", load {os.getloadavg()[0]:.1f} (near 0 on a quiet machine)"
    software = f"Python {platform.python_version()}, NumPy {np.__version__} with {blas()}"
    if torch_version:
        software += f", {torch_version}"
    return f"{machine}\nsoftware  {software}"
