"""Micro-batches -- one small batch per processor core.

The convolutional part of a network runs differently from its dense part:

    `MicroBatches(features)`   deals the batch out in groups of up to 32 images; each thread takes whole
                               groups through all layers, with scratch memory of its own
    dense layers               run on the whole batch, the weights dealt out to the threads (`threads.product`),
                               since they are far larger than the activations

("data parallelism" and "model parallelism" of Krizhevsky 2014, "One weird trick for parallelizing convolutional
neural networks", inside one process.)  Each thread sums the gradients of its own groups, always the same ones,
and the threads' sums are added in order: the result depends on the number of threads, but never on their timing.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.backend import Array, get_xp
from minialex.fast.threads import cpu_count, map_threads
from minialex.layers import Sequential
from minialex.layers.layer import Layer, Params, Shape, named_arrays, zeros_like


class MicroBatches(Layer):
    """Run `layer` on groups of about `size` images, on `workers` threads; otherwise exactly `layer`.

    On a GPU, which is parallel by itself, the batch passes through whole.  The layers inside must treat each
    image by itself, and must not be random: a Dropout would draw the same mask for each group.
    """

    def __init__(self, layer: Layer, workers: int | None = None, size: int = 32):
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

    def _share(self, shape: Shape) -> list[tuple[Layer, Any]]:
        """(layer, what it shares) for each layer that can share, for groups of `shape`; one thread a layer."""
        layers, shapes = [], []
        for _, layer in self.layer.leaves():
            if type(layer).share is not Layer.share:  # those with work to do, so that each thread gets some of it
                layers.append(layer)
                shapes.append(shape)
            shape = (shape[0], *layer.output_shape(shape[1:]))
        values = map_threads(lambda i: layers[i].share(shapes[i]), range(len(layers)), self.workers)
        return list(zip(layers, values, strict=True))

    def forward(self, x: Array) -> tuple[Array, Any]:
        if get_xp(x) is not np:
            return self.layer.forward(x)
        groups = self._groups(len(x))
        shared = self._share((len(x[groups[0]]), *x.shape[1:]))
        with sharing(shared):
            results = map_threads(lambda group: self.layer.forward(x[group]), groups, self.workers)
        y = np.concatenate([y for y, _ in results])
        return y, (groups, [cache for _, cache in results], shared)

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        if get_xp(dy) is not np:
            return self.layer.backward(dy, cache, grad)
        groups, caches, shared = cache
        workers = min(self.workers, len(groups))
        dx: list[Any] = [None] * len(groups)
        sums = [grad] + [zeros_like(grad) for _ in range(workers - 1)]  # worker 0 writes to `grad` itself

        def run(worker: int) -> None:
            own = sums[worker] if len(groups) <= workers else zeros_like(grad)
            for i in range(worker, len(groups), workers):
                dx[i] = self.layer.backward(dy[groups[i]], caches[i], own)
                if own is not sums[worker]:
                    _add(sums[worker], own, first=i == worker)

        with sharing(shared):
            map_threads(run, range(workers), workers)
        for other in sums[1:]:
            _add(grad, other)
        return None if dx[0] is None else np.concatenate(dx)

    def __call__(self, x: Array) -> Array:
        if get_xp(x) is not np:
            return self.layer(x)
        groups = self._groups(len(x))
        with sharing(self._share((len(x[groups[0]]), *x.shape[1:]))):
            return np.concatenate(map_threads(lambda group: self.layer(x[group]), groups, self.workers))

    def children(self) -> dict[str, Layer]:
        return self.layer.children()

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)

    def multiply_adds(self, shape: Shape) -> int:
        return self.layer.multiply_adds(shape)


@contextlib.contextmanager
def sharing(shared: list[tuple[Layer, Any]]) -> Iterator[None]:
    """Let each layer find its value in `layer.shared`."""
    for layer, value in shared:
        layer.shared = value
    try:
        yield
    finally:
        for layer, _ in shared:
            layer.shared = None


def _add(total: Params, part: Params, first: bool = False) -> None:
    """total += part, array by array; with `first`, total = part."""
    for (into, key, _), (other, _, _) in zip(named_arrays(total), named_arrays(part), strict=True):
        if first:
            into[key][...] = other[key]
        else:
            into[key] += other[key]
