"""The GPU's twins, one file per page, its kernels in a .cu file; devices, and diagnosis."""

from minialex.gpu import activations, conv, dropout, linear, lrn, optim, pool, sequential

__all__ = [
    "activations", "conv", "dropout", "linear", "lrn", "optim", "pool", "sequential",
]  # fmt: skip
