"""Photos in the GPU's own memory: nothing but a few numbers per photo then travels in a step.

All photos are decoded before the first step.  They may take a quarter of the memory that is free,
since the network needs room as well; where they do not fit, they stay where they are.
"""

import contextlib
import copy
import importlib
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from minialex.data import DataLoader, RandomCrop, keep_decoded
from minialex.data.ahead import ahead
from minialex.data.cache import cache_bytes, is_ours
from minialex.data.image import pixels_of
from minialex.data.transforms import pair
from minialex.data.views import split_view
from minialex.gpu.photos import GpuPhotos

SHARE = 4  # photos take at most one of so many parts


def keep_images(run: Any) -> None:
    """Decode the photos of a `Training` once, where more than one epoch is left.

    They go to the GPU, or else to the disk, if there is a folder and room in it.
    """
    folder, left = run.saved.folder, run.epochs - run.progress.epoch
    if run.cache is False or left < 2 or run.seen_enough():
        return
    run.loader, run.val = copy.copy(run.loader), copy.copy(run.val)
    loaders, only_ours = [*filter(None, (run.loader, run.val))], run.cache is None
    if run.device == "gpu":
        loaders = keep_on_gpu(loaders, run.screen, only_ours, run.spare)
    if folder and loaders:
        room = run.saved.needs(folder)
        if line := keep_decoded(loaders, folder.path, only_ours, reserve=room):
            run.screen.line(line)


def keep_on_gpu(loaders: Iterable[DataLoader], screen: Any, only_ours: bool = False,
    spare: int | None = None) -> list[DataLoader]:  # fmt: skip
    """Let `loaders` have their photos in the GPU's memory, and say so on `screen`.

    Returns those whose photos do not fit there, into `spare` bytes at most, or are of another kind,
    or have another transform, than gpu/photos.py knows.  With `only_ours`, also those whose dataset
    is not of minialex: its images may differ from time to time.  Raises what the dataset and the
    transform raise of a photo.
    """
    rest, taken = [], 0
    for loader in loaders:
        free, _ = importlib.import_module("cupy").cuda.runtime.memGetInfo()
        room = free // SHARE if spare is None else min(free // SHARE, spare - taken)
        ours = not only_ours or is_ours(loader.dataset)
        photos = photos_on_gpu(loader, room, screen) if ours else None
        taken += 0 if photos is None else photos.nbytes
        rest += [loader] if photos is None else []
    if taken:
        screen.line(f"photos: {taken / 1e9:.1f} GB in the GPU's memory")
    return rest


def photos_on_gpu(loader: DataLoader, room: int, screen: Any) -> GpuPhotos | None:
    """Copy the photos of a loader to the GPU, if they take at most `room` bytes; None if not."""
    dataset, parts = loader.dataset, split_view(loader.transform)
    if parts is None or not isinstance(dataset[0][0], Image.Image):
        return None
    (fixed, to_view), crop = parts, parts[1].crop
    if cache_bytes(dataset, fixed) > room:
        return None

    def decoded(index: int) -> tuple[np.ndarray, int]:
        image, label = loader.item(index)
        image = fixed(image)
        if isinstance(crop, RandomCrop):
            crop.room(image, crop.padding)
        return pixels_of(image), label

    photos, stop, n = GpuPhotos(), threading.Event(), loader.workers
    every_one = ahead(decoded, range(len(dataset)), n, 4 * n, "data", stop)
    with contextlib.closing(every_one), screen.bar("photos", len(dataset)) as bar:
        for pixels, label in every_one:
            if pixels.shape[2:] != (3,) or photos.nbytes + pixels.nbytes > room:
                return None
            photos.add(pixels, label)
            bar.update(1)
    sizes = {pair(crop.size)} if crop else {photo.shape[:2] for photo in photos.pixels}
    if len(sizes) > 1:
        return None
    photos.close(*sizes)
    loader.look_at(photos, to_view)
    return photos
