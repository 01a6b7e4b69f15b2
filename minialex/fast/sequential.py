"""Sequential's twin -- micro-batches: the convolutional part on groups of images, one a thread.

The convolutional part of a network runs differently from its dense part:

    head          the leading layers that treat each image by itself, up to the first large dense
                  one: the batch is dealt out in groups of GROUP images; each thread takes whole
                  groups through all of them, and their activations stay in its own cache
    the others    run on the whole batch, their weights dealt out to the threads

("data parallelism" and "model parallelism" of Krizhevsky 2014, "One weird trick for parallelizing
convolutional neural networks", inside one process.)

What the layers of the head compute is the page's, group by group.  The gradient of the batch is the
sum of those of its groups, since the loss is a sum over images; they are added in the order of the
groups.  Neither depends on the threads: 1, 2 or 4 of them give the same bits.
"""

import contextlib
import threading

import numpy as np

from minialex.fast.threads import GROUP, map_threads
from minialex.layers import sequential as page
from minialex.layers.layer import check_input
from minialex.params import named_arrays, zeros_like
from minialex.twin import TWINS, Twin


class Sequential(Twin, page.Sequential, device="cpu"):
    head = 0  # how many of the layers run in micro-batches: `accelerate` sets it

    @property
    def form(self):
        """What `repr` says."""
        return f"fast: layers 0 to {self.head - 1} in micro-batches"

    def forward(self, x):
        head, rest = parts_of(self)
        groups, shared = self._groups(x)
        with sharing(shared):
            results = map_threads(lambda group: head.forward(x[group]), groups)
        y, last = rest.forward(np.concatenate([y for y, _ in results]))
        return y, (groups, [cache for _, cache in results], shared, last)

    def backward(self, dy, cache, grad):
        (head, rest), (groups, caches, shared, last) = parts_of(self), cache
        of_head, of_rest = divided(grad, self.head)
        # Contiguous, as the layer below runs over the channels innermost.
        dy = np.ascontiguousarray(rest.backward(dy, last, of_rest))
        added = [threading.Event() for _ in groups]  # of each: whether its gradient is in the sum

        def run(k):
            own = of_head if k == 0 else zeros_like(of_head)
            try:
                dx = head.backward(dy[groups[k]], caches[k], own)
                if k > 0:
                    added[k - 1].wait()
                    add(of_head, own)
            except BaseException:
                for group in added:  # let nobody wait for this one
                    group.set()
                raise
            added[k].set()
            return dx

        with sharing(shared):
            dx = map_threads(run, range(len(groups)))
        return None if dx[0] is None else np.concatenate(dx)

    def __call__(self, x):
        head, rest = parts_of(self)
        groups, shared = self._groups(x)
        with sharing(shared):
            y = np.concatenate(map_threads(lambda group: head(x[group]), groups))
        return rest(y)

    def _groups(self, x):
        """The groups of the batch, and what the layers share while these run."""
        check_input(self, x)  # __call__ comes here past the seal
        if x.ndim == 0:
            raise ValueError("Sequential: expected a batch of images, got a number")
        groups = groups_of(len(x))
        return groups, share(parts_of(self)[0], (len(x[groups[0]]), *x.shape[1:]))


def parts_of(layer, device="cpu"):
    """The head and the others, as chains; made of no layers, so that none is numbered anew."""
    parts = [page.Sequential(), page.Sequential()]
    parts[0].layers, parts[1].layers = layer.layers[: layer.head], layer.layers[layer.head :]
    if device == "gpu":  # where a chain joins layers
        for part in parts:
            part.__class__ = TWINS[page.Sequential, device]
    return parts


def divided(grad, head):
    """The `grad` of the head, and that of the others."""
    of_head = {key: part for key, part in grad.items() if int(key) < head}
    return of_head, {str(int(key) - head): part for key, part in grad.items()}


def share(head, shape):
    """(layer, what it shares) of each layer inside that can share, for groups of `shape`."""
    wanted = []
    for _, layer in head.leaves():
        if hasattr(layer, "share"):
            wanted.append((layer, shape))
        try:
            shape = (shape[0], *layer.output_shape(shape[1:]))
        except ValueError:  # x is not of its form, as it will say itself
            return []
    if 0 in shape:
        return []
    return map_threads(lambda pair: (pair[0], pair[0].share(pair[1])), wanted)


def groups_of(N):
    """The groups of a batch of N images."""
    return [slice(start, min(N, start + GROUP)) for start in range(0, max(1, N), GROUP)]


def add(total, part):
    """total += part, array by array."""
    for (into, key, _), (other, _, _) in zip(named_arrays(total), named_arrays(part), strict=True):
        into[key] += other[key]


@contextlib.contextmanager
def sharing(shared):
    """Let layers find what `share` gave in `layer.shared`; one that stands twice, both."""
    for layer, values in shared:
        layer.shared = {**(layer.shared or {}), **values}
    try:
        yield
    finally:
        for layer, _ in shared:
            layer.shared = None
