"""Scratch memory, and batches in pieces that the processor's cache holds."""

import math
import threading
from collections.abc import Iterator

import numpy as np

from minialex.xp import Array

_buffers = threading.local()

CACHE_BYTES = 1 << 20  # what passes over so much of a batch several times finds it in the cache


def scratch(like: Array, name: str, shape: tuple[int, ...]) -> Array:
    """Uninitialized memory of `like`'s dtype, valid until the same thread asks for `name` again.

    Large NumPy arrays come from the operating system page by page, which costs more than filling
    them; so each thread keeps its buffers.
    """
    size = like.dtype.itemsize * math.prod(shape)
    buffer = _buffers.__dict__.get(name)
    if buffer is None or buffer.size < size:
        buffer = _buffers.__dict__[name] = np.empty(size, dtype=np.uint8)
    return buffer[:size].view(like.dtype).reshape(shape)


def packed(view: Array, name: str) -> Array:
    """A contiguous copy of `view` in scratch memory."""
    copy = scratch(view, name, view.shape)
    copy[...] = view
    return copy


def batch_slices(x: Array, image_bytes: int = 0, limit: int = CACHE_BYTES) -> Iterator[slice]:
    """Slices of the batch x (N, ...), each of one image or of as many as take about `limit` bytes.

    `image_bytes` is what an image takes; 0: what it takes in x itself.
    """
    N = len(x)
    step = max(1, limit // max(1, image_bytes or x.nbytes // max(1, N)))
    for start in range(0, N, step):
        yield slice(start, start + step)
