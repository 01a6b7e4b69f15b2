"""Threads -- all cores at work, from Python.

NumPy lets go of Python's interpreter lock while it computes, so two threads really do use two cores.  OpenBLAS,
which multiplies NumPy's matrices, has threads of its own as well.  We do without them, for three reasons: they
help with products alone, not with the copies, maxima and sums in between; after each product they go on looking
for work for a while, and take that time from ours; and whoever finishes first takes the next piece, so the order
of a sum, and with it the last bit, would depend on timing.

    map_threads(function, items)    the items dealt out to the threads, always the same ones to each
    product(a, b)                   a matrix product, the larger matrix dealt out row by row
    products(a, b, out)             many small ones, dealt out one by one

All give the same bits for the same number of cores, whatever the timing.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from minialex.xp import Array, get_xp

LEAST_WORK = 1 << 19  # multiply-adds from which on a product is worth being dealt out

_this_thread = threading.local()
_limit: int | None = None  # see `limit_threads`


def cpu_count() -> int:
    """The cores that this process may use."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(cores, _limit or cores)


def limit_threads(count: int) -> None:
    """Let this process use at most `count` cores from now on, where several share a machine."""
    global _limit
    _limit = count
    _blas().limit(limits=count, user_api="blas")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """The threads, warmed up: OpenBLAS takes a memory block for each product that runs at the same time.

    Its kernels seem to prefetch past the numbers that they use.  Where that memory was never touched, it has no
    pages yet, and each prefetch would search for them in vain: on an AMD Zen, a product of 196 x 200 and 200 x 256
    numbers reached 10 GFLOP/s before, and 35 GFLOP/s after, the process had multiplied two 512 x 512 matrices.
    """
    _keep_memory()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="minialex")
    together = threading.Barrier(workers)

    def warm_up(_: int) -> None:
        _this_thread.is_worker = True
        together.wait()  # all products at once, each in a block of its own
        warm_up_products()

    list(pool.map(warm_up, range(workers)))
    return pool


def warm_up_products() -> None:
    """Let this thread's matrix products touch their memory; see `_pool`."""
    matrix = np.ones((512, 512), dtype=np.float32)
    for _ in range(3):
        matrix @ matrix


def _keep_memory() -> None:
    """Let the C library keep freed memory for the next array, where it is glibc (Linux); else change nothing.

    By default it gives large arrays back to the operating system at once, and each new one is then handed out, and
    filled with zeros, page by page: 5 % of a training step.
    """
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)
        # Older versions refuse more than 32 MB, by returning 0; they must not be left at the least, 128 kB.
        mallopt(M_MMAP_THRESHOLD, 1 << 30) or mallopt(M_MMAP_THRESHOLD, 1 << 25)
        mallopt(M_TRIM_THRESHOLD, -1)


def map_threads(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int | None = None
) -> list[Any]:
    """[function(item) for item in items], worker w computing items w, w + workers, w + 2*workers ...

    `function` sees single-threaded matrix products.  With one worker, or inside another `map_threads`, everything
    runs in the calling thread.
    """
    items = list(items)
    count = min(workers or cpu_count(), len(items))
    if count <= 1 or getattr(_this_thread, "is_worker", False):
        return [function(item) for item in items]
    results: list[Any] = [None] * len(items)

    def run(worker: int) -> None:
        for i in range(worker, len(items), count):
            results[i] = function(items[i])

    with _blas().limit(limits=1, user_api="blas"):
        for future in [_pool(count).submit(run, worker) for worker in range(count)]:
            future.result()
    return results


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a (M, K) b (K, N) -> (M, N), into `out` where it is given.

    On the CPU the matrix with more rows than the other has columns stands left, by (a b)^T = b^T a^T, and its rows
    are dealt out to the threads: a thread then reads its own part of the weights, and all of the activations.
    """
    xp, (M, K), N = get_xp(a), a.shape, b.shape[1]
    if xp is not np or M * K * N < LEAST_WORK:
        return xp.matmul(a, b, out=out)
    if M < N:
        transposed = product(b.T, a.T).T
        if out is None:
            return np.ascontiguousarray(transposed)
        out[...] = transposed
        return out
    if out is None:
        out = np.empty((M, N), dtype=np.result_type(a, b))
    count = min(M, cpu_count())
    rows = [slice(M * i // count, M * (i + 1) // count) for i in range(count)]
    map_threads(lambda some: np.matmul(a[some], b, out=out[some]), rows)
    return out


def products(a: Array, b: Array, out: Array) -> Array:
    """out[i] (M, N) = a[i] (M, K) b[i] (K, N) for all i."""
    xp, count = get_xp(a), min(len(a), cpu_count())
    if xp is not np or a.size * b.shape[2] < LEAST_WORK:
        return xp.matmul(a, b, out=out)
    some = [slice(len(a) * i // count, len(a) * (i + 1) // count) for i in range(count)]
    map_threads(lambda i: np.matmul(a[i], b[i], out=out[i]), some)
    return out
