"""Scratch memory, and batches in pieces that the processor's cache holds."""

import math
import threading

import numpy as np

_buffers = threading.local()

CACHE_BYTES = 1 << 20  # what passes over so much of a batch several times finds it in the cache


def scratch(like, name, shape):
    """Uninitialized memory of `like`'s dtype, valid until the same thread asks for `name` again.

    Large NumPy arrays come from the operating system page by page, which costs more than filling
    them; so each thread keeps its buffers.
    """
    size = like.dtype.itemsize * math.prod(shape)
    buffer = _buffers.__dict__.get(name)
    if buffer is None or buffer.size < size:
        buffer = _buffers.__dict__[name] = np.empty(size, dtype=np.uint8)
    return buffer[:size].view(like.dtype).reshape(shape)


def packed(view, name):
    """A contiguous copy of `view` in scratch memory."""
    copy = scratch(view, name, view.shape)
    copy[...] = view
    return copy


def batch_slices(x, image_bytes=0, limit=CACHE_BYTES):
    """Slices of the batch x (N, ...), each of one image or of as many as take about `limit` bytes.

    `image_bytes` is what an image takes; 0: what it takes in x itself.
    """
    N = len(x)
    step = max(1, limit // max(1, image_bytes or x.nbytes // max(1, N)))
    for start in range(0, N, step):
        yield slice(start, start + step)
