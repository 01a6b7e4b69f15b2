"""A cache of decoded images: decode each photo once, and use its pixels in every epoch.

Decoding is half the work of loading a photo, and the steps before the first random one
(`pixels.fixed_part`), such as scaling to 256 pixels, give the same image in every epoch.  So we
keep their result, three bytes per pixel, in a file.  We read that file as memory (mmap), because
then the operating system holds as much of it in memory as is free, and threads need no lock.  It
has its full length from the start, which takes no room on most disks until it is written.  The
file has no name and vanishes with the process, however the process ends: it can never be stale,
and nothing is left behind.
"""

import math
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence

import numpy as np
from PIL import Image

from minialex.data.compose import Compose
from minialex.data.drawings import Drawings
from minialex.data.folder import ImageFolder, Photos, Samples, Subset
from minialex.data.image import AnyPath
from minialex.data.loader import DataLoader
from minialex.data.pixels import fixed_part

SAMPLED = 16  # images that are decoded to estimate the size of all


class ImageCache:
    """`dataset`, with its images after the transform `fixed` kept in a nameless file in `folder`.

    You get the same images, bit for bit.  Those that no longer fit on the disk, or into `most`
    bytes, are decoded anew each time.  Safe to use from several threads.
    """

    def __init__(self, dataset: Samples, folder: AnyPath,
        fixed: Compose | None = None, most: int = 1 << 30) -> None:  # fmt: skip
        self.dataset, self.fixed = dataset, fixed or Compose(())
        if hasattr(dataset, "classes"):
            self.classes: list[str] = dataset.classes
        # Open for as long as this object lives, so no `with`.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._file.truncate(most)
        self._pixels = np.asarray(np.memmap(self._file, np.uint8, "r"))
        self._end = 0  # where the next image begins
        self._lock = threading.Lock()  # for writing
        # index -> (pixels, mode, (width, height), label)
        self._kept: dict[int, tuple[np.ndarray, str, tuple[int, int], int]] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        index = range(len(self))[index]
        if index in self._kept:
            pixels, mode, size, label = self._kept[index]
            return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1), label
        image, label = self.dataset[index]
        image = self.fixed(image)
        if getattr(image, "mode", "") in ("RGB", "L"):  # others have more than bytes of pixels
            self._keep(index, image, label)
        return image, label

    def __repr__(self) -> str:
        return f"ImageCache, which keeps {len(self._kept):,} images so far, of {self.dataset!r}"

    def _keep(self, index: int, image: Image.Image, label: int) -> None:
        pixels = image.tobytes()
        with self._lock:
            kept = self._pixels[self._end : self._end + len(pixels)]
            if len(kept) < len(pixels):
                return
            try:
                self._file.seek(self._end)
                # Not through the map: there, a full disk would kill the process.
                written = self._file.write(pixels)
            except OSError:  # the disk is full: what room it still gets is not for us
                self._end = len(self._pixels)
                return
            if written == len(pixels):  # else the next image overwrites the part
                self._end += written
                self._kept[index] = kept, image.mode, image.size, label


def cache_bytes(dataset: Samples, fixed: Compose | None = None) -> int:
    """About how many bytes all images of `dataset` take after `fixed`, from SAMPLED of them."""
    indices = np.unique(np.linspace(0, len(dataset) - 1, SAMPLED).astype(int))

    def size(index: int) -> int:  # a function, which lets go of an image before the next one
        image = dataset[index][0]
        return math.prod((fixed(image) if fixed else image).size)

    pixels = list(map(size, indices.tolist()))
    return 3 * sum(pixels) * len(dataset) // len(pixels)


def is_ours(dataset: Samples) -> bool:
    """Whether `dataset` is one of minialex, which gives the same images each time."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return type(dataset) in (ImageFolder, Photos, Drawings)


def keep_decoded(loaders: Sequence[DataLoader], folder: AnyPath,
    only_ours: bool = False, reserve: int = 0) -> str:  # fmt: skip
    """Let `loaders` keep their decoded images in `folder` if there is room; a line says whether.

    They leave `reserve` bytes of the disk to others.  The line is empty where there is nothing to
    decode: where a dataset's images are arrays.  With `only_ours`, also where one is not of
    minialex: its images may differ from time to time.
    """
    datasets = [loader.dataset for loader in loaders]
    wanted = not only_ours or all(map(is_ours, datasets))
    if not (wanted and all(isinstance(dataset[0][0], Image.Image) for dataset in datasets)):
        return ""
    parts = [fixed_part(loader.transform) for loader in loaders]
    needs = [cache_bytes(one, fixed) for one, (fixed, _) in zip(datasets, parts, strict=True)]
    need, free = sum(needs), max(0, shutil.disk_usage(folder).free - reserve)
    if need > free // 2:
        room = f"they need {need / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB free"
        room += " beside the run's files" * (reserve > 0)
        return f"decoded images are not kept: {room}"
    try:
        all_of_them = zip(datasets, parts, needs, strict=True)  # their images may differ in size
        caches = [ImageCache(one, folder, fixed, 2 * own) for one, (fixed, _), own in all_of_them]
    except OSError as error:
        return f"decoded images are not kept: {error.strerror}"
    for loader, cache, (_, rest) in zip(loaders, caches, parts, strict=True):
        loader.read_from(cache, rest)
    return f"decoded images are kept: {need / 1e6:,.0f} MB on the disk while the run lasts"
