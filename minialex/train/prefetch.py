"""Prefetch -- the next batch travels to the GPU while it computes on this one.

A GPU that waits for its data is wasted, so we copy and compute at the same time.  A GPU works
through a queue of orders, a *stream*, while the host goes on without waiting.  A copy to the GPU
can do the same, on a second stream beside the computation, if it comes from *pinned* memory, which
the operating system promises not to move.  (From any other memory the copy first goes through such
a buffer, and the host waits.)  So we pack each batch into one pinned buffer, and one copy brings it
over; there it is unpacked, and its bytes become the network's input (`data/pixels.py`).  Of photos
that lie in the GPU's memory, only views are packed (`gpu/photos.py`).

Two streams know nothing of each other, and the host runs ahead of both.  Whoever reads what another
writes has to say so, by *events*: marks in one stream that another stream, or the host, can wait
for.  You need three waits, and each is a classical bug where it is missing: nothing fails, some
batches are just wrong, now and then.

    computation waits for the copy       else it reads a batch that has not arrived yet, and sees
                                         the pixels of an older one
    the host waits for the copy          else it packs batch k + 2 into the pinned buffer that
                                         batch k still leaves from, and batch k arrives with the
                                         pixels of another
    the copy waits for the computation   else batch k + 2 arrives on top of batch k, which is still
                                         being read

Only the second stops the host, and only where it is two batches ahead already.  To leave time
between them, there are two buffers (*slots*), used in turn:

    host          pack 0 | pack 1 | order step 0 | pack 2 | order step 1 | pack 3 | ...
    copy stream     copy 0 | copy 1 |       (after step 0) copy 2 | (after step 1) copy 3 ...
    computation            step 0       |       step 1       |      step 2 ...

On a CPU there is nothing to copy, and batches come straight from the loader.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np

from minialex.data.loader import DataLoader, RawBatch
from minialex.gpu.photos import GpuPhotos
from minialex.gpu.pixels import finish
from minialex.losses import check_labels
from minialex.xp import Array, get_xp

SLOTS = 2


def device_batches(loader: DataLoader, device: str, epoch: int, start: int = 0,
    classes: Callable[[], int] | None = None) -> Generator[tuple[Array, Array]]:  # fmt: skip
    """The batches (x, labels) of `loader.epoch(epoch, start)` on "cpu" or "gpu".

    On a GPU a batch is valid until the next one is asked for.  The loss does not look at labels
    there; so with `classes`, which says after the first batch how many there are, ValueError is
    raised after a batch with others.

    Where several ranks train together, x are the images of this one, labels those of all.
    """
    batches = own_batches(loader, device, epoch, start, classes)
    ranks = getattr(loader, "ranks", None)  # a loader of the user's own has none
    return of_ranks(ranks, batches) if ranks else batches


def of_ranks(ranks: Any, batches: Generator[tuple[Array, Array]]) -> Generator[tuple[Array, Array]]:
    """Of each batch, of which a rank loads its own images: these, and the labels of all.

    A rank without any gets a blank image, which counts nowhere (see ranks.py).
    """
    with contextlib.closing(batches):
        while True:
            x, labels = ranks.together(lambda: next(batches, (None, None)))
            if x is None:
                return
            x, labels = x if ranks.dealt else ranks.whole([x], x), ranks.whole([labels], labels)
            shape, dtype = ranks.agree((x.shape[1:], x.dtype))[0]  # rank 0 always has some
            ranks.idle = not len(x)
            yield get_xp(x).zeros((1, *shape), dtype) if ranks.idle else x, labels


def own_batches(loader: DataLoader, device: str, epoch: int, start: int,
    classes: Callable[[], int] | None) -> Generator[tuple[Array, Array]]:  # fmt: skip
    """As `device_batches`, but the images and labels of this rank alone."""
    if device == "cpu":
        yield from loader.epoch(epoch, start)
        return
    raw_batches = loader.raw_epoch(epoch, start)
    with contextlib.closing(raw_batches), contextlib.closing(on_gpu(raw_batches)) as batches:
        for batch, on_host in batches:
            x = batch.images
            if isinstance(loader.dataset, GpuPhotos):
                x = loader.dataset.cut(x, on_host.images)
            if loader.finishing is not None and x.dtype == np.uint8:
                x = finish(loader.finishing, x, batch.colours)
            yield x, batch.labels
            if classes is not None:
                check_labels(on_host.labels, classes())


def on_gpu(batches: Iterable[RawBatch]) -> Generator[tuple[RawBatch, RawBatch]]:
    """Each batch in the memory of the GPU, with the next one under way; and as it was loaded.

    The first is valid until you ask for the next.
    """
    import cupy

    compute, copy = cupy.cuda.get_current_stream(), cupy.cuda.Stream(non_blocking=True)
    slots = [Slot(compute, copy) for _ in range(SLOTS)]
    sent: Slot | None = None
    try:
        for k, batch in enumerate(batches):
            slot = slots[k % SLOTS]
            slot.send(batch)
            if sent is not None:
                yield sent.receive(), sent.on_host
                sent.release()
            sent = slot
        if sent is not None:
            yield sent.receive(), sent.on_host
    finally:
        copy.synchronize()  # the memory must not go to others while a copy reads or writes it


class Slot:
    """Room for one batch in pinned memory and on the GPU, with events that keep its users apart."""

    def __init__(self, compute: Any, copy: Any):
        import cupy

        self.compute, self.copy = compute, copy
        self.pinned, self.memory = np.empty(0, np.uint8), cupy.empty((0,), np.uint8)  # bytes
        self.sent, self.free = (cupy.cuda.Event(disable_timing=True) for _ in range(2))

    def send(self, batch: RawBatch) -> None:
        """Pack a batch, and order its copy to the GPU for when the memory there is free."""
        self.wait_until_sent()
        size = sum(array.nbytes for array in batch if array is not None)
        if size > len(self.pinned):  # for the first batches of an epoch only
            self.reserve(size)
        for packed, array in zip(unpack(self.pinned, batch), batch, strict=True):
            if packed is not None:
                packed[...] = array
        self.copy.wait_event(self.free)
        self.memory[:size].set(self.pinned[:size], stream=self.copy)
        self.sent.record(self.copy)
        self.on_host = batch
        self.batch = unpack(self.memory, batch)  # the same on the GPU

    def receive(self) -> RawBatch:
        """The batch on the GPU, for what the compute stream is ordered from now on.

        It is the stream that waits for the batch, not the host.
        """
        self.compute.wait_event(self.sent)
        return self.batch

    def release(self) -> None:
        """Say that nothing uses the batch beyond what the compute stream was ordered until now."""
        self.free.record(self.compute)

    def wait_until_sent(self) -> None:
        """Let the host wait until the pinned buffer may be written again."""
        if not self.sent.done:
            self.sent.synchronize()

    def reserve(self, size: int) -> None:
        """Take new memory of `size` bytes.

        The copy stream may write to it only once all that used that memory before is done.
        """
        import cupy
        import cupyx

        self.pinned = cupyx.empty_pinned((size,), np.uint8)
        self.memory = cupy.empty((size,), np.uint8)
        self.free.record(self.compute)


def unpack(memory: Array, batch: RawBatch) -> RawBatch:
    """Views of `memory`, bytes, in the shapes and dtypes of `batch`, one after the other.

    The widest dtype comes first, so that every view is aligned.
    """
    views, end = [], 0
    for array in batch:
        start, end = end, end + (0 if array is None else array.nbytes)
        view = memory[start:end]
        views.append(None if array is None else view.view(array.dtype).reshape(array.shape))
    return RawBatch(*views)
