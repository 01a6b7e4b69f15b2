"""Networks of which the lower layers are frozen: those cost a training step as little as can be.

    images -> [first] -> [rest] -> features -> [above] -> logits

`above` begins with the lowest layer that trains.  The backward pass ends there, since below it is
no gradient that anybody needs; so the layers below run without caches.  `first` are those of them
that give an image the same output each time.  Where no transform changes the images from epoch to
epoch either, it is enough to run `first` once: its outputs are kept, and training, and validation,
go on from them.
"""

import contextlib
import copy
import functools
import math
from typing import Any

import numpy as np

from minialex import attach
from minialex.data import DataLoader
from minialex.data.cache import is_ours
from minialex.layers import Layer, Sequential
from minialex.params import Params, named_arrays
from minialex.seeds import number_streams
from minialex.train.memory import show_bytes
from minialex.train.model_file import FIXED
from minialex.train.prefetch import device_batches
from minialex.xp import Array, to_cpu

MOST = 1 << 30  # bytes of outputs that are kept


class Upper(Layer):
    """A network, x -> y, whose backward ends where it begins to train.

    It is of the layers of another network, and its backward takes that one's `grad`.
    """

    def __init__(self, below: list[Layer], above: dict[str, Layer]):
        super().__init__()
        length = attach.head_length(below)
        self.first, self.rest = Sequential(*below[:length]), Sequential(*below[length:])
        self.above, self.names = Sequential(*above.values()), list(above)
        self.params = {"above": self.above.params}
        self.after_first = False  # whether x is what `first` gave

    def children(self) -> dict[str, Layer]:
        return {"first": self.first, "rest": self.rest, "above": self.above}

    def features(self, x: Array) -> Array:
        """What `above` gets."""
        return self.rest(x if self.after_first else self.first(x))

    def forward(self, x: Array) -> tuple[Array, Any]:
        return self.above.forward(self.features(x))

    def backward(self, dy: Array, cache: Any, grad: Params) -> None:
        def inside(part: Params, key: str) -> Params:
            return part.get(key, {})  # {}: no parameters

        parts = [functools.reduce(inside, name.split("."), grad) for name in self.names]
        self.above.backward(dy, cache, {str(i): part for i, part in enumerate(parts)})

    def __call__(self, x: Array) -> Array:
        return self.above(self.features(x))


def upper_part(run: Any) -> Layer:
    """The network that `run`, a Training, trains: its model, or where layers below are frozen, an
    Upper of it.
    """  # fmt: skip
    parts, frozen = list(attach.chain(run.model)), run.optimizer.frozen
    names = [{name for *_, name in named_arrays(layer.params, key)} for key, layer in parts]
    lowest = next(i for i, own in enumerate(names) if own - frozen)
    if not any(names[:lowest]):
        return run.model
    upper = Upper([layer for _, layer in parts[:lowest]], dict(parts[lowest:]))
    number_streams(run.model)  # as it was
    if not run.plain:
        attach.accelerate(upper, algorithm=run.algorithm)
        attach.accelerate(upper.above, algorithm=run.algorithm, input_grad=False)
    return upper


def keep_outputs(run: Any) -> bool:
    """Where they stay the same, compute what the frozen layers give once; whether that was done.

    The loaders of `run` then load that in place of images.
    """
    net, loaders = run.net, [loader for loader in (run.loader, run.val) if loader is not None]
    if net is run.model or not net.first.layers or not all(map(same_each_time, loaders)):
        return False
    x, _ = next(DataLoader(run.loader.dataset, 1, run.loader.transform).epoch(0))
    shape, images = net.first.output_shape(x.shape[1:]), sum(len(one.dataset) for one in loaders)
    need = images * math.prod(shape) * x.itemsize
    if need > MOST or run.memory_limit:
        run.screen.line(f"frozen layers run in each epoch: {show_bytes(need)} would be too much")
        return False
    run.loader, run.val = (loader and outputs(run, loader) for loader in (run.loader, run.val))
    net.after_first = True
    run.screen.line(f"frozen layers ran once: {show_bytes(need)} of memory keep their outputs")
    return True


def same_each_time(loader: DataLoader) -> bool:
    """Whether it gives an image the same way in each epoch, as far as can be known."""
    fixed = all(type(step) in FIXED for step in loader.transform.transforms)
    return fixed and (isinstance(loader.dataset, list | tuple) or is_ours(loader.dataset))


def outputs(run: Any, loader: DataLoader) -> DataLoader:
    """A loader like `loader`, of what the first layers give for its images."""
    in_order, found = copy.copy(loader), list[tuple[np.ndarray, int]]()
    in_order.shuffle = in_order.drop_last = False
    batches = device_batches(in_order, run.device, epoch=0)
    with contextlib.closing(batches), run.screen.bar("frozen", len(loader.dataset)) as bar:
        for x, labels in batches:
            y = np.array(to_cpu(run.net.first(x)))
            found += zip(y, to_cpu(labels).tolist(), strict=True)
            bar.update(len(x))
    kept = copy.copy(loader)
    kept.read_from(found, lambda y, rng: y)
    return kept
