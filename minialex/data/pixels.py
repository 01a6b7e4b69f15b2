"""Pixels -- a photo stays bytes for as long as it can, and becomes floats where they are used.

Bytes are a quarter of the size: 3 per pixel, where float32 takes 12.  That counts while a batch
waits in memory or travels to a GPU.  We can wait with the floats, because every pipeline ends in
the same steps: ToArray, perhaps ColourShift, and Normalize.  For a pixel value p in 0..255, one
colour for all pixels of a photo, and the mean and deviation of a channel, they come to

    y = (p / 255 + colour - mean) / std

`split_transform` takes these steps off the pipeline.  The loading threads do what is left,
cropping and scaling, on bytes; `Finish` computes the formula for a whole batch at once, on the
device that trains.

Photos may also lie in the memory of a GPU (gpu/photos.py).  Then the threads crop and scale
nothing; they say by a `view` what is to be cut out of which one.

Images of other than three channels, and arrays of floats, have no such bytes: for them the threads
do all steps, and the batch is float32 from the start.

The result is the same to the bit, wherever it is computed.  The operations and their order are
those of the single steps, and each of them, a division, sum or difference of float32, is rounded
correctly on either device (IEEE 754): nothing here is a product followed by a sum, which a GPU
would round once instead of twice.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minialex.data import transforms as steps_of
from minialex.data.colour import ColourShift
from minialex.data.compose import Compose
from minialex.data.folder import for_side
from minialex.data.image import pixels_of
from minialex.data.transforms import CenterCrop, Normalize, Resize, ToArray, Transform
from minialex.errors import pair
from minialex.xp import Array, get_xp

CROPS: tuple[list[type], ...] = ([], [steps_of.RandomCrop], [steps_of.RandomResizedCrop])
# What a photo may go through, by kind, where it is cut from a view.
VIEWS = [[*crop, *flip] for crop in CROPS for flip in ([], [steps_of.RandomHorizontalFlip])]


def pieces(y: Array) -> list[slice]:
    """Slices of a batch of about 1 MB each: a processor's cache holds one through all its steps."""
    step = max(1, (1 << 20) // max(1, y[:1].nbytes))
    return [slice(start, start + step) for start in range(0, len(y), step)]


@dataclass(frozen=True)
class Finish:
    """y = (p / 255 + colour - mean) / std for a batch.

    `mean` and `std` hold a number per channel, in units of p / 255.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __call__(self, pixels: Array, colours: Array | None = None) -> Array:
        """y, float32 (N, H, W, 3), on the device of `pixels`, uint8 of the same shape.

        `colours`, if any, are float32 (N, 3) on that device.
        """
        xp = get_xp(pixels)
        N, H, W, C = pixels.shape
        # Rows of W * C numbers, because NumPy is slow where the last axis is only 3 long.
        y = xp.empty((N, H, W * C), dtype=np.float32)
        mean, std = (xp.asarray(np.tile(np.asarray(v, "f4"), W)) for v in (self.mean, self.std))
        for images in pieces(y):
            part = y[images]
            p = pixels[images].reshape(part.shape)
            xp.divide(p, np.float32(255), out=part, dtype=np.float32)
            if colours is not None:
                part += xp.tile(colours[images], W)[:, None]
            part -= mean
            part /= std
        return y.reshape(N, H, W, C)


class Elsewhere(NamedTuple):
    """A photo whose pixels lie elsewhere: its number there, and its size."""

    number: int
    width: int
    height: int


@dataclass(frozen=True)
class ToBytes:
    """The part of a pipeline that works on one photo: called as `to_bytes(image, rng)`.

    It returns the pixels, uint8 (H, W, 3), and the photo's random colour, (3,), or None without
    ColourShift.  Crops draw from `shared`, if given: images that share it are cropped alike.
    What has no such bytes goes through `rest` as well, and float32 is returned.  Of a
    photo that is Elsewhere, it returns the `view` in the place of the pixels.
    """

    crops: Compose
    shift: ColourShift | None
    rest: Compose

    def __call__(self, image: Any, rng: np.random.Generator, shared: Any = None
    ) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
        if isinstance(image, Elsewhere):
            pixels = self.view(image, shared or rng)
        else:
            image = self.crops(image, shared or rng)
            pixels = pixels_of(image)
            if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
                return self.rest(image, rng), None
        return pixels, None if self.shift is None else self.shift.draw(rng)

    def view(self, photo: Elsewhere, rng: np.random.Generator) -> np.ndarray:
        """What is to be cut out of a photo, int32 (9,); random numbers are drawn as ever.

        number                      of the photo
        first, width, height        its rows from number first on, and their size; what
                                    follows counts from there (see transforms.rows_to_cut)
        left, top, right, bottom    the part that is scaled to the network's size; where it
                                    reaches beyond the photo it is black
        mirrored                    1 or 0
        """
        number, width, height = photo
        first, mirrored, box = 0, False, (0, 0, width, height)
        for step in self.crops.transforms:
            if isinstance(step, steps_of.RandomHorizontalFlip):
                mirrored = step.draw(rng)
            elif isinstance(step, steps_of.RandomCrop | steps_of.RandomResizedCrop):
                box = step.draw_box(width, height, rng)
                rows = steps_of.rows_to_cut(width, height, box, pair(step.size))
                first = 0 if rows is None else rows.start
        left, top, right, bottom = box
        part = (left, top - first, right, bottom - first)
        return np.array((number, first, width, height - first, *part, mirrored), np.int32)


def split_transform(transform: Transform) -> tuple[ToBytes, Finish] | None:
    """`transform` as (the part for one photo, the part for a batch).

    None where it does not end in the steps above.
    """
    steps = transform.transforms if isinstance(transform, Compose) else (transform,)
    k, finish, shift = len(steps) - 1, Finish(), None  # k: where the step in question stands
    if k > 0 and isinstance(last := steps[k], Normalize) and len(last.mean) == 3:
        k, finish = k - 1, Finish(last.mean, last.std)
    if k > 0 and type(last := steps[k]) is ColourShift:
        k, shift = k - 1, last
    if k < 0 or not isinstance(steps[k], ToArray):
        return None
    return ToBytes(Compose(steps[:k]), shift, Compose(steps[k:])), finish


def fixed_part(transform: Compose) -> tuple[Compose, Compose]:
    """`transform` as (its first steps, which are the same in every epoch, the rest)."""
    steps = transform.transforms
    random = (k for k, step in enumerate(steps) if not isinstance(step, Resize | CenterCrop))
    first = next(random, len(steps))
    return Compose(steps[:first]), Compose(steps[first:])


def square_side(side: int) -> int:
    """The paper's 256 pixels, in proportion to the `side` of the network's images."""
    return round(side * 256 / 227)


def needed_side(transform: Transform) -> int | None:
    """The fewest pixels that a photo's sides need for `transform`; None where it does not say.

    It is the size that photos are scaled to.  Of random crops, which are evaluated by a middle
    crop, it is the size that evaluation scales to, so that all see the same pixels.
    """
    steps = transform.transforms if isinstance(transform, Compose) else (transform,)
    first = steps[0] if steps else None
    if isinstance(first, steps_of.RandomResizedCrop):
        return square_side(max(pair(first.size)))
    return max(pair(first.size)) if isinstance(first, Resize) else None


def decoded_for(dataset: Any, transform: Transform) -> Any:
    """`dataset`, whose photos are decoded as large as `transform` needs them, and not larger."""
    side = needed_side(transform)
    return dataset if side is None else for_side(dataset, side)
