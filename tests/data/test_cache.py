"""The cache of decoded images: the same ones, decoded once, whatever threads and disk do."""

import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import tiny_run
from minialex.data import (
    CenterCrop,
    Compose,
    DataLoader,
    ImageCache,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToArray,
    cache,
    keep_decoded,
)
from minialex.train.checkpoint import load_checkpoint


class Counted:
    """Images of many sizes, and how often each was asked for."""

    classes = ("even", "odd")

    def __init__(self, n=30):
        self.asked = [0] * n

    def __len__(self):
        return len(self.asked)

    def __getitem__(self, index):
        self.asked[index] += 1
        rng = np.random.default_rng(index)
        size = rng.integers(1, 40, 2)
        return Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)), index % 2


def same(pair, expected):
    return (
        pair[0].mode == "RGB"
        and np.array_equal(*map(np.asarray, (pair[0], expected[0])))
        and pair[1] == expected[1]
    )


def test_each_image_is_decoded_once_and_stays_the_same(tmp_path):
    plain, counted = Counted(), Counted()
    cached = ImageCache(counted, tmp_path)
    for epoch in range(3):
        for i in np.random.default_rng(epoch).permutation(30).tolist():
            assert same(cached[i], plain[i])
    assert counted.asked == [1] * 30
    assert len(cached) == 30 and cached.classes == plain.classes
    assert repr(cached) == f"ImageCache, which keeps 30 images so far, of {counted!r}"
    assert not hasattr(ImageCache([plain[0]], tmp_path), "classes")
    assert same(cached[-1], plain[29])
    with pytest.raises(IndexError):
        cached[30]


def test_threads_get_their_own_images(tmp_path):
    plain, cached = Counted(), ImageCache(Counted(), tmp_path)
    order = np.random.default_rng(0).integers(0, 30, 600).tolist()
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(cached.__getitem__, order))
    assert all(same(image, plain[i]) for i, image in zip(order, images, strict=True))


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the file has a name while it is open")
def test_the_file_has_no_name(tmp_path):
    cached = ImageCache(Counted(), tmp_path)
    cached[0]
    assert os.listdir(tmp_path) == []


class FullDisk:
    """A file that takes `room` bytes, and of the write that would exceed it a part or an error."""

    def __init__(self, file, room, error):
        self.file, self.room, self.error = file, room, error
        self.seek, self.truncate, self.fileno = file.seek, file.truncate, file.fileno

    def write(self, data):
        room = max(0, self.room - self.file.tell())
        if len(data) > room and self.error:
            raise OSError(28, "No space left on device")
        return self.file.write(data[:room])


@pytest.mark.parametrize("error", [False, True])
def test_what_does_not_fit_on_the_disk_is_decoded_again(tmp_path, error):
    plain, counted = Counted(), Counted()
    cached = ImageCache(counted, tmp_path)
    cached._file = FullDisk(cached._file, 15_000, error)
    for _ in range(3):
        assert all(same(cached[i], plain[i]) for i in range(30))
    assert set(counted.asked) == {1, 3}


def test_images_outlive_their_cache(tmp_path):
    plain, counted = Counted(), Counted()
    cached = ImageCache(counted, tmp_path)
    for _ in range(3):
        assert all(same(cached[i], plain[i]) for i in range(30))
    assert counted.asked == [1] * 30
    images = [cached[i][0] for i in range(30)]
    del cached
    for i, image in enumerate(images):  # no map, no file
        assert np.array_equal(image, plain[i][0])


def test_a_disk_without_room_for_another_segment(tmp_path):
    plain, counted = Counted(3), Counted(3)
    cached = ImageCache(counted, tmp_path)

    def refuse(size):
        raise OSError(27, "File too large")

    cached._file = FullDisk(cached._file, 0, True)
    cached._file.truncate = refuse
    assert all(same(cached[i], plain[i]) for _ in range(2) for i in range(3))
    assert counted.asked == [2] * 3


@pytest.mark.parametrize(
    "steps", [(), (Resize(20), CenterCrop(16)), (Resize(20), CenterCrop(16), CenterCrop(9))]
)
@pytest.mark.parametrize("workers", [0, 3])
def test_what_is_the_same_in_every_epoch_is_done_once(tmp_path, steps, workers):
    chance = (RandomCrop(8), RandomHorizontalFlip()) if len(steps) < 3 else ()
    transform = Compose((*(steps or (Resize((16, 20)),)), *chance, ToArray()))
    counted, plain = Counted(), DataLoader(Counted(), 4, transform, seed=1)
    cached = DataLoader(counted, 4, transform, seed=1, workers=workers)
    keep_decoded([cached], tmp_path)
    asked = sum(counted.asked)
    for epoch in range(3):
        for ours, theirs in zip(cached.epoch(epoch), plain.epoch(epoch), strict=True):
            assert all(map(np.array_equal, ours, theirs))
    assert sum(counted.asked) == asked + 30
    size = {0: (20, 16), 2: (16, 16), 3: (9, 9)}[len(steps)]
    assert {cached.dataset[i][0].size for i in range(30)} == {size}
    assert cache.cache_bytes(cached.dataset) == 30 * 3 * {0: 320, 2: 256, 3: 81}[len(steps)]


@pytest.fixture
def loaders():
    return [DataLoader(Counted(n), 4, ToArray()) for n in (30, 7)]


def test_the_room_is_announced(tmp_path, loaders):
    datasets = [loader.dataset for loader in loaders]
    exact = sum(
        3 * np.prod(dataset[i][0].size) for dataset in datasets for i in range(len(dataset))
    )
    assert 0.5 < sum(map(cache.cache_bytes, datasets)) / exact < 2
    told = keep_decoded(loaders, tmp_path)
    assert told == "decoded images are kept: 0 MB on the disk while the run lasts"
    assert all(isinstance(loader.dataset, ImageCache) for loader in loaders)


def test_the_room_is_estimated_with_one_image_in_memory_at_a_time():
    class Large:
        last = lambda self: None  # noqa: E731

        def __len__(self):
            return 9

        def __getitem__(self, index):
            assert self.last() is None
            image = Image.new("RGB", (20, 16))
            self.last = weakref.ref(image)
            return image, 0

    assert cache.cache_bytes(Large()) == 9 * 3 * 320


def test_a_disk_that_is_full_or_read_only_is_left_alone(tmp_path, loaders, monkeypatch):
    datasets = [loader.dataset for loader in loaders]

    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refuse)
    assert keep_decoded(loaders, tmp_path) == "decoded images are not kept: Read-only file system"
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    line = keep_decoded(loaders, tmp_path)
    assert line.startswith("decoded images are not kept: they need 0.0 GB")
    assert [loader.dataset for loader in loaders] == datasets


def test_training_gives_the_same_bits_with_and_without(tmp_path, monkeypatch, capsys):
    for name in ("cache", "no-cache"):
        assert tiny_run.main(["--out", str(tmp_path / name), f"--{name}"]) == 0
    assert capsys.readouterr().out.count("decoded images are kept") == 1
    first, second = (
        load_checkpoint(tmp_path / name / "last.safetensors")[0] for name in ("cache", "no-cache")
    )
    for name, array in second.items():
        np.testing.assert_array_equal(first[name], array)
