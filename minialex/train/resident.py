"""Photos in the GPU's own memory: nothing but a few numbers per photo then travels in a step.

All photos are decoded before the first step.  They may take a quarter of the memory that is free,
since the network needs room as well; where they do not fit, they stay where they are.
"""

import contextlib
import copy
import importlib
import threading
from typing import Any

import numpy as np

from minialex.data import DataLoader, RandomCrop, Resize, keep_decoded
from minialex.data.ahead import ahead
from minialex.data.cache import cache_bytes, is_ours
from minialex.data.pixels import VIEWS, fixed_part, split_transform
from minialex.errors import pair
from minialex.gpu.photos import GpuPhotos
from minialex.train.frozen import keep_outputs
from minialex.train.ranks import HERE
from minialex.xp import to_device

SHARE = 4  # photos take at most one of so many parts


def keep_images(run: Any) -> None:
    """Decode the photos of a `Training` once, where more than one epoch is left to use them in.

    They go to the GPU's memory; where they do not, to the disk, if the run has a folder.  Where
    frozen layers make the same of them each time, that is kept in place of them (frozen.py).
    Raises what a dataset and a transform raise of a photo.
    """
    folder, left = run.saved.folder, run.epochs - run.progress.epoch
    if left < 1 or run.seen_enough() or HERE.size > 1:  # ranks look at none but their own
        return
    if keep_outputs(run) or left < 2 or run.cache is False:
        return
    run.loader, run.val = copy.copy(run.loader), copy.copy(run.val)
    loaders, taken = [*filter(None, (run.loader, run.val))], 0
    for loader in list(loaders) if run.device == "gpu" else ():
        if kept := keep_on_gpu(loader, run.screen, run.spare - taken):
            taken += kept
            loaders.remove(loader)
    if taken:
        run.screen.line(f"photos: {taken / 1e9:.1f} GB in the GPU's memory")
    if folder and loaders:
        room = run.saved.needs(folder)
        if line := keep_decoded(loaders, folder.path, run.cache is None, reserve=room):
            run.screen.line(line)


def keep_on_gpu(loader: DataLoader, screen: Any, most: float) -> int:
    """Let a loader have its photos in the GPU's memory: how many bytes they take, or 0.

    0 where they would take more than `most` or one part in SHARE; or are not of minialex, which are
    RGB and the same each time; or the transform is not one that gpu/photos.py knows.  Then they
    stay where they are.
    """
    dataset, (fixed, rest) = loader.dataset, fixed_part(loader.transform)
    parts = split_transform(rest)
    sized = [None, *(step for step in loader.transform.transforms if hasattr(step, "size"))]
    if not parts or [*map(type, parts[0].crops.transforms)] not in VIEWS or not is_ours(dataset):
        return 0
    most = min(most, importlib.import_module("cupy").cuda.runtime.memGetInfo()[0] // SHARE)
    if isinstance(crop := sized[-1], Resize | None) or cache_bytes(dataset, fixed) > most:
        return 0

    def decoded(index: int) -> tuple[np.ndarray, int]:
        image, label = dataset[index]
        image = fixed(image)
        if isinstance(crop, RandomCrop):
            crop.room(image, crop.padding)
        return np.asarray(image), label

    photos, taken, n = [], 0, loader.workers
    images = ahead(decoded, range(len(dataset)), n, 4 * n, "data", threading.Event())
    with contextlib.closing(images), screen.bar("photos", len(dataset)) as bar:
        for pixels, label in images:
            taken += pixels.nbytes
            if taken > most:
                return 0
            photos.append((to_device(pixels, "gpu"), label))
            bar.update(1)
    loader.read_from(GpuPhotos(photos, pair(crop.size)), rest)
    # Views take microseconds.  Beside threads that draw them, this one would wait for Python's lock
    # at each kernel that it launches.
    loader.workers = 0
    return taken
