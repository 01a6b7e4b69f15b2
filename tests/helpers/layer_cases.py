"""Layers with inputs, drawn from seeds: case (kind, i) is the same in every run.

A kind is a layer in one of its forms: as its page says it, or accelerated, and then on the device
of the tests.  Accelerated and plain kinds of a layer draw the same layers and inputs.
"""

from typing import NamedTuple

import numpy as np

from device import DEVICE, on_device
from drawn_layers import (
    CrossEntropy,
    Strided,
    adaptive,
    any_shape,
    avgpool,
    avgpool_of_pairs,
    batch_norm,
    conv,
    conv_for_winograd,
    conv_of_pairs,
    conv_over_the_edge,
    convolving,
    dense,
    dense_without_bias,
    dropout,
    flat,
    loss,
    lrn,
    lrn_2d,
    lrn_in_groups,
    maxpool,
    nested,
    normalized,
    pool_of_pairs,
    relu_between,
    weighted_loss,
)
from minialex.attach import accelerate, loss_function
from minialex.layers import (
    LeakyReLU,
    ReLU,
    Sigmoid,
    Tanh,
)


class Kind(NamedTuple):
    """`count` cases of a layer in one form: draw(rng, i) -> a layer and its input."""

    seed: int
    count: int
    draw: object
    algorithm: str | None = None  # of an accelerated model; None: plain


KINDS = {
    "conv": Kind(0, 48, conv),
    "conv-im2col": Kind(0, 48, conv, "im2col"),
    "conv-winograd": Kind(1, 40, conv_for_winograd, "winograd"),
    "maxpool": Kind(2, 26, maxpool),
    "maxpool-fast": Kind(2, 26, maxpool, "auto"),
    "avgpool": Kind(3, 20, avgpool),
    "lrn": Kind(4, 24, lrn),
    "lrn-fast": Kind(4, 24, lrn, "auto"),
    "relu": Kind(5, 8, lambda rng, i: any_shape(rng, ReLU())),
    "relu-fast": Kind(5, 8, lambda rng, i: any_shape(rng, ReLU()), "auto"),
    "relu-inplace": Kind(6, 12, relu_between, "auto"),
    "tanh": Kind(7, 10, lambda rng, i: any_shape(rng, Tanh())),
    "sigmoid": Kind(8, 10, lambda rng, i: any_shape(rng, Sigmoid())),
    "dropout": Kind(9, 10, dropout),
    "dropout-fast": Kind(9, 10, dropout, "auto"),
    "linear": Kind(10, 12, dense),
    "linear-fast": Kind(10, 12, dense, "auto"),
    "flatten": Kind(11, 10, flat),
    "sequential": Kind(12, 10, nested),
    "sequential-fast": Kind(12, 10, nested, "auto"),
    "micro-batches": Kind(13, 12, convolving, "auto"),
    "cross-entropy": Kind(14, 12, loss),
    "cross-entropy-fast": Kind(14, 12, loss, "auto"),
    "conv-of-pairs": Kind(15, 24, conv_of_pairs),
    "conv-of-pairs-fast": Kind(15, 24, conv_of_pairs, "auto"),
    "maxpool-of-pairs": Kind(16, 24, pool_of_pairs),
    "maxpool-of-pairs-fast": Kind(16, 24, pool_of_pairs, "auto"),
    "avgpool-of-pairs": Kind(17, 12, avgpool_of_pairs),
    "batch-norm": Kind(18, 16, batch_norm),
    "adaptive-pool": Kind(19, 20, adaptive),
    "leaky-relu": Kind(20, 8, lambda rng, i: any_shape(rng, LeakyReLU((0.01, 0.3, 0)[i % 3]))),
    "linear-without-bias": Kind(21, 6, dense_without_bias),
    "linear-without-bias-fast": Kind(21, 6, dense_without_bias, "auto"),
    "weighted-loss": Kind(22, 12, weighted_loss),
    "weighted-loss-fast": Kind(22, 12, weighted_loss, "auto"),
    "conv-over-the-edge": Kind(24, 104, conv_over_the_edge),
    "conv-over-the-edge-im2col": Kind(24, 52, conv_over_the_edge, "im2col"),
    "conv-over-the-edge-fast": Kind(24, 52, conv_over_the_edge, "auto"),
    "lrn-in-groups": Kind(25, 104, lrn_in_groups),
    "lrn-in-groups-fast": Kind(25, 52, lrn_in_groups, "auto"),
    "lrn-2d": Kind(26, 104, lrn_2d),
    "lrn-2d-fast": Kind(26, 52, lrn_2d, "auto"),
    "normalized": Kind(23, 6, normalized),
    "normalized-fast": Kind(23, 6, normalized, "auto"),
}
if DEVICE == "gpu":
    del KINDS["conv-winograd"]  # it is for the CPU
else:
    del KINDS["cross-entropy-fast"], KINDS["weighted-loss-fast"]  # there is none but for a GPU
CASES = [(kind, i) for kind in KINDS for i in range(KINDS[kind].count)]


def leaf_names(layer):
    """The classes of the layers that compute, such as "Conv2d-ReLU"."""
    return "-".join(type(leaf).__name__ for _, leaf in layer.leaves())


def draw(kind, i):
    """A plain layer and its input on the host, as this kind draws them."""
    seed, _, draw, _ = KINDS[kind]
    return draw(np.random.default_rng([seed, i]), i)


def case_id(kind, i):
    """Such as "conv-im2col-7-Conv2d"."""
    return f"{kind}-{i}-{leaf_names(draw(kind, i)[0])}"


def has_input_grad(kind, i):
    """Whether backward returns dx: some accelerated layers were told not to."""
    return not (kind in ("conv-im2col", "conv-winograd") and i % 7 == 3) and not (
        kind == "micro-batches" and i % 5 == 3
    )


FORMS = ("plain", "auto", "im2col", "winograd")[: 3 if DEVICE == "gpu" else None]


def to_form(layer, form, **options):
    """`layer` on the device of the tests, as its pages say it, or accelerated with an algorithm."""
    layer = on_device(layer)
    if form != "plain":
        accelerate(layer, algorithm=form, **options)
    return layer.to(DEVICE)  # where there are no parameters, nothing else tells the device


def in_form(layer, kind, i=0):
    """`layer` on the device of the tests, in the form of this kind."""
    form = KINDS[kind].algorithm or "plain"
    if isinstance(layer, CrossEntropy):
        layer.loss = loss_function(DEVICE, fused=form != "plain")
        return layer
    return to_form(layer, form, input_grad=has_input_grad(kind, i))


def make(kind, i):
    """Layer and float64 input of case i of this kind; each third case is not contiguous."""
    layer, x = draw(kind, i)
    layer, x = in_form(layer, kind, i), on_device(x)
    return (Strided(layer, i % 2), x) if i % 3 == 2 else (layer, x)
