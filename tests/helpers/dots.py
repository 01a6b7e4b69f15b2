"""Datasets in memory and networks of a few layers, that several files of tests use."""

import numpy as np

import minialex as mx
from device import on_device


def network():
    rng = np.random.default_rng(0)
    return on_device(
        mx.Sequential(
            mx.Sequential(mx.Conv2d(3, 4, 3, rng=rng), mx.ReLU(), mx.MaxPool2d(2)),
            mx.Flatten(), mx.Linear(36, 8, rng=rng), mx.Tanh(), mx.Linear(8, 2, rng=rng),
        )
    )  # fmt: skip


class Dots:
    """Pictures of noise in one colour more than in the others, in memory."""

    classes = ("red", "green", "blue")

    def __init__(self, length, start=0, side=8):
        self.length, self.start, self.side = length, start, side

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        pixels = np.random.default_rng(self.start + i).uniform(0, 0.5, (self.side, self.side, 3))
        pixels[..., i % 3] *= 2
        return pixels.astype(np.float32), i % 3


def two_layers():
    return mx.Sequential(*(mx.Linear(2, 2, rng=np.random.default_rng(i)) for i in range(2)))


def numbers(**options):
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal(2).astype(np.float32), i % 2) for i in range(4)]
    return mx.DataLoader(data, 4, lambda x, rng: x, **options)
