"""Photos that live in the GPU's own memory, and are cropped, scaled and mirrored there.

A batch of photos is copied to the GPU in less than a millisecond, but a core of the processor takes
about that long to crop and scale *one*, and a fast GPU trains on several in that time.  So where
photos fit into its memory as bytes, they are copied there once, and all that still crosses are
views, nine numbers per photo (`ToBytes.view` in data/pixels.py).  Two kernels make images of them,
byte by byte those that Pillow makes on the CPU: taps.cu finds how much which pixels weigh,
photos.cu adds them up.
"""

import math

import numpy as np

from minialex.data.pixels import Elsewhere
from minialex.gpu.kernel import Kernel
from minialex.xp import get_xp, to_device

TAPS = Kernel("taps.cu", "find_taps",
    "raw int32 start, raw int32 stop, raw int32 end, int32 size, int32 width", "raw int32 taps",
    "const Index n = i / size;"
    " find_taps(start[n], stop[n], end[n], i % size, size, &taps[Index(i) * width])")  # fmt: skip
CUT = Kernel("photos.cu", "cut",
    "raw int64 addresses, raw int32 views, raw int32 across, raw int32 down, int32 w, int32 h,"
    " int32 width", "uint8 y",
    "y = cut(addresses, views, across, down, Index(i), w, h, width)")  # fmt: skip


ACROSS, DOWN = (4, 6, 2), (5, 7, 3)  # of the numbers of a view: start, stop and end of a line


class GpuPhotos:
    """A dataset of `photos` in the GPU's memory, pairs of pixels, uint8 (H, W, 3), and a label.

    photos[i] is (Elsewhere(i, W, H), label).  Images of `size`, (h, w), are cut out of them.
    """

    def __init__(self, photos, size):
        self.photos, self.size = photos, size
        self.labels = [label for _, label in photos]
        self.addresses = to_device(np.array([one.data.ptr for one, _ in photos], "i8"), "gpu")

    def __len__(self):
        return len(self.photos)

    def __getitem__(self, index):
        pixels, label = self.photos[index]
        return Elsewhere(index, pixels.shape[1], pixels.shape[0]), label

    def cut(self, views, on_host):
        """Images uint8 (N, h, w, 3) of `views`, int32 (N, 9) on the GPU; the host has a copy."""
        xp, N, (h, w) = get_xp(views), len(views), self.size
        _, _, _, _, left, top, right, bottom, _ = on_host.T
        scale = max(1, (right - left).max() / w, (bottom - top).max() / h)
        width = 2 + 1 + 2 * math.ceil(scale)  # numbers of the taps of a column or row, at most
        taps = []
        for size, line in ((w, ACROSS), (h, DOWN)):
            taps.append(xp.empty((N, size, width), np.int32))
            TAPS(*(views[:, k] for k in line), size, width, taps[-1], size=N * size)
        images = xp.empty((N, h, w, 3), np.uint8)
        CUT(self.addresses, views, *taps, w, h, width, images)
        return images
