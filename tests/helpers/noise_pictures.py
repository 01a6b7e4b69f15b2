"""Noise to load: single images, a dataset that notes what is loaded, and pipelines for it."""

import threading

import numpy as np
import pytest
from PIL import Image

from minialex.data import (
    ColourShift,
    Compose,
    DataLoader,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    ToArray,
)
from minialex.errors import DataError

CROPS = (RandomCrop(8), ToArray())
PAPER = (*CROPS, ColourShift(((0.2, 0.2, 0.2),)), Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
TRANSFORM = Compose([RandomCrop(8), RandomHorizontalFlip(), ToArray()])
WORKERS = [0, 1, 2, 4]


def generator(seed=0):
    return np.random.default_rng(seed)


def noise(width, height, seed=0):
    return Image.fromarray(generator(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Pictures:
    """`n` noise images; counts what was loaded, and fails at the indices in `bad`."""

    classes = ("even", "odd")

    def __init__(self, n=23, bad=(), size=10):
        self.n, self.bad, self.size = n, bad, size
        self.loaded, self.changed = [], threading.Condition()

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        with self.changed:
            self.loaded.append(index)
            self.changed.notify_all()
        if index in self.bad:
            raise DataError(f"picture {index} is damaged")
        return noise(self.size, self.size, seed=index), index % 2


def loader(dataset=None, batch_size=4, **options):
    return DataLoader(
        dataset or Pictures(), batch_size, options.pop("transform", TRANSFORM), **options
    )


def same(a, b):
    """Whether two lists of batches hold the same numbers."""
    return len(a) == len(b) and all(
        np.array_equal(p, q)
        for one, two in zip(a, b, strict=True)
        for p, q in zip(one, two, strict=True)
    )


def loading_threads():
    """The threads of a DataLoader that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("minialex-data")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert loading_threads() == []
