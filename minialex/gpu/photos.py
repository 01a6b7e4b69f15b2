"""Photos that live in the GPU's own memory, and are cropped, scaled and mirrored there.

A batch of photos crosses to the GPU in a millisecond, but a processor needs a millisecond to crop
and scale *one*, and a fast GPU trains on fourteen in that time.  So where photos fit into its
memory as bytes, they are copied there once, and all that still crosses are views, nine numbers per
photo (data/views.py).  Two kernels make images of them, byte by byte those that Pillow makes on the
CPU: taps.cu finds how much which pixels weigh, photos.cu adds them up.
"""

import math

import numpy as np

from minialex.gpu.kernel import Kernel
from minialex.xp import Array, get_xp, to_device

TAPS = Kernel("taps.cu", "find_taps",
    "raw int32 start, raw int32 stop, raw int32 end, int32 size, int32 width", "raw int32 taps",
    "const Index n = i / size;"
    " find_taps(start[n], stop[n], end[n], i % size, size, &taps[Index(i) * width])")  # fmt: skip
CUT = Kernel("photos.cu", "cut",
    "raw int64 addresses, raw int32 views, raw int32 across, raw int32 down, int32 w, int32 h,"
    " int32 width", "uint8 y",
    "y = cut(addresses, views, across, down, Index(i), w, h, width)")  # fmt: skip


class GpuPhotos:
    """A dataset of photos in the GPU's memory, uint8 (H, W, 3) each, `nbytes` in all.

    photos[i] is ((i, W, H), label).  `add` all photos, then `close`.
    """

    def __init__(self) -> None:
        self.pixels: list[Array] = []
        self.labels: list[int] = []
        self.nbytes = 0

    def add(self, pixels: np.ndarray, label: int) -> None:
        """Copy one more photo to the GPU."""
        self.pixels.append(to_device(pixels, "gpu"))
        self.labels.append(label)
        self.nbytes += pixels.nbytes

    def close(self, size: tuple[int, int]) -> None:
        """There are no more photos; the images that are cut from them are of `size`, (h, w)."""
        addresses = np.array([photo.data.ptr for photo in self.pixels], np.int64)
        self.size, self.addresses = size, to_device(addresses, "gpu")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[tuple[int, int, int], int]:
        H, W, _ = self.pixels[index].shape
        return (index, W, H), self.labels[index]

    def cut(self, views: Array, on_host: np.ndarray) -> Array:
        """Images uint8 (N, h, w, 3) of `views`, int32 (N, 9) on the GPU, of which the host has a
        copy."""
        xp, N, (h, w) = get_xp(views), len(views), self.size
        # Columns of a view: left, right and width; top, bottom and height.
        width, axes = 2 + most_taps(on_host, h, w), ((w, 4, 6, 2), (h, 5, 7, 3))
        taps = [xp.empty((N, size, width), np.int32) for size, *_ in axes]
        if width > 2:
            for (size, *axis), one in zip(axes, taps, strict=True):
                TAPS(*(views[:, k] for k in axis), size, width, one, size=N * size)
        images = xp.empty((N, h, w, 3), np.uint8)
        CUT(self.addresses, views, *taps, w, h, width, images)
        return images


def most_taps(views: np.ndarray, h: int, w: int) -> int:
    """The most pixels in a line that make one of an image; 0 where none of `views` is scaled."""
    _, _, _, _, left, top, right, bottom, _ = views.T
    if np.all(right - left == w) and np.all(bottom - top == h):
        return 0
    return 1 + 2 * math.ceil(max(1, (right - left).max() / w, (bottom - top).max() / h))
