"""DataLoader -- batches of transformed samples, loaded ahead by worker threads.

Threads suffice, since Pillow lets go of the interpreter lock while it decodes and resizes.  A batch depends
on the seed, the epoch and its number alone: every sample gets random numbers of its own, so neither the
number of workers nor their timing can change a bit, and a run can resume in the middle of an epoch without
loading what it has seen.
"""

import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from minialex.data.folder import Dataset
from minialex.data.transforms import Transform
from minialex.errors import ConfigError, DataError

Batch = tuple[np.ndarray, np.ndarray]

# The order of epoch e comes from the seed (seed, e, 0, _ORDER).  Seeds shorter than four words count as
# padded with zeros, so that (seed, e) alone would be the very stream of sample 0.
_ORDER = 0x0DE4


class DataLoader:
    """Batches (x, labels) of a dataset: x float32 (N, H, W, 3), labels int64 (N,).

    dataset      see minialex.data.folder.Dataset
    batch_size   samples a batch; where it does not divide, the last batch of an epoch is smaller, or is left
                 out with `drop_last`
    transform    transform(image, rng) -> float32 array (H, W, 3), the same shape for every sample
    shuffle      a new seeded order each epoch; else the dataset's own
    seed         a whole number of 0 or more
    workers      threads that load; 0 loads in the calling thread when a batch is asked for
    prefetch     how many batches may be under way or waiting (memory: prefetch * N * H * W * 12 bytes)

    Raises ConfigError for a value that cannot work, and DataError for an empty dataset.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        transform: Transform,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        workers: int = 0,
        prefetch: int = 4,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("workers", workers, 0),
            ("prefetch", prefetch, 1),
        ):
            _check_int(name, value, least)
        if len(dataset) == 0:
            raise DataError("the dataset is empty; there is nothing to load")
        if drop_last and len(dataset) < batch_size:
            raise ConfigError(
                f"batch_size {batch_size} with drop_last leaves no batch of {len(dataset)} samples;"
                " use a smaller one"
            )
        self.dataset, self.batch_size, self.transform = dataset, batch_size, transform
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.workers, self.prefetch = workers, prefetch

    def __len__(self) -> int:
        """Batches in an epoch."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """int64 (len(dataset),): the sample numbers in the order that this epoch visits them."""
        n = len(self.dataset)
        if not self.shuffle:
            return np.arange(n, dtype=np.int64)
        return np.random.default_rng([self.seed, epoch, 0, _ORDER]).permutation(n)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch number `epoch`, from batch number `start` on; earlier ones are not loaded.

        What a sample raises while it is loaded (DataError for a damaged file) is raised here, in place of its
        batch.  Leaving the loop early stops the workers.  Raises ConfigError for a negative epoch or a start
        beyond the end.
        """
        _check_int("epoch", epoch, 0)
        _check_int("start", start, 0)
        if start > len(self):
            raise ConfigError(f"cannot start at batch {start}: an epoch has {len(self)} batches")
        order = self.order(epoch)
        parts = [order[k * self.batch_size : (k + 1) * self.batch_size] for k in range(start, len(self))]
        if self.workers == 0:
            return (self._load(epoch, part, None) for part in parts)
        return self._load_ahead(epoch, parts)

    def _load_ahead(self, epoch: int, parts: list[np.ndarray]) -> Generator[Batch]:
        stop = threading.Event()
        waiting = deque(parts)
        under_way: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="minialex-data")
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self.prefetch:
                    under_way.append(pool.submit(self._load, epoch, waiting.popleft(), stop))
                yield under_way.popleft().result()
        finally:  # also when the caller leaves the loop, which closes this generator
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _load(self, epoch: int, indices: np.ndarray, stop: threading.Event | None) -> Batch:
        x = np.empty(0, dtype=np.float32)
        labels = np.empty(len(indices), dtype=np.int64)
        for k, i in enumerate(indices.tolist()):
            if stop is not None and stop.is_set():
                break  # nobody will look at this batch
            image, labels[k] = self.dataset[i]
            sample = self.transform(image, np.random.default_rng([self.seed, epoch, i]))
            if not isinstance(sample, np.ndarray):
                raise ConfigError(
                    f"the transform must return an array, got {type(sample).__name__}; add ToArray()"
                )
            if k == 0:
                x = np.empty((len(indices), *sample.shape), dtype=np.float32)
            elif sample.shape != x.shape[1:]:
                raise ConfigError(
                    f"samples of one batch differ in shape, {x.shape[1:]} and {sample.shape};"
                    " let the transform crop"
                )
            x[k] = sample
        return x, labels


def _check_int(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")
