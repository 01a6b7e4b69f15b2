"""What loading photos costs: the work for one photo, and how much of it training notices.

    python benchmarks/bench_loading.py                    photos that it makes, 500 x 375 pixels
    python benchmarks/bench_loading.py --data path/to/photos --augment crop

The first table has the time of one thread per photo (CPU time, so other programs count little).
The second has training steps, in turn: on one batch that is in memory already, on photos decoded
anew, and on photos from the cache, where they are from the second epoch on.  Numbers are medians;
"loading" is the CPU time per photo beyond training from memory.
"""

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minialex.commands.main import run_main
from minialex.data import (
    DataLoader,
    Dataset,
    Drawings,
    ImageFolder,
    Source,
    Transform,
    keep_decoded,
    open_source,
)
from minialex.data.pixels import Finish, ToBytes, split_transform
from minialex.errors import ConfigError
from minialex.gpu.devices import choose_device
from minialex.models import AlexNet
from minialex.optim import Adam
from minialex.train.config import AUGMENTATIONS, Config
from minialex.train.loop import Training
from minialex.train.prefetch import device_batches
from minialex.train.screen import Silent
from minialex.train.setup import make_loaders, make_model, training_transform
from minialex.xp import Array

STEPS = 6  # of each kind in a round

Batches = Generator[tuple[Array, Array]]


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", help="pets or a folder of photos, as for training (default: made here)")
    add("--photos", type=int, default=64, help="how many of them are used (default 64)")
    add("--augment", choices=AUGMENTATIONS, default="full", help="augmentation (default full)")
    add("--variant", default="ungrouped", help="2012, ungrouped (default) or owt")
    add("--image-size", type=int, help="side of the image in pixels (default: the variant's)")
    add("--width", type=float, default=1.0, help="scale the network (default 1)")
    add("--batch-size", type=int, default=32)
    add("--workers", type=int, default=2, help="threads that load (default 2)")
    add("--rounds", type=int, default=5, help="turns of each kind of photos (default 5)")
    add("--device", default="auto", help="cpu, gpu or auto (default)")
    return parser


def make_photos(folder: Path, count: int) -> None:
    """JPEG files of 500 x 375 pixels, about 100 kB each: drawings with the grain of a photo."""
    drawings = Drawings(count, seed=0, size=500)
    for i in range(count):
        image, label = drawings[i]
        pixels = np.asarray(image.crop((0, 62, 500, 437)))
        grainy = pixels + np.random.default_rng(i).normal(0, 9, pixels.shape)
        path = folder / drawings.classes[label] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def cpu_ms(function: Callable[[Any], object], arguments: Sequence[Any], rounds: int) -> float:
    """CPU milliseconds per function(argument): the median of `rounds` passes over `arguments`."""
    times = []
    for _ in range(rounds):
        started = time.thread_time()
        for argument in arguments:
            function(argument)
        times.append((time.thread_time() - started) / len(arguments) * 1e3)
    return statistics.median(times)


class Again:
    """`dataset` over and over, `length` images in all."""

    def __init__(self, dataset: Dataset, length: int):
        self.dataset, self.classes, self.length = dataset, dataset.classes, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.dataset[index % len(self.dataset)]


@contextlib.contextmanager
def cached(photos: Dataset, transform: Transform) -> Iterator[tuple[Any, Transform]]:
    """The photos in a cache that is filled, and what is left of the transform."""
    with tempfile.TemporaryDirectory() as folder:
        loader = DataLoader(photos, 1, transform)
        keep_decoded([loader], folder)
        for i in range(len(photos)):
            loader.dataset[i]
        yield loader.dataset, loader.transform


def costs(photos: Dataset, side: int, augment: str, rounds: int) -> dict[str, float]:
    """{what is done: CPU milliseconds per photo}."""
    rng, images = np.random.default_rng(0), [photos[i][0] for i in range(len(photos))]
    transform = training_transform(side, Config(augment=augment))
    to_bytes, finish = split(transform)
    pixels = np.stack([to_bytes(image, rng)[0] for image in images])
    indices = range(len(photos))
    with cached(photos, transform) as (kept, rest):
        rest_to_bytes, _ = split(rest)
        return {
            "read and decode": cpu_ms(photos.__getitem__, indices, rounds),
            "crop and scale": cpu_ms(lambda image: to_bytes(image, rng), images, rounds),
            "both, from the cache": cpu_ms(
                lambda i: rest_to_bytes(kept[i][0], rng), indices, rounds
            ),
            "bytes to numbers": cpu_ms(finish, [pixels], rounds) / len(pixels),
        }


