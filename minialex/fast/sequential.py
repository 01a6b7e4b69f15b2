"""Sequential's twin -- micro-batches: its convolutional part on one small batch per processor core.

The convolutional part of a network runs differently from its dense part:

    `head`        the leading layers that treat each image by itself: the batch is dealt out in groups of
                  up to 32 images; each thread takes whole groups through all of them
    the others    run on the whole batch, their weights dealt out to the threads (`threads.product`)

("data parallelism" and "model parallelism" of Krizhevsky 2014, "One weird trick for parallelizing
convolutional neural networks", inside one process.)  Each thread sums the gradients of its own groups,
always the same ones, and the threads' sums are added in order: the result depends on the number of
threads, but never on their timing.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.fast.threads import cpu_count, map_threads
from minialex.layers import sequential as page
from minialex.layers.layer import Layer
from minialex.params import Params, Shape, named_arrays, zeros_like
from minialex.twin import Twin
from minialex.xp import Array


class Sequential(Twin, page.Sequential, device="cpu"):
    head = 0  # how many of the layers run in micro-batches: `accelerate` sets it
    size = 32

    @property
    def form(self) -> str:  # type: ignore[override]
        """What `repr` says."""
        return f"fast: layers 0 to {self.head - 1} in micro-batches"

    def _groups(self, N: int) -> list[slice]:
        """Equal groups, as many as keep all workers busy, of at most `size` images."""
        count = max(1, min(N, -(-N // (self.size * cpu_count())) * cpu_count()))
        edges = [i * N // count for i in range(count + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def _share(self, shape: Shape) -> list[tuple[Any, Any]]:
        """(layer, what it shares) of each layer that can share, for groups of `shape`."""
        layers: list[Any] = []
        shapes = []
        for part in self.layers[: self.head]:
            for _, layer in part.leaves():
                if hasattr(layer, "share"):
                    layers.append(layer)
                    shapes.append(shape)
                shape = (shape[0], *layer.output_shape(shape[1:]))
        values = map_threads(lambda i: layers[i].share(shapes[i]), range(len(layers)))
        return list(zip(layers, values, strict=True))

    def forward(self, x: Array) -> tuple[Array, Any]:
        groups = self._groups(len(x))
        shared = self._share((len(x[groups[0]]), *x.shape[1:]))
        with sharing(shared):
            results = map_threads(lambda group: self._head_forward(x[group]), groups)
        x, rest = np.concatenate([y for y, _ in results]), []
        for layer in self.layers[self.head :]:
            x, cache = layer.forward(x)
            rest.append(cache)
        return x, (groups, [cache for _, cache in results], shared, rest)

    def _head_forward(self, x: Array) -> tuple[Array, list[Any]]:
        caches = []
        for layer in self.layers[: self.head]:
            x, cache = layer.forward(x)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        groups, caches, shared, rest = cache
        for i in reversed(range(self.head, len(self.layers))):
            dy = self.layers[i].backward(dy, rest[i - self.head], grad.get(str(i), {}))
        dy = np.ascontiguousarray(dy)  # the layer below runs over the channels innermost
        grad = {key: part for key, part in grad.items() if int(key) < self.head}
        workers = min(cpu_count(), len(groups))
        dx: list[Any] = [None] * len(groups)
        sums = [grad] + [zeros_like(grad) for _ in range(workers - 1)]  # worker 0 writes to `grad`

        def run(worker: int) -> None:
            own = sums[worker] if len(groups) <= workers else zeros_like(grad)
            for i in range(worker, len(groups), workers):
                dx[i] = self._head_backward(dy[groups[i]], caches[i], own)
                if own is not sums[worker]:
                    _add(sums[worker], own, first=i == worker)

        with sharing(shared):
            map_threads(run, range(workers))
        for other in sums[1:]:
            _add(grad, other)
        return None if dx[0] is None else np.concatenate(dx)

    def _head_backward(self, dy: Array, caches: list[Any], grad: Params) -> Array:
        for i in reversed(range(self.head)):
            dy = self.layers[i].backward(dy, caches[i], grad.get(str(i), {}))
        return dy

    def __call__(self, x: Array) -> Array:
        def head(group: slice) -> Array:
            y = x[group]
            for layer in self.layers[: self.head]:
                y = layer(y)
            return y

        groups = self._groups(len(x))
        with sharing(self._share((len(x[groups[0]]), *x.shape[1:]))):
            y = np.concatenate(map_threads(head, groups))
        for layer in self.layers[self.head :]:
            y = layer(y)
        return y


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
