"""DataLoader -- batches of transformed samples, loaded ahead by worker threads.

While the network trains on one batch, the next ones should already be on their way.  Threads are
enough for that, since Pillow releases the interpreter lock (GIL) while it decodes and resizes.

You get the same batches however they are loaded.  A batch depends on the seed, the epoch and its
number alone: every sample has random numbers of its own, so neither the number of workers nor
their timing can change a bit, and a run can resume in the middle of an epoch without loading what
it has seen.

    for images, labels in loader:               # an epoch; the next such loop is the next epoch
    for images, labels in loader.epoch(3, 10):  # epoch 3 from batch 10 on, as often as you like

The threads crop and scale; a batch stays bytes until the device that trains turns it into floats
(`pixels.py`).
"""

import contextlib
import functools
import operator
import threading
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np

from minialex.data.ahead import ahead
from minialex.data.compose import Compose
from minialex.data.folder import Samples
from minialex.data.pixels import decoded_for, split_transform
from minialex.data.transforms import ToArray, Transform
from minialex.errors import ConfigError, DataError, check_whole, short
from minialex.xp import Array

Batch = tuple[np.ndarray, np.ndarray]


class RawBatch(NamedTuple):
    """A batch as the threads load it; `DataLoader.finishing` makes floats of its bytes.

    labels    int64 (N,)
    colours   float32 (N, 3), one random colour per image, where the transform has a ColourShift,
              else None
    images    uint8 (N, H, W, 3); or int32 (N, 9), each a ToBytes.view of a photo elsewhere;
              or float32 of any shape, which is the network's input, where the transform does not
              end in ToArray or Normalize, or has no such bytes
    """

    labels: Array
    colours: Array | None
    images: Array


# The order of epoch e comes from the seed (seed, e, 0, _ORDER).  NumPy pads seeds shorter than four
# words with zeros, so (seed, e) alone would be the very stream of sample 0, which is (seed, e, 0).
# A crop that several images share comes from the seed (seed, e, the first of them, _SHARED).
_ORDER, _SHARED = 0x0DE4, 0x54A3
LEAST = {"batch_size": 1, "seed": 0, "workers": 0, "prefetch": 1, "same_crop": 1}