def split(transform: Transform) -> tuple[ToBytes, Finish]:
    """`split_transform` of a transform of training, which ends in ToArray and Normalize."""
    parts = split_transform(transform)
    assert parts is not None
    return parts


def in_memory(x: Array, labels: Array) -> Batches:
    """One batch over and over."""
    while True:
        yield x, labels


def turns(run: Training, kinds: dict[str, Callable[[int], Batches]], rounds: int) -> dict[str, Any]:
    """{kind: (seconds, CPU seconds of all threads)} of a training step, loading included: medians.

    `kinds` make the batches of a round.  Its first two steps do not count: they fill the loader's
    queue.
    """
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind, batches_of in kinds.items():
            ends = []
            with contextlib.closing(batches_of(number)) as batches:
                for x, labels in itertools.islice(batches, STEPS):
                    run.step(x, labels)
                    run.meter.read_back(run.progress)
                    ends.append((time.perf_counter(), time.process_time()))
            times[kind] += [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(ends[1:])]
    return {
        kind: tuple(map(statistics.median, zip(*own, strict=True))) for kind, own in times.items()
    }


def training(photos: Dataset, options: argparse.Namespace, device: str) -> dict[str, Any]:
    """`turns` of training on memory, on photos and on the cache."""
    config = Config(
        augment=options.augment, batch_size=options.batch_size, workers=options.workers,
        width=options.width, variant=options.variant, image_size=options.image_size, lr=0.0,
    )  # fmt: skip
    source = Source(Again(photos, STEPS * options.batch_size), photos, photos, photos.classes, "")
    model = make_model(config, len(photos.classes))
    loader, _, _ = make_loaders(config, source, model)
    run = Training(model, loader, Adam(model, lr=0.0), 1, device=device, screen=Silent())
    with cached(photos, loader.transform) as (kept, rest):
        again = Again(kept, len(loader.dataset))
        from_cache = DataLoader(
            again, config.batch_size, rest, shuffle=True, workers=config.workers
        )
        with contextlib.closing(device_batches(loader, device, 0)) as batches:
            x, labels = (array.copy() for array in next(batches))
        run.step(x, labels)  # a first step allocates memory
        kinds: dict[str, Callable[[int], Batches]] = {
            "memory": lambda number: in_memory(x, labels),
            "photos": lambda number: device_batches(loader, device, number),
            "cache": lambda number: device_batches(from_cache, device, number),
        }
        return turns(run, kinds, options.rounds)


def tables(rows: dict[str, dict[str, float]], times: dict[str, Any], batch_size: int) -> str:
    """Both tables as lines."""
    lines = [f"{'CPU ms per photo, one thread':<28}" + "".join(f"{augment:>8}" for augment in rows)]
    for name in next(iter(rows.values())):
        lines.append(f"{name:<28}" + "".join(f"{row[name]:8.2f}" for row in rows.values()))
    loading = "loading, CPU ms per photo"
    lines += ["", f"{'training from':<14}{'images/s':>9}{'of memory':>11}{loading:>27}"]
    seconds, cpu = times["memory"]
    for kind, (s, c) in times.items():
        loading = "" if kind == "memory" else f"{(c - cpu) / batch_size * 1e3:27.2f}"
        lines.append(f"{kind:<14}{batch_size / s:9.1f}{seconds / s:11.3f}{loading}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if min(options.photos, options.rounds, options.batch_size) < 1:
        raise ConfigError("--photos, --rounds and --batch-size must be at least 1")
    device, chosen = choose_device(options.device)
    print(chosen)
    with tempfile.TemporaryDirectory() as folder:
        if options.data:
            photos: Dataset = open_source(options.data, seed=0, limit=max(2, options.photos)).train
        else:
            make_photos(Path(folder), max(2, options.photos))
            photos = ImageFolder(folder)
        chosen = f"--augment {options.augment}, --batch-size {options.batch_size}"
        print(f"{len(photos)} photos, {chosen}", flush=True)
        side = AlexNet(2, options.variant, width=1 / 64, image_size=options.image_size).image_size
        rows = {augment: costs(photos, side, augment, options.rounds) for augment in AUGMENTATIONS}
        print(tables(rows, training(photos, options, device), options.batch_size))
    return 0


if __name__ == "__main__":
    run_main(main)
