"""Threads -- all cores at work, from Python.

NumPy lets go of Python's interpreter lock while it computes, so two threads really do use two
cores.  OpenBLAS, which multiplies NumPy's matrices, has threads of its own as well.  We do without
them, for three reasons: they help with products alone, not with the copies, maxima and sums in
between; after each product they spin for a while, and take that time from ours; and how they cut a
product depends on their number, and with it the last bit.

    map_threads(function, items)    the items dealt out to the threads
    product(a, b)                   a matrix product, the larger matrix dealt out in pieces of rows
    products(triples)               many small ones, dealt out one by one

The pieces do not depend on the number of threads.  So all give the same bits for any number of
cores, whatever the timing.
"""

import contextlib
import ctypes
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from minialex.fast.scratch import scratch

GROUP = 16  # images of a micro-batch, see sequential.py
LEAST_WORK = 1 << 18  # multiply-adds at and above which a product is worth being dealt out

_this_thread = threading.local()
_limit: int | None = None  # see `limit_threads`
_spare = False  # see `spare_memory`
_lock = threading.Lock()
_depth = 0  # how many are inside `one_blas_thread`
_before: dict[object, int] = {}  # the threads of each library before the first came in


def cpu_count():
    """The threads that this process may use: its cores, or what `limit_threads` said."""
    if _limit:
        return _limit
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(count):
    """Let this process use `count` threads from now on, such as fewer than the machine has cores.

    None: as many as it has.
    """
    global _limit
    _limit = count
    set_blas_threads({library: count or cpu_count() for library in blas_libraries()})


@cache
def blas_libraries():
    """The libraries that multiply NumPy's matrices."""
    found = ThreadpoolController().lib_controllers
    return tuple(library for library in found if library.user_api == "blas")


def set_blas_threads(counts):
    """Let each library of {library: count} multiply on so many threads, for the whole process."""
    for library, count in counts.items():
        # From 3.8 on, threadpoolctl obeys the first thread that asks alone, until that is cleared.
        clear = getattr(library, "clear_controlling_thread", lambda **_: None)
        clear(force=True)
        library.set_num_threads(count)
        clear(force=True)


@contextlib.contextmanager
def one_blas_thread():
    """Matrix products inside run on the thread that asks for them; also for several at a time."""
    global _depth, _before
    with _lock:
        if _depth == 0:
            _before = {library: library.num_threads for library in blas_libraries()}
            set_blas_threads(dict.fromkeys(_before, 1))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                set_blas_threads(_before)


def _forget_threads():
    """In the child of a fork, which has none of its parent's threads."""
    global _lock, _depth
    if _depth:  # another thread of the parent's was at work
        set_blas_threads(_before)
    _lock, _depth = threading.Lock(), 0
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@cache
def _pool(workers):
    """The threads, warmed up; None where the system allows no more.

    OpenBLAS takes a memory block for each product that runs at once.

    Its kernels seem to prefetch past the numbers that they use.  Where that memory was never
    touched, it has no pages yet, and each prefetch would search for them in vain: on an AMD Zen, a
    product of 196 x 200 and 200 x 256 numbers reached 10 GFLOP/s before, and 35 GFLOP/s after, the
    process had multiplied two 512 x 512 matrices.
    """
    spare_memory(_spare)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="minialex")
    together = threading.Barrier(workers)

    def warm_up(_):
        _this_thread.is_worker = True
        together.wait()  # all products at once, each in a block of its own
        warm_up_products()

    try:
        list(pool.map(warm_up, range(workers)))
    except RuntimeError:  # a browser has no threads, a container may limit them
        together.abort()
        pool.shutdown()
        return None
    return pool


def warm_up_products():
    """Let this thread's matrix products touch their memory; see `_pool`."""
    matrix = np.ones((512, 512), dtype=np.float32)
    for _ in range(3):
        matrix @ matrix


def spare_memory(spare=True):
    """Let the C library give freed memory back at once, or else keep it for the next array.

    By default glibc (Linux; others are left alone) gives large arrays back to the operating system
    at once, and each new one is then handed out, and filled with zeros, page by page: 5 % of a
    training step.  What it keeps has gaps, though, so that a step takes up to twice its memory:
    with `spare`, the process takes no more than it holds.
    """
    global _spare
    _spare = spare
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)
        # Older versions refuse more than 32 MB.
        if not mallopt(M_MMAP_THRESHOLD, 1 << (20 if spare else 30)):
            mallopt(M_MMAP_THRESHOLD, 1 << 25)
        mallopt(M_TRIM_THRESHOLD, 1 << 20 if spare else -1)


def map_threads(function, items):
    """[function(item) for item in items], thread t computing items t, t + threads, ...

    `function` sees single-threaded matrix products.  With one thread, inside another `map_threads`,
    and where no thread can be started, everything runs in the calling thread, in order.
    """
    items = list(items)
    count = min(cpu_count(), len(items))
    pool = None if count <= 1 or getattr(_this_thread, "is_worker", False) else _pool(count)
    results = [None] * len(items)

    def run(worker):
        results[worker::count] = [function(item) for item in items[worker::count]]

    with one_blas_thread():
        if pool is None:
            return [function(item) for item in items]
        futures = [pool.submit(run, worker) for worker in range(count)]
        for future in futures:
            future.result()
    return results


def product(a, b, out=None):
    """a (M, K) b (K, N) -> (M, N), into `out` where it is given.

    The matrix with more rows than the other has columns stands left, by (a b)^T = b^T a^T, and its
    rows are dealt out to the threads: a thread then reads its own part of the weights, and all of
    the activations.
    """
    (M, K), N = a.shape, b.shape[1]
    if M * K * N < LEAST_WORK:
        with one_blas_thread():
            return np.matmul(a, b, out=out)
    if M < N:
        transposed = product(b.T, a.T).T
        if out is None:
            return np.ascontiguousarray(transposed)
        out[...] = transposed
        return out
    if out is None:
        out = np.empty((M, N), dtype=np.result_type(a, b))
    count = min(8, max(2, M * K * N >> 28))  # more for larger ones, as each costs a little
    map_threads(lambda rows: np.matmul(a[rows], b, out=out[rows]), pieces(M, count))
    return out


def products(triples, step=0, add=False):
    """out (.., M, N) = a (.., M, K) b (.., K, N) for each (a, b, out), with `add` added to out.

    With a `step`, so many of the K are summed in a row, and what comes out is added up.
    """

    def run(worker):
        for a, b, out in triples[worker::count]:
            K = max(1, a.shape[-1])
            for i in range(0, K, step or K):
                some, more = slice(i, i + (step or K)), add or i > 0
                into = scratch(out, "product", out.shape) if more else out
                np.matmul(a[..., some], b[..., some, :], out=into)
                if more:
                    out += into

    work = sum(a.size * b.shape[-1] for a, b, _ in triples)
    # Less is done before another thread is awake.
    count = cpu_count() if work >= 8 * LEAST_WORK else 1
    map_threads(run, range(count))


def pieces(length, count):
    """`length` rows in `count` pieces, as even as can be."""
    edges = [length * i // count for i in range(count + 1)]
    return [slice(i, j) for i, j in itertools.pairwise(edges)]
