"""The benchmark of loading: what it times, and that its kinds of photos are as named."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import bench_loading
from bad_input import refused
from device import DEVICE
from minialex.data import Compose, ImageFolder, Resize, ToArray
from minialex.errors import ConfigError
from minialex.train.config import AUGMENTATIONS

TINY = (
    "--width", "0.02", "--image-size", "67", "--batch-size", "2", "--photos", "4", "--rounds", "1",
    "--device", DEVICE,
)  # fmt: skip


class Counted:
    """Four images, and how often they were asked for."""

    classes = ("even", "odd")

    def __init__(self):
        self.asked = 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.asked += 1
        pixels = np.random.default_rng(index).integers(0, 256, (80, 90, 3), dtype=np.uint8)
        return Image.fromarray(pixels), index % 2


@pytest.fixture
def clock(monkeypatch):
    """Clocks that go on only by `clock.now += seconds`."""
    clock = SimpleNamespace(now=0.0)
    for name in ("perf_counter", "process_time", "thread_time"):
        monkeypatch.setattr(bench_loading.time, name, lambda: clock.now)
    return clock


def test_the_photos_that_it_makes(tmp_path):
    bench_loading.make_photos(tmp_path, 4)
    photos = ImageFolder(tmp_path)
    assert photos.classes == ["cat", "dog"] and np.bincount(photos.labels).tolist() == [2, 2]
    assert all(photos[i][0].size == (500, 375) for i in range(4))
    assert all(path.stat().st_size > 50_000 for path in tmp_path.rglob("*.jpg"))


def test_milliseconds_of_a_call(clock):
    def work(argument):
        clock.now += argument

    assert bench_loading.cpu_ms(work, [1.0, 2.0, 6.0], rounds=3) == pytest.approx(3000)


def test_a_step_counts_from_the_end_of_the_one_before(clock):
    def batches(loading):
        def of_round(number):
            for _ in range(99):
                clock.now += loading
                yield None, None

        return of_round

    def step(x, labels):
        clock.now += 2.0

    kinds = {"memory": batches(0), "photos": batches(0.5)}
    meter = SimpleNamespace(read_back=lambda progress: None)
    run = SimpleNamespace(step=step, meter=meter, progress=None)
    found = bench_loading.turns(run, kinds, 2)
    assert found == {"memory": (2.0, 2.0), "photos": (2.5, 2.5)}


def test_the_cache_asks_for_each_photo_once(monkeypatch):
    photos, transform = Counted(), Compose((Resize(70), ToArray()))
    with bench_loading.cached(photos, transform) as (kept, rest):
        before = photos.asked
        assert kept[0][0].size == (78, 70) and rest == Compose((ToArray(),))
        assert photos.asked == before


def test_kinds_of_batches(monkeypatch):
    asked = {}

    def turns(trainer, kinds, rounds):
        for kind, batches_of in kinds.items():
            before = photos.asked
            shapes = [x.shape for x, _ in itertools.islice(batches_of(0), bench_loading.STEPS)]
            assert shapes == [(2, 67, 67, 3)] * bench_loading.STEPS
            asked[kind] = photos.asked - before

    monkeypatch.setattr(bench_loading, "turns", turns)
    photos = Counted()
    bench_loading.training(photos, bench_loading.parser().parse_args(TINY), DEVICE)
    assert asked == {"memory": 0, "photos": 2 * bench_loading.STEPS, "cache": 0}


def test_the_tables(capsys):
    assert bench_loading.main(TINY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "4 photos, --augment full, --batch-size 2"
    head, rows = lines[2], [line.rsplit(maxsplit=3) for line in lines[3:7]]
    assert head.split()[-3:] == list(AUGMENTATIONS)
    assert all(float(number) >= 0 for row in rows for number in row[1:])
    assert [row[0] for row in rows] == [
        "read and decode",
        "crop and scale",
        "both, from the cache",
        "bytes to numbers",
    ]
    assert [line.split()[0] for line in lines[8:]] == ["training", "memory", "photos", "cache"]
    assert lines[9].split()[2] == "1.000"


@pytest.mark.parametrize("option", ["--photos", "--rounds", "--batch-size"])
def test_bad_numbers(option):
    with refused(ConfigError, option):
        bench_loading.main([*TINY, option, "0"])
