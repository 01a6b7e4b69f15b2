"""Photos in the GPU's memory: are they cut to the same bytes as on the CPU, and how fast?

    python benchmarks/bench_photos.py                    noise of 500 x 375 pixels, batches of 128
    python benchmarks/bench_photos.py --recipe modern

For each recipe, "host" is the time that the loading threads take to draw the random numbers of a
batch, "cut" and "finish" are the kernels that make bytes and floats of it, and "all" is a loop over
the batches that does nothing with them: unless it takes less than a training step, the GPU waits.
Numbers are medians, but "host" and "all" are means of an epoch.
"""

import argparse
import importlib
import itertools
import statistics
import time
from typing import Any

import numpy as np
from PIL import Image

from minialex.commands.main import run_main
from minialex.data import DataLoader
from minialex.data.pixels import Finish, fixed_part
from minialex.data.transforms import pair
from minialex.errors import DeviceError
from minialex.gpu.diagnosis import gpu_problem
from minialex.gpu.photos import GpuPhotos
from minialex.gpu.pixels import finish
from minialex.train.config import configure
from minialex.train.prefetch import device_batches
from minialex.train.recipes import RECIPES
from minialex.train.setup import training_transform
from minialex.xp import to_device

DIFFERENT, ROUNDS = 256, 20  # photos, of which the others are copies; batches that are timed
COLOURS = {"mean": [0.5, 0.4, 0.4], "components": [[0.2, 0.2, 0.2], [0.01, 0.0, -0.01]]}
# A mean image is subtracted on the host, from floats.
AS_BYTES = [name for name, own in RECIPES.items() if own.get("normalize") != "mean-image"]


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--recipe", choices=AS_BYTES, help="one of the recipes (default: each)")
    add("--photos", type=int, default=4096, help="photos in an epoch (default 4,096)")
    add("--width", type=int, default=500, help="of a photo in pixels (default 500)")
    add("--height", type=int, default=375, help="of a photo in pixels (default 375)")
    add("--batch-size", type=int, default=128, help="images per step (default 128)")
    add("--workers", type=int, default=2, help="threads that load (default 2)")
    return parser


def loaders(options: argparse.Namespace, recipe: str) -> tuple[DataLoader, DataLoader]:
    """A loader of photos on the host, and one of the same photos in the GPU's memory."""
    config = configure({"recipe": recipe, "data": "photos", "colours": COLOURS})
    transform = training_transform(224 if config.variant == "owt" else 227, config)
    fixed, rest = fixed_part(transform)
    rng = np.random.default_rng(0)
    shape, count = (options.height, options.width, 3), min(DIFFERENT, options.photos)
    noise = (rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count))
    images = [fixed(Image.fromarray(pixels)) for pixels in noise]
    moved = [to_device(np.asarray(image), "gpu") for image in images]
    size = [pair(step.size) for step in transform.transforms if hasattr(step, "size")][-1]
    photos = GpuPhotos([(moved[k % count], 0) for k in range(options.photos)], size)
    how: dict[str, Any] = {"shuffle": True, "workers": options.workers, "drop_last": True}
    pairs = [(images[k % count], 0) for k in range(options.photos)]
    here, there = (DataLoader(one, options.batch_size, rest, **how) for one in (pairs, photos))
    return here, there


def different_bytes(here: DataLoader, there: DataLoader, batches: int = 4) -> int:
    """How many bytes of some batches are not those of the CPU."""
    found = 0
    for k, (one, other) in enumerate(zip(here.raw_epoch(0), there.raw_epoch(0), strict=False)):
        if k == batches:
            break
        images = there.dataset.cut(to_device(other.images, "gpu"), other.images).get()
        found += int((images != one.images).sum())
    return found


def kernel_times(loader: DataLoader) -> tuple[float, float]:
    """Milliseconds of the kernels that cut a batch, and of the one that makes floats of it."""
    cupy = importlib.import_module("cupy")
    times: list[list[float]] = []
    for k, batch in enumerate(loader.raw_epoch(1)):
        if k == ROUNDS:
            break
        views = to_device(batch.images, "gpu")
        colours = None if batch.colours is None else to_device(batch.colours, "gpu")
        marks = [cupy.cuda.Event() for _ in range(3)]
        marks[0].record()
        images = loader.dataset.cut(views, batch.images)
        marks[1].record()
        finish(loader.finishing or Finish(), images, colours)
        marks[2].record()
        marks[2].synchronize()
        times.append([cupy.cuda.get_elapsed_time(*pair) for pair in itertools.pairwise(marks)])
    cut, rest = zip(*times[2:], strict=True)  # two to warm up
    return statistics.median(cut), statistics.median(rest)


def epoch_ms(batches: Any, count: int) -> float:
    """Milliseconds per batch of a loop over `count` of them, until the GPU is done."""
    synchronize = importlib.import_module("cupy").cuda.Device().synchronize
    synchronize()
    started = time.perf_counter()
    for _ in batches:
        pass
    synchronize()
    return (time.perf_counter() - started) / count * 1e3


def main(arguments: list[str] | None = None) -> int:
    """Print a line per recipe; the exit status is 1 where bytes differ."""
    options = parser().parse_args(arguments)
    if (problem := gpu_problem()) is not None:
        raise DeviceError(f"there is no GPU to measure: {problem}")
    N, wrong = options.batch_size, 0
    print(f"photos of {options.width} x {options.height} pixels, batches of {N}, ms per batch\n")
    print("recipe    different bytes    host     cut  finish     all  images/s")
    for recipe in [options.recipe] if options.recipe else AS_BYTES:
        here, there = loaders(options, recipe)
        different = different_bytes(here, there)
        cut, rest = kernel_times(there)
        host = epoch_ms(there.raw_epoch(2), len(there))
        whole = epoch_ms(device_batches(there, "gpu", 3), len(there))
        numbers = f"{host:8.3f}{cut:8.3f}{rest:8.3f}{whole:8.3f}{N / whole * 1e3:10,.0f}"
        print(f"{recipe:10}{different:15,}{numbers}", flush=True)
        wrong += different
    return int(wrong > 0)


if __name__ == "__main__":
    run_main(main)
