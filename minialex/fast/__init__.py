"""The CPU's twins: one file per page, each derived from it; and what they share."""

from minialex.fast import activations, conv, dropout, linear, lrn, optim, pool, sequential

__all__ = [
    "activations", "conv", "dropout", "linear", "lrn", "optim", "pool", "sequential",
]  # fmt: skip