class DataLoader:
    """Batches (x, labels) of a dataset: x float32 (N, H, W, C), labels int64 (N,).

    dataset      anything with len(dataset) and dataset[i] -> (image, label), such as a list of
                 pairs; the label is a whole number, the index of a class
    batch_size   samples per batch; where it does not divide the dataset, the last batch of an
                 epoch is smaller, or is left out with drop_last
    transform    transform(image, rng) -> float32 array, the same shape for every sample.  Without
                 one it is ToArray: bytes, of an image or an array, become 0..1, floats stay
    shuffle      a new seeded order each epoch; else the dataset's own
    seed         a whole number of 0 or more
    workers      threads that load; 0 loads in the calling thread when a batch is asked for
    same_crop    so many images in a row are cropped and mirrored alike, as by the program of 2012:
                 1, each in its own way
    prefetch     how many batches may be under way or waiting
                 (memory: prefetch * N * H * W * 3 bytes)

    Each `for` loop over the loader is the next epoch, from epoch 0 on, also after a loop that was
    left early.  Raises ConfigError for a value that cannot work, and DataError for an empty
    dataset.
    """

    ranks: Any = None  # where several processes train together, they load its images among them

    def __init__(self, dataset: Samples, batch_size: int, transform: Transform | None = None, *,
        shuffle: bool = False, drop_last: bool = False, seed: int = 0, workers: int = 0,
        prefetch: int = 4, same_crop: int = 1) -> None:  # fmt: skip
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed, self.workers, self.prefetch, self.same_crop = seed, workers, prefetch, same_crop
        for name, least in LEAST.items():
            check_whole(name, getattr(self, name), least)
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            text = "expected a dataset with len(dataset) and dataset[i] -> (image, label)"
            raise DataError(f"{text}, got {type(dataset).__name__}; a list of pairs is one")
        if len(dataset) == 0:
            raise DataError("the dataset is empty; there is nothing to load")
        if drop_last and len(dataset) < batch_size:
            text = f"batch_size {batch_size} with drop_last leaves no batch of {len(dataset)}"
            raise ConfigError(f"{text} samples; use a smaller one")
        self.read_from(dataset, ToArray() if transform is None else transform)
        self._next_epoch = 0

    def read_from(self, dataset: Samples, transform: Transform) -> None:
        """Load from `dataset` by `transform` in the epochs that start from now on.

        Photos of an ImageFolder are decoded as large as `transform` needs them.
        """
        self.dataset = decoded_for(dataset, transform)
        self.transform = transform if isinstance(transform, Compose) else Compose((transform,))
        parts: Any = split_transform(self.transform) or (None, None)
        self._to_bytes, self.finishing = parts  # None where no batch has bytes

    def __len__(self) -> int:
        """Batches in an epoch."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __repr__(self) -> str:
        samples, size = f"{len(self.dataset):,} samples", self.batch_size
        order = f"shuffled by seed {self.seed}" if self.shuffle else f"in order, seed {self.seed}"
        data = "a list" if isinstance(self.dataset, list) else repr(self.dataset)
        order += f", {self.workers} workers\n  dataset    {data}\n  transform  {self.transform!r}"
        return f"DataLoader: {samples} in {len(self):,} batches of {size}, {order}"

    def __iter__(self) -> Generator[Batch]:
        """The batches of the next epoch."""
        self._next_epoch += 1
        return self.epoch(self._next_epoch - 1)

    def order(self, epoch: int) -> np.ndarray:
        """int64 (len(dataset),): the sample numbers in the order that this epoch visits them."""
        n = len(self.dataset)
        if not self.shuffle:
            return np.arange(n, dtype=np.int64)
        return np.random.default_rng([self.seed, epoch, 0, _ORDER]).permutation(n)

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch]:
        """The batches of epoch number `epoch`, from batch number `start` on.

        Earlier ones are not loaded.  What a sample raises while it is loaded (DataError for a
        damaged file) is raised here, in place of its batch.  Leaving the loop early stops the
        workers.  Raises ConfigError for a negative epoch or a start beyond the end.
        """
        return self._finished(self.raw_epoch(epoch, start))

    def raw_epoch(self, epoch: int, start: int = 0) -> Generator[RawBatch]:
        """As `epoch`, but the batches as loaded, for a GPU to finish itself (prefetch.py)."""
        check_whole("epoch", epoch, 0)
        check_whole("start", start, 0)
        if start > len(self):
            raise ConfigError(f"cannot start at batch {start}: an epoch has {len(self)} batches")
        order, n = self.order(epoch), self.batch_size
        parts = [order[k * n : (k + 1) * n] for k in range(start, len(self))]
        stop = threading.Event()
        load = functools.partial(self._load, epoch, stop)
        return ahead(load, parts, self.workers, self.prefetch, "data", stop)

    def _finished(self, batches: Generator[RawBatch]) -> Generator[Batch]:
        with contextlib.closing(batches):
            for labels, colours, images in batches:
                finish = self.finishing if images.dtype == np.uint8 else None
                yield images if finish is None else finish(images, colours), labels

    def _load(self, epoch: int, stop: threading.Event, batch: np.ndarray) -> RawBatch:
        own = self.ranks.own(len(batch)) if self.ranks else slice(0, len(batch))
        N = len(batch[own])
        labels, images, colours = np.empty(N, dtype=np.int64), np.empty(0), None
        for k, i in enumerate(batch[own].tolist()):
            if stop.is_set():
                break  # nobody will look at this batch
            image, labels[k] = self.item(i)
            rng, shared = np.random.default_rng([self.seed, epoch, i]), None
            if self.same_crop > 1:
                place = own.start + k
                first = int(batch[place - place % self.same_crop])
                shared = np.random.default_rng([self.seed, epoch, first, _SHARED])
            sample, colour = self._sample(image, rng, shared)
            if k == 0:
                images = np.empty((N, *sample.shape), dtype=sample.dtype)
                colours = None if colour is None else np.empty((N, 3), dtype=np.float32)
            elif (sample.shape, sample.dtype) != (images.shape[1:], images.dtype):
                one, other = (f"{a.dtype} {a.shape}" for a in (images[0], sample))
                text = f"samples of one batch differ in shape or type, {one} and {other}"
                raise ConfigError(f"{text}; let the transform crop")
            images[k] = sample
            if colours is not None:
                colours[k] = colour
        return RawBatch(labels, colours, images)

    def item(self, index: int) -> tuple[Any, int]:
        """dataset[index]; DataError unless it is (image, label)."""
        item = self.dataset[index]
        pair = isinstance(item, tuple | list)
        if not pair or len(item) != 2:
            found = type(item).__name__ + (f" of {len(item)}" if pair else "")
            text = f"dataset[{index}] must be a pair (image, label), got {found}"
            raise DataError(f"{text}; list(zip(images, labels)) makes pairs of two arrays")
        try:
            return item[0], operator.index(item[1])
        except TypeError:
            rule = f"dataset[{index}]: the label must be a whole number, the index of a class"
            raise DataError(f"{rule}, got {short(item[1])}") from None

    def _sample(self, image: Any, rng: np.random.Generator, shared: Any
    ) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
        """The bytes of a sample and its random colour; or float32, see RawBatch."""
        if self._to_bytes is not None:
            return self._to_bytes(image, rng, shared)
        sample = self.transform(image, rng, shared)
        if not isinstance(sample, np.ndarray):
            text = f"the transform must return an array, got {type(sample).__name__}"
            raise ConfigError(f"{text}; add ToArray()")
        return sample.astype(np.float32, copy=False), None
