"""Slices -- the weights of large dense layers, dealt out to ranks (see ranks.py).

A dense layer has many weights and does little with each.  To deal out its images, as the
convolutions do theirs, would be to add gradients as large as its weights, step by step.  So it is
done the other way round: each rank takes the images of all, and owns some of the weights.  A layer
W (D, F) of N images is cut by its inputs into slices s, on any number of ranks the same ones:

    forward    y = x[:, s1] W[s1] + x[:, s2] W[s2] + ...    a rank has the terms of its own slices,
                                                            which travel along the ranks and are
                                                            added in this order: N F numbers
    backward   dW[s] = x[:, s]^T dy                         stays where it is
               dx[:, s] = dy W[s]^T                         goes to all: N D numbers
    update     W[s] and the optimizer's numbers of W[s]     by their owner alone

One process computes the same slices, one after another (fast/linear.py), and an update moves each
number by itself; so the bits are the same.  What is not in such a slice, such as the last layer of
two classes, each rank computes and moves alike.

Between two steps a rank knows its own slices, with their gradient, and of the others what they
were.  So before weights are shown to anybody, or saved, `collect` gives them to all, and before a
save the vectors of the optimizer.

Reference: Krizhevsky (2014), "One weird trick for parallelizing convolutional neural networks",
arXiv 1404.5997, section 4, scheme (a): data parallelism in convolutional layers, "model
parallelism" in dense ones.  (Cut by inputs, a slice of W is whole rows, which lie side by side in
theta; and of AlexNet's first dense layer, y is smaller than x, so that less has to be added.)
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.attach import head_of, is_chain, is_large
from minialex.fast import linear as fast
from minialex.fast.linear import gradients, slices, terms
from minialex.layers import Linear
from minialex.layers.layer import check_input
from minialex.params import Params, family, named_arrays
from minialex.train.ranks import HERE
from minialex.twin import OptimizerTwin
from minialex.xp import Array


class Sliced(Linear):
    """A Linear of which this rank owns some slices; x, y, dx and dy are those of all images."""

    page = Linear  # which `accelerate` and `plain` make of it again
    input_grad = True

    def forward(self, x: Array) -> tuple[Array, Array]:
        check_input(self, x, ("N", self.in_features))
        weight = self.params["weight"]
        found = terms(x, weight, owned(weight)).reshape(-1, weight.shape[1] * len(x))
        y = np.ascontiguousarray(HERE.add(found).reshape(-1, len(x)).T)
        if self.bias:
            y += self.params["bias"]
        return y, x

    def backward(self, dy: Array, x: Array, grad: Params) -> Array | None:
        weight = self.params["weight"]
        if self.bias:
            dy.sum(axis=0, out=grad["bias"])
        dx = gradients(dy, x, weight, grad["weight"], owned(weight), self.input_grad)
        return None if dx is None else np.ascontiguousarray(HERE.whole([dx], x).T)


def owned(weight: Array, rank: int | None = None) -> list[slice]:
    """The slices of `weight` that are this rank's, or another's; the first has some in any case."""
    own, rank = slices(weight), HERE.index if rank is None else rank
    first, end = (-(-len(own) * k // HERE.size) for k in (rank, rank + 1))
    return own[first:end]


def rows_of(weight: Array, rank: int) -> slice:
    """The rows of `weight` that are a rank's."""
    own = owned(weight, rank)
    return slice(own[0].start, own[-1].stop) if own else slice(0, 0)


def after_head(layer: Any) -> Iterator[Any]:
    """The layers that run one after the other, on whole batches: not those of a head."""
    if not (is_chain(layer) and layer.children()):
        yield layer
        return
    for child in list(layer.children().values())[head_of(layer) :]:
        yield from after_head(child)


def begin(run: Any) -> None:
    """Deal out the large dense layers of `run`, a Training whose ranks have the same weights."""
    layers, chain = list(family(run.net)), after_head(getattr(run.net, "above", run.net))
    once = (layer for layer in chain if layers.count(layer) == 1)
    ours = isinstance(run.optimizer, OptimizerTwin)  # another may look at all of theta
    large: list[Any] = [one for one in once if ours and type(one) is fast.Linear and is_large(one)]
    for layer in large:
        layer.__class__ = Sliced
    run.optimizer.own = list(own_parts(run)) if large else None


def own_parts(run: Any) -> Iterator[slice]:
    """The parts of theta that this rank moves."""
    dealt, end = list(map(id, weights(run, run.model.params))), 0
    for owner, key, _ in named_arrays(run.model.params):
        array = owner[key]
        start, end = end, end + array.size
        row = max(1, math.prod(array.shape[1:]))
        rows = rows_of(array, HERE.index) if id(array) in dealt else slice(0, array.size // row)
        yield slice(start + rows.start * row, start + rows.stop * row)


def weights(run: Any, params: Params) -> Iterator[Array]:
    """The arrays in `params`, which are like the model's, of the weights that are dealt out."""
    dealt = [id(layer.params) for layer in family(run.net) if type(layer) is Sliced]
    pairs = zip(named_arrays(run.model.params), named_arrays(params), strict=True)
    for (owner, key, name), (other, _, _) in pairs:
        if id(owner) in dealt and key == "weight" and name not in run.optimizer.frozen:
            yield other[key]


def collect(run: Any, state: bool = True) -> None:
    """Let every rank have all of the weights, and with `state` of the optimizer's vectors."""
    optimizer = run.optimizer
    vectors = optimizer.state.values() if state else ()
    for params in [run.model.params, *map(optimizer.views, vectors)]:
        for array in weights(run, params):
            for rank in range(HERE.size):
                HERE.share([array[rows_of(array, rank)]], rank)
