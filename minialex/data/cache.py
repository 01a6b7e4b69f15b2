"""A cache of decoded images: read a photo once, decode it once, and use its pixels in every epoch.

Decoding is half the work of loading a photo.  The pixels, three bytes each, need about ten times the room of a
JPEG, so they are kept in a file; the operating system keeps as much of it in memory as is free.  The file has
no name and is gone with the process, however that ends: nothing can be stale, and nothing is left over.
"""

import math
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence

import numpy as np
from PIL import Image

from minialex.data.folder import Dataset
from minialex.data.loader import DataLoader

SAMPLED = 16  # images that are decoded to estimate the size of all


class ImageCache:
    """`dataset`, its images decoded once and then read from a nameless file in `folder`: the same, to the bit.

    An image that no longer fits on the disk is decoded anew each time.  Safe to use from several threads.
    """

    def __init__(self, dataset: Dataset, folder: str | os.PathLike[str]) -> None:
        self.dataset, self.classes = dataset, dataset.classes
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 -- open as long as this lives
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._end = 0  # where the next image will stand in the file
        self._places: dict[int, tuple[int, tuple[int, int], int]] = {}  # index -> offset, (width, height), label

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        index = range(len(self))[index]
        if index in self._places:
            start, size, label = self._places[index]
            return Image.frombytes("RGB", size, self._read(start, 3 * size[0] * size[1])), label
        image, label = self.dataset[index]
        self._keep(index, image, label)
        return image, label

    def _read(self, start: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)

    def _keep(self, index: int, image: Image.Image, label: int) -> None:
        pixels = image.tobytes()
        with self._lock:
            start = self._file.seek(self._end)
            try:
                written = self._file.write(pixels)
            except OSError:  # the disk is full
                return
            if written == len(pixels):  # else the next image overwrites the part
                self._end += written
                self._places[index] = start, image.size, label


def cache_bytes(dataset: Dataset) -> int:
    """About how many bytes all images of `dataset` take, from SAMPLED of them."""
    indices = np.unique(np.linspace(0, len(dataset) - 1, SAMPLED).astype(int))
    pixels = [math.prod(dataset[int(i)][0].size) for i in indices]
    return 3 * sum(pixels) * len(dataset) // len(pixels)


def keep_decoded(loaders: Sequence[DataLoader], folder: str | os.PathLike[str]) -> str:
    """Let `loaders` keep their decoded images in `folder`, where it has the room; a line that says which."""
    need, free = sum(cache_bytes(loader.dataset) for loader in loaders), shutil.disk_usage(folder).free
    if need > free // 2:
        room = f"they need {need / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB free"
        return f"decoded images are not kept: {room}"
    try:
        caches = [ImageCache(loader.dataset, folder) for loader in loaders]
    except OSError as error:
        return f"decoded images are not kept: {error.strerror}"
    for loader, cache in zip(loaders, caches, strict=True):
        loader.dataset = cache
    return f"decoded images are kept: {need / 1e9:.1f} GB on the disk while the run lasts (or --no-cache)"
