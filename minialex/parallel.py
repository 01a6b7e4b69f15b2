"""Threads -- one small batch per processor core.

NumPy lets go of Python's interpreter lock while it computes, so two threads really do use two cores.  A matrix
product alone can use all cores too, but what stands between the products (copies, maxima, sums) cannot.  So the
convolutional part of a network runs differently from its dense part:

    `MicroBatches(features)`   deals the batch out in groups of about 16 images; each thread takes whole
                               groups through all layers, with single-threaded products and its own scratch
    dense layers               run on the whole batch, with multi-threaded matrix products, since their weights
                               are far larger than their activations

("data parallelism" and "model parallelism" of Krizhevsky 2014, "One weird trick for parallelizing convolutional
neural networks", inside one process.)  Each thread sums the gradients of its own groups, always the same ones,
and the threads' sums are added in order: the result depends on the number of threads, but never on their timing.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from minialex.backend import Array, get_xp
from minialex.layers import Sequential
from minialex.layers.layer import Layer, Params, Shape, named_arrays, zeros_like


def cpu_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    pool = ThreadPoolExecutor(workers, thread_name_prefix="minialex")
    together = threading.Barrier(workers)

    def warm_up(_: int) -> None:
        together.wait()  # all products at once, each in a block of its own
        warm_up_products()

    list(pool.map(warm_up, range(workers)))
    return pool


def warm_up_products() -> None:
    """Let this thread's matrix products touch their memory; see `_pool`."""
    matrix = np.ones((512, 512), dtype=np.float32)
    for _ in range(3):
        matrix @ matrix


def map_threads(function: Callable[[Any], Any], items: Iterable[Any], workers: int | None = None) -> list[Any]:
    """[function(item) for item in items], worker w computing items w, w + workers, w + 2*workers ...

    `function` sees single-threaded matrix products.  With one worker everything runs in the calling thread.
    """
    items = list(items)
    workers = min(workers or cpu_count(), len(items))
    results: list[Any] = [None] * len(items)

    def run(worker: int) -> None:
        for i in range(worker, len(items), workers):
            results[i] = function(items[i])

    if workers <= 1:
        run(0) if items else None
        return results
    with _blas().limit(limits=1, user_api="blas"):
        for future in [_pool(workers).submit(run, worker) for worker in range(workers)]:
            future.result()
    return results


class MicroBatches(Layer):
    """Run `layer` on groups of about `size` images, on `workers` threads; otherwise exactly `layer`.

    On a GPU, which is parallel by itself, the batch passes through whole.  The layers inside must treat each
    image by itself, and must not be random: a Dropout would draw the same mask for each group.
    """

    def __init__(self, layer: Layer, workers: int | None = None, size: int = 16):
        if size < 1 or (workers is not None and workers < 1):
            raise ValueError(f"MicroBatches: workers and size must be at least 1, got {workers} and {size}")
        self.layer = layer if layer.children() else Sequential(layer)
        self.workers, self.size = workers or cpu_count(), size
        self.training = layer.training

    @property
    def params(self) -> Params:  # type: ignore[override]
        """The parameters of the layers inside, nested by their names."""
        return self.layer.params

    def _groups(self, N: int) -> list[slice]:
        """Equal groups, as many as keep all workers busy, of at most `size` images."""
        rounds = -(-N // (self.size * self.workers))
        count = max(1, min(N, rounds * self.workers))
        edges = [i * N // count for i in range(count + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def forward(self, x: Array) -> tuple[Array, Any]:
        if get_xp(x) is not np:
            return self.layer.forward(x)
        groups = self._groups(len(x))
        results = map_threads(lambda group: self.layer.forward(x[group]), groups, self.workers)
        y = np.concatenate([y for y, _ in results])
        return y, (groups, [cache for _, cache in results])

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        if get_xp(dy) is not np:
            return self.layer.backward(dy, cache, grad)
        groups, caches = cache
        workers = min(self.workers, len(groups))
        dx: list[Any] = [None] * len(groups)
        sums = [grad] + [zeros_like(grad) for _ in range(workers - 1)]  # worker 0 writes to `grad` itself

        def run(worker: int) -> None:
            own = sums[worker] if len(groups) <= workers else zeros_like(grad)
            for i in range(worker, len(groups), workers):
                dx[i] = self.layer.backward(dy[groups[i]], caches[i], own)
                if own is not sums[worker]:
                    _add(sums[worker], own, first=i == worker)

        map_threads(run, range(workers), workers)
        for other in sums[1:]:
            _add(grad, other)
        return None if dx[0] is None else np.concatenate(dx)

    def __call__(self, x: Array) -> Array:
        if get_xp(x) is not np:
            return self.layer(x)
        return np.concatenate(map_threads(lambda group: self.layer(x[group]), self._groups(len(x)), self.workers))

    def children(self) -> dict[str, Layer]:
        return self.layer.children()

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)

    def multiply_adds(self, shape: Shape) -> int:
        return self.layer.multiply_adds(shape)


def _add(total: Params, part: Params, first: bool = False) -> None:
    """total += part, array by array; with `first`, total = part."""
    for (into, key, _), (other, _, _) in zip(named_arrays(total), named_arrays(part), strict=True):
        if first:
            into[key][...] = other[key]
        else:
            into[key] += other[key]
