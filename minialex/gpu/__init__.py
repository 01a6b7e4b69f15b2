"""The GPU's twins, one file per page, its kernels in a .cu file; devices, and diagnosis."""

# ruff: noqa: F401 -- each of them registers its twins
from minialex.gpu import activations, conv, dropout, linear, lrn, optim, pool, sequential
