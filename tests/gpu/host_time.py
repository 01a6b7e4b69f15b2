"""How long the host takes to order a training step on a GPU, which must not be longer than the GPU
takes to compute it.

`python tests/gpu/host_time.py` prints milliseconds on one core, for AlexNet on photos that lie in
the GPU's memory.  The GPU is an emulated one that is told everything and computes nothing, so this
is the time of Python, CuPy and our code; a driver's own time, some microseconds a launch, is not
in it, and the emulator's, some microseconds as well, is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))  # as a program

import contextlib
import dataclasses
import itertools
import os
import statistics
import time

os.environ.setdefault("MINIALEX_TEST_DEVICE", "gpu")


import device  # noqa: F401 -- the emulator, before cupy
from cupyemu import device as emulated
from minialex.data.sources import open_source
from minialex.gpu.photos import GpuPhotos
from minialex.train.config import configure
from minialex.train.loop import Training
from minialex.train.recipes import make_optimizer
from minialex.train.resident import keep_images
from minialex.train.screen import Silent
from minialex.train.setup import fit_options, make_loaders, make_model, measure_colours

WARM_UP = 3  # steps that are not counted: kernels are compiled in them
# A narrow network on small images costs the host what the real one does.
HOW = {"recipe": "modern", "width": 1 / 16, "image_size": 67, "device": "gpu", "epochs": 60}


def training(batch_size, images, workers=0):
    """A run on so many drawings, photos as any, that lie in the GPU's memory."""
    config = configure({**HOW, "batch_size": batch_size, "limit": images, "workers": workers,
                        "log_interval": 10**6, "data": "drawings"})  # fmt: skip
    source = open_source(config.data, seed=0, limit=config.limit)
    model = make_model(config, len(source.classes))
    optimizer = make_optimizer(config.optimizer, model, config.lr, config.weight_decay)
    config = measure_colours(config, source.train, model.image_size)
    loader = make_loaders(config, source, model)[0]
    run = Training(model, loader, optimizer, screen=Silent(),
                   settings=dataclasses.asdict(config), **fit_options(config))  # fmt: skip
    keep_images(run)
    run.read_back = lambda batch: {}  # losses that nobody computes
    assert isinstance(run.loader.dataset, GpuPhotos)
    return run


def measure(run, steps, only_photos=False):
    """Milliseconds of the host for a step, the median of so many; or for its photos alone."""
    times = []
    run.progress.batch = 0  # an epoch from its beginning
    with emulated.idle(), run.in_training(), contextlib.closing(run.batches()) as batches:
        for k, batch in enumerate(batches):
            times.append(time.perf_counter())
            if k < WARM_UP or not only_photos:
                run.step(*batch)
            if k == WARM_UP + steps:
                break
    return 1e3 * statistics.median(b - a for a, b in itertools.pairwise(times[WARM_UP:]))


def main():
    import cupy

    cupy.cuda.set_allocator(cupy.cuda.MemoryPool().malloc)  # as on a GPU
    print("images in a batch    photos, ms    a whole step, ms    images/s at most")
    for batch_size in (32, 128):
        run = training(batch_size, 20 * batch_size)
        photos, step = (measure(run, 15, only) for only in (True, False))
        print(f"{batch_size:17}{photos:14.2f}{step:20.2f}{1e3 * batch_size / step:20,.0f}")


if __name__ == "__main__":
    main()
