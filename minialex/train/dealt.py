"""Dealt -- a training run whose convolutions are dealt out to ranks (see ranks.py).

`Dealt` stands in for Sequential's twin in the network: it takes the images of this rank through the
head, and gives the outputs of the whole batch.  So nothing else in the network, and nothing in the
loop, knows that there are ranks.  Where there is no such head, as in a network of dense layers,
every rank gets all images.  Large dense layers are dealt out in another way, see slices.py; all
else, and by --plain everything, every rank computes alike.
"""

import contextlib
import copy
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from minialex.attach import head_of, is_chain, mixers
from minialex.errors import ConfigError
from minialex.fast.sequential import divided, groups_of, parts_of, share, sharing
from minialex.fast.threads import GROUP, cpu_count, map_threads
from minialex.layers import Sequential
from minialex.params import Params, count_parameters, dict_like, family, named_arrays
from minialex.train import slices
from minialex.train.ranks import HERE, join
from minialex.train.saving import told
from minialex.train.screen import Silent
from minialex.xp import Array, get_xp, to_cpu, where_is


def prepare(run: Any) -> None:
    """Let `run`, a Training, load this rank's images; and show and write on rank 0 only.

    Raises ConfigError where it cannot be dealt out, or ranks were told, or have, different things.
    """
    if join().size == 1:
        return
    HERE.agreed = False
    HERE.together(lambda: check(run))
    loaders = {"training": run.loader, "validation": run.val}
    images = {f"{part} images": digest(one.dataset) for part, one in loaders.items() if one}
    HERE.check({**versions(), **told(run), **images, "forms": (run.plain, run.algorithm)})
    if HERE.index:
        run.run, run.screen = None, Silent()
    run.loader, run.val = copy.copy(run.loader), copy.copy(run.val)
    for loader in filter(None, (run.loader, run.val)):
        loader.ranks = HERE


def check(run: Any) -> None:
    """Raise ConfigError for a run that several ranks cannot make."""
    if whole := list(mixers(run.model)):
        raise ConfigError(f"{whole[0]} needs all images of a batch: train it on one rank")
    if run.memory_limit:
        raise ConfigError("--memory-limit is for one rank; here, use a smaller --batch-size")


def begin(run: Any) -> None:
    """Begin where rank 0 does, which may resume a run; deal out the groups of `run.net`."""
    if HERE.size == 1:
        return
    buffers = [layer.buffers for layer in family(run.model)]
    found = HERE.together(lambda: (run.progress, run.optimizer.t, buffers), first=True)
    run.progress, run.optimizer.t, found = found
    for own, values in zip(buffers, found, strict=True):
        own.update(values)
    HERE.share([run.optimizer.theta, *run.optimizer.state.values()])
    layer: Any = run.net
    while not head_of(layer) and is_chain(layer) and layer.children():
        layer = next(iter(layer.children().values()))
    HERE.dealt = head_of(layer) > 0
    if HERE.dealt:
        layer.__class__ = Dealt
    slices.begin(run)
    threads = f"{cpu_count()} thread{'s' * (cpu_count() > 1)} each"
    run.screen.line(f"{HERE.size} ranks, {threads}: {'; '.join(HERE.names)}")


def digest(dataset: Any) -> str:
    """What tells datasets apart: labels, and names of files; of lists of pairs, three arrays."""
    found: list[Any] = [list(getattr(dataset, name, ())) for name in ("names", "labels")]
    if isinstance(dataset, list | tuple) and not hasattr(dataset, "labels"):
        with contextlib.suppress(TypeError, ValueError):  # no pairs, as the loader will say
            images, found[1] = zip(*dataset, strict=True)
            few = (images[k] for k in (0, len(images) // 2, -1))
            found += [zlib.crc32(one.tobytes()) for one in few if isinstance(one, np.ndarray)]
    return f"{len(dataset)} ({zlib.crc32(repr(found).encode()):08x})"


def versions() -> dict[str, str]:
    """What decides about the last bits of a run."""
    kernels = [f"{one['internal_api']} {one.get('architecture')}" for one in threadpool_info()]
    found = {name: sys.modules[name].__version__ for name in ("minialex", "numpy", "PIL")}
    return {**found, "the library of matrix products": ", ".join(sorted(kernels))}


def end_epoch(run: Any) -> bool:
    """Give the weights to all ranks, and say whether to save, for which they have all there is.

    Raises ConfigError where ranks have come to different weights, as on two processors.
    """
    due = HERE.together(run.saved.is_due, first=True)
    slices.collect(run, state=due)
    if HERE.size > 1:
        HERE.check({"weights": zlib.crc32(to_cpu(run.optimizer.theta).tobytes())})
    return due


def save(run: Any, collected: bool = False) -> None:
    """Save all that it takes to go on, which all ranks have or else are given."""
    if not collected:
        slices.collect(run)
    HERE.together(run.saved.last)


def finish(run: Any) -> None:
    """Give the model of every rank its best weights, which rank 0 may have in a file."""
    HERE.together(run.saved.finish)
    HERE.share([run.optimizer.theta])


class Dealt(Sequential):
    """A Sequential with a head, which takes this rank's images and gives the outputs of all."""

    page = Sequential  # which `accelerate` and `plain` make of it again
    head: int

    def forward(self, x: Array) -> tuple[Array, Any]:
        head, rest = parts_of(self, where_is(x))
        groups, shared, found = self.by_groups(x, head.forward)
        whole = HERE.whole([y for y, _ in found], x)
        y, last = rest.forward(whole)
        return y, (x, len(whole), groups, shared, [cache for _, cache in found], last)

    def backward(self, dy: Array, cache: Any, grad: Params) -> None:
        x, N, groups, shared, caches, last = cache
        head, rest = parts_of(self, where_is(x))
        of_head, of_rest = divided(grad, self.head)
        dy = get_xp(dy).ascontiguousarray(rest.backward(dy, last, of_rest)[HERE.own(N)])
        rows = get_xp(dy).empty((len(groups), count_parameters(of_head)), dy.dtype)

        def run(k: int) -> None:
            head.backward(dy[groups[k]], caches[k], dict_like(of_head, rows[k]))

        with sharing(shared):
            each(dy, run, range(len(groups)))
        both = named_arrays(of_head), named_arrays(dict_like(of_head, HERE.add(rows)))
        for (into, key, _), (total, _, _) in zip(*both, strict=True):
            into[key][...] = total[key]

    def __call__(self, x: Array) -> Array:
        head, rest = parts_of(self, where_is(x))
        return rest(HERE.whole(self.by_groups(x, head)[2], x))

    def by_groups(self, x: Array, function: Callable[[Array], Any]) -> tuple[list[Any], Any, Any]:
        """The groups of x, what layers share while these run, and what `function` gives of each."""
        if HERE.idle:
            return [], [], []
        groups, length = groups_of(len(x)), GROUP if HERE.index else min(len(x), GROUP)
        shared = share(parts_of(self)[0], (length, *x.shape[1:]))  # as in one process
        with sharing(shared):
            return groups, shared, each(x, lambda group: function(x[group]), groups)


def each(x: Array, function: Callable[[Any], Any], items: Any) -> list[Any]:
    """function(item) of each item, on several threads, or where x is on a GPU on its own."""
    return map_threads(function, items) if where_is(x) == "cpu" else list(map(function, items))
