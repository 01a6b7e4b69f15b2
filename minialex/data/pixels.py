"""Pixels -- a photo stays bytes for as long as it can, and becomes numbers where they are used.

A pipeline ends in the same steps for every photo: ToArray, perhaps ColourShift, Normalize.  For a pixel value p in
0..255, one and the same colour for all pixels of a photo, and the mean and deviation of its channel, together

    y = (p / 255 + colour - mean) / std

`split_transform` takes these steps off the pipeline.  What is left, cropping and scaling, the loading threads do,
on bytes; this formula is computed for a whole batch at once, on the device that trains (`Finish`).  So threads
do less, and a batch that waits or travels to a GPU has a quarter of the size: 3 bytes a pixel, not 12.

The operations and their order are those of the single steps, and each of them, a division, sum or difference of
float32, is rounded correctly on either device (IEEE 754): nothing here is a product followed by a sum, which a GPU
would round once instead of twice.  So the numbers are the same to the bit, wherever they are computed.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from minialex.backend import Array, batch_slices, get_xp
from minialex.data.colour import ColourShift
from minialex.data.compose import Compose
from minialex.data.transforms import CenterCrop, Normalize, Resize, ToArray, Transform, check_rgb


@dataclass(frozen=True)
class Finish:
    """y = (p / 255 + colour - mean) / std for a batch, one mean and std a channel, in units of p / 255."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __call__(self, pixels: Array, colours: Array | None = None) -> Array:
        """float32 (N, H, W, 3) of pixels uint8 (N, H, W, 3) and, if any, colours float32 (N, 3); same device."""
        if get_xp(pixels) is np:
            return self.plain(pixels, colours)
        colours = np.float32(0) if colours is None else colours[:, None, None, :]
        return _fused()(pixels, colours, *self.mean, *self.std)

    def plain(self, pixels: Array, colours: Array | None = None) -> Array:
        """The same, step by step, for arrays of either device."""
        xp = get_xp(pixels)
        N, H, W, C = pixels.shape
        y = xp.empty(
            (N, H, W * C), dtype=np.float32
        )  # rows of W * C: NumPy is slow where the last axis is 3 long
        mean, std = (
            xp.asarray(np.tile(np.asarray(v, np.float32), W)) for v in (self.mean, self.std)
        )
        for images in batch_slices(y):
            part = y[images]
            xp.divide(
                pixels[images].reshape(part.shape), np.float32(255), out=part, dtype=np.float32
            )
            if colours is not None:
                part += xp.tile(colours[images], W)[:, None]
            part -= mean
            part /= std
        return y.reshape(N, H, W, C)


@functools.cache
def _fused() -> Any:
    """`Finish.plain` as one kernel: each pixel is read once and each number written once."""
    import cupy

    numbers = [f"float32 {name}{channel}" for name in ("mean", "std") for channel in range(3)]
    return cupy.ElementwiseKernel(
        ", ".join(("uint8 p", "float32 colour", *numbers)),
        "float32 y",
        """
        const int channel = i % 3;
        const float mean = channel == 0 ? mean0 : channel == 1 ? mean1 : mean2;
        const float std = channel == 0 ? std0 : channel == 1 ? std1 : std2;
        y = (p / 255.0f + colour - mean) / std;
        """,
        "minialex_finish",
    )


@dataclass(frozen=True)
class ToBytes:
    """The part of a pipeline that works on one photo: called as `to_bytes(image, rng)`.

    It returns the pixels, uint8 (H, W, 3), and the photo's random colour, (3,), or None without ColourShift.
    """

    crops: Compose
    shift: ColourShift | None = None

    def __call__(
        self, image: Any, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        image = self.crops(image, rng)
        check_rgb("ToArray", image)
        return np.asarray(image), None if self.shift is None else self.shift.draw(rng)


def split_transform(transform: Transform) -> tuple[ToBytes, Finish] | None:
    """`transform` as (what is done to a photo, what is done to a batch); None where it does not end as above."""
    steps: list[Any] = list(transform.transforms) if isinstance(transform, Compose) else [transform]
    last, finish, shift = steps.pop(), Finish(), None
    if isinstance(last, Normalize) and len(last.mean) == 3 and steps:
        last, finish = steps.pop(), Finish(last.mean, last.std)
    if isinstance(last, ColourShift) and steps:
        last, shift = steps.pop(), last
    return (ToBytes(Compose(tuple(steps)), shift), finish) if isinstance(last, ToArray) else None


def fixed_part(transform: Transform) -> tuple[Compose, Transform]:
    """`transform` as (its first steps, which are the same in every epoch, the rest)."""
    if not isinstance(transform, Compose):
        return Compose(()), transform
    steps = transform.transforms
    random = (k for k, step in enumerate(steps) if not isinstance(step, Resize | CenterCrop))
    first = next(random, len(steps))
    return Compose(steps[:first]), Compose(steps[first:])
