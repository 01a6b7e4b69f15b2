"""The CPU's twins: one file per page, each derived from it; and what they share."""

# ruff: noqa: F401 -- each of them registers its twins
from minialex.fast import activations, conv, dropout, linear, lrn, optim, pool, sequential
