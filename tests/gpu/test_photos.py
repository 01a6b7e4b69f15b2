"""Photos in the GPU's memory: the very bytes of the CPU's path, whatever the photo and the view."""

import itertools
from dataclasses import replace

import cupy
import numpy as np
import pytest
from PIL import Image

import tiny_run
from device import has_gpu, on_device
from minialex.data import (
    CenterCrop,
    ColourShift,
    Compose,
    DataLoader,
    Drawings,
    ImageFolder,
    Normalize,
    PhotoError,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToArray,
    transforms,
)
from minialex.gpu.photos import GpuPhotos
from minialex.train import frozen, prefetch, resident
from minialex.train.config import configure
from minialex.train.screen import Silent
from minialex.train.setup import evaluation_transform, training_transform
from noise_pictures import no_thread_is_left, same  # noqa: F401 -- a fixture

END = (ToArray(), ColourShift(((0.2, 0.1, 0.1),)), Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
MIRROR = RandomHorizontalFlip()
# width, height: ordinary, long and thin, tiny, of the crop's own size
SIZES = [(90, 70), (70, 90), (80, 80), (300, 40), (40, 330), (41, 5000), (38, 38), (39, 60)]
COLOURS = {"mean": [0.5, 0.4, 0.4], "components": [[0.2, 0.2, 0.2], [0.01, -0.01, 0.0]]}


class Noise(list):
    """Noise of the given sizes, with labels."""

    def __init__(self, sizes, seed=0):
        rng = np.random.default_rng(seed)
        pixels = (rng.integers(0, 256, (H, W, 3), dtype=np.uint8) for W, H in sizes)
        super().__init__((Image.fromarray(one), k % 3) for k, one in enumerate(pixels))


@pytest.fixture(autouse=True)
def all_are_ours(monkeypatch):
    monkeypatch.setattr(resident, "is_ours", lambda dataset: True)


def loader(steps, dataset=None, **options):
    options = {"shuffle": True, "seed": 3, "workers": 2, **options}
    return DataLoader(
        Noise(SIZES * 3) if dataset is None else dataset, 5, Compose(steps), **options
    )


def batches(one, epoch=0, start=0):
    found = prefetch.device_batches(one, "gpu", epoch, start)
    return [(x.get(), labels.get()) for x, labels in found]


def moved(one):
    """The loader once more, with its photos in the GPU's memory."""
    other = DataLoader(one.dataset, one.batch_size, one.transform, shuffle=one.shuffle,
        seed=one.seed, workers=one.workers)  # fmt: skip
    assert resident.keep_on_gpu(other, Silent(), 1 << 30) > 0
    assert isinstance(other.dataset, GpuPhotos)
    return other


PIPELINES = {
    "resized crops": (RandomResizedCrop(32, (0.05, 1.0)), MIRROR),
    "of any shape": (RandomResizedCrop((24, 48), (0.01, 1.0), (0.2, 5.0)), MIRROR),
    "larger than the photo": (RandomResizedCrop((130, 120), (0.3, 1.0)),),
    "one pixel": (RandomResizedCrop(1),),
    "crops": (RandomCrop(37), MIRROR),
    "crops over the border": (RandomCrop((50, 41), padding=8), MIRROR),
    "mirror images": (CenterCrop(30), MIRROR),
    "the middle": (Resize(36), CenterCrop(36)),
    "crops of the middle": (Resize(40), CenterCrop(40), RandomCrop(34), MIRROR),
}  # fmt: skip


@pytest.mark.parametrize("known", [True, False], ids=["Pillow as it is", "a later Pillow"])
@pytest.mark.parametrize("steps", PIPELINES.values(), ids=PIPELINES)
def test_the_batches_of_the_loader_to_the_bit(steps, known, monkeypatch):
    monkeypatch.setattr(transforms, "_KNOWN", known and transforms._KNOWN)
    one = loader((*steps, *END))
    for epoch, start in ((0, 0), (1, 2), (1, 4)):
        expected = list(one.epoch(epoch, start))
        assert len(expected) == 5 - start and same(batches(moved(one), epoch, start), expected)


@pytest.mark.parametrize("part", ["training", "evaluation"])
@pytest.mark.parametrize("recipe", ["modern", "paper", "drawings"])
def test_the_bytes_of_every_recipe(recipe, part):
    config = replace(configure({"recipe": recipe, "data": "x"}), colours=COLOURS)
    make = training_transform if part == "training" else evaluation_transform
    one = DataLoader(Noise(SIZES[:4]), 4, make(67, config), seed=1)
    other = moved(one)
    for epoch in range(3):
        assert same(batches(other, epoch), list(one.epoch(epoch)))


def test_a_hundred_views_of_a_photo():
    """Of every share of its area, and so every number of pixels that make one."""
    rng, (W, H) = np.random.default_rng(4), (150, 110)
    (image, _), *_ = Noise([(W, H)])
    crop = RandomResizedCrop((19, 23), (0.001, 1.0), (0.1, 10.0))
    views, images = [], []
    for _ in range(100):
        left, top, right, bottom = box = crop.draw_box(W, H, rng)
        rows = transforms.rows_to_cut(W, H, box, crop.size)
        first = rows.start if rows else 0
        views.append((0, first, W, H - first, left, top - first, right, bottom - first, 0))
        images.append(np.asarray(transforms.scaled(image, box, crop.size)))
    views = np.array(views, np.int32)
    photos = GpuPhotos([(on_device(np.asarray(image)), 0)], crop.size)
    np.testing.assert_array_equal(photos.cut(on_device(views), views).get(), images)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_number_of_workers_changes_nothing(workers):
    steps = (RandomResizedCrop(20), MIRROR, *END)
    expected = list(loader(steps, workers=0).epoch(4))
    assert same(batches(moved(loader(steps, workers=workers)), 4), expected)


# ------------------------------------------------------------------------------ what is not moved

STAYS = {
    "a step of one's own": ((lambda image, rng: image, RandomCrop(30)), None),
    "a mirror before the crop": ((MIRROR, RandomCrop(30)), None),
    "sizes that differ": ((Resize(40),), [(50, 50)] * 3),
    "no sizes": ((MIRROR,), [(50, 50)] * 3),
    "scaled after the crop": ((RandomCrop(38), Resize(40)), None),
}


@pytest.mark.parametrize("steps, sizes", STAYS.values(), ids=STAYS)
def test_other_pipelines_stay_with_the_loader(steps, sizes):
    one = loader((*steps, *END), Noise(sizes or SIZES))
    dataset = one.dataset
    assert resident.keep_on_gpu(one, Silent(), 1 << 30) == 0 and one.dataset is dataset


def test_photos_that_do_not_fit_stay_where_they_are(monkeypatch):
    dataset = Drawings(12, size=40)
    need = 12 * 32 * 32 * 3
    for most, kept in ((need, need), (need - 1, 0)):
        one = loader((CenterCrop(32), *END), dataset)
        assert resident.keep_on_gpu(one, Silent(), most) == kept
        assert isinstance(one.dataset, GpuPhotos) == (kept > 0)
    with monkeypatch.context() as patch:
        patch.setattr(cupy.cuda.runtime, "memGetInfo", lambda: (4 * need - 4, 1 << 40))
        assert resident.keep_on_gpu(loader((CenterCrop(32), *END), dataset), Silent(), 1 << 30) == 0
    # Sixteen samples did not tell that the others are larger.
    sizes = [(30, 30) if k in np.linspace(0, 99, 16).astype(int) else (90, 90) for k in range(100)]
    one = loader((RandomCrop(20), *END), Noise(sizes))
    assert resident.keep_on_gpu(one, Silent(), 100 * 90 * 90) == 0
    assert same(batches(one), list(one.epoch(0)))


def test_only_photos_of_minialex_are_moved(monkeypatch):
    monkeypatch.undo()
    for dataset, kept in ((Drawings(6, size=40), True), ([*Drawings(6, size=40)], False)):
        one = loader((CenterCrop(32), *END), dataset)
        assert (resident.keep_on_gpu(one, Silent(), 1 << 30) > 0) == kept


def test_a_photo_that_is_too_small_or_damaged_is_named(tmp_path):
    for k, side in enumerate((50, 50, 20)):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("RGB", (side, 50)).save(tmp_path / "a" / f"{k}.png")
    with pytest.raises(PhotoError, match=r"2\.png.*RandomCrop: cannot cut 30x30"):
        resident.keep_on_gpu(
            loader((RandomCrop(30), *END), ImageFolder(tmp_path)), Silent(), 1 << 30
        )
    (tmp_path / "a" / "1.png").write_bytes(b"no image")
    with pytest.raises(PhotoError, match=r"1\.png"):
        resident.keep_on_gpu(
            loader((RandomCrop(10), *END), ImageFolder(tmp_path)), Silent(), 1 << 30
        )


# ------------------------------------------------------------------------------------------- copies


@pytest.mark.skipif(has_gpu(), reason="a real GPU does not count")
@pytest.mark.parametrize("steps", [PIPELINES["resized crops"], PIPELINES["crops"]])
def test_one_small_pinned_copy_a_batch_and_no_wait(steps):
    from cupyemu import device

    names = ("copies_h2d", "copies_h2d_pageable", "copies_d2h", "synchronizations", "bytes_h2d")
    found, one = [], moved(loader((*steps, *END)))
    for _ in prefetch.device_batches(one, "gpu", 0):
        found.append([device.counters()[name] for name in names])
    between = [[b - a for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(found)]
    # Five views of nine numbers, five colours, five labels; four in the last batch, which was sent
    # while another one was used.
    full, last = 5 * (9 * 4 + 3 * 4 + 8), 4 * (9 * 4 + 3 * 4 + 8)
    assert between == [[1, 0, 0, 0, full]] * 2 + [[1, 0, 0, 0, last], [0] * 5]


# --------------------------------------------------------------------------------------------- runs


def trained(folder, **options):
    run = tiny_run.training(folder, epochs=3, keep_last=True, log_interval=99, **options)
    steps = tiny_run.watched(run)
    weights = tiny_run.last_weights(run)
    return run, steps, weights


@pytest.mark.parametrize("augment", ["crop", "full", "none"])
def test_a_run_on_them_is_the_same_run(tmp_path, augment):
    options = {"augment": augment, "colour_shift": 0.1}
    run, steps, weights = trained(tmp_path / "moved", **options)
    assert isinstance(run.loader.dataset, GpuPhotos) and isinstance(run.val.dataset, GpuPhotos)
    other, expected, those = trained(tmp_path / "not", cache=False, **options)
    assert not isinstance(other.loader.dataset, GpuPhotos)
    assert same(steps, expected) and len(steps) == 9
    np.testing.assert_array_equal(weights, those)
    assert run.history[-1]["val_loss"] == other.history[-1]["val_loss"]
    told = [line for line in run.screen.lines if "GPU's memory" in line]
    assert told == ["photos: 0.0 GB in the GPU's memory"]
    assert "decoded images" not in "".join(run.screen.lines)


def test_frozen_layers_are_given_the_same_photos(tmp_path):
    options = {"augment": "full", "freeze": "features.*"}
    run, steps, weights = trained(tmp_path / "moved", **options)
    assert isinstance(run.loader.dataset, GpuPhotos) and run.net is not run.model
    other, expected, those = trained(tmp_path / "not", cache=False, **options)
    assert same(steps, expected) and len(steps) == 9
    np.testing.assert_array_equal(weights, those)
    assert run.history[-1]["val_loss"] == other.history[-1]["val_loss"]


def test_outputs_of_frozen_layers_take_the_place_of_photos(tmp_path, monkeypatch):
    options = {"augment": "none", "freeze": "features.*"}
    run, _, weights = trained(tmp_path / "kept", **options)
    assert run.net.after_first and isinstance(run.loader.dataset, list)
    assert not any("GPU's memory" in line for line in run.screen.lines)
    monkeypatch.setattr(frozen, "MOST", 0)
    other, _, those = trained(tmp_path / "not kept", **options)
    assert not other.net.after_first and isinstance(other.loader.dataset, GpuPhotos)
    np.testing.assert_allclose(weights, those, rtol=1e-5, atol=1e-6)


def test_a_run_goes_on_in_the_middle_of_an_epoch(tmp_path):
    _, expected, weights = trained(tmp_path / "whole", augment="full")

    def stop(step):
        run.stop.asked = step == 2

    run = tiny_run.training(tmp_path / "parts", stop, epochs=3, augment="full", keep_last=True)
    first = tiny_run.watched(run)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    rest, steps, those = trained(tmp_path / "parts", augment="full")
    assert len(first) == 2 and len(steps) == 7
    assert same([step[:2] for step in (*first, *steps)], [step[:2] for step in expected])
    assert isinstance(rest.loader.dataset, GpuPhotos)
    np.testing.assert_array_equal(those, weights)


def test_photos_take_what_a_memory_limit_leaves(tmp_path):
    need = 67 * 67 * 3 * 12
    for spare, moved_ones in ((need + need // 3, (True, True)), (need + 1, (True, False)),
                              (need - 1, (False, True))):  # fmt: skip
        run = tiny_run.training(tmp_path / f"{spare}", memory_limit=10**9, augment="none")
        assert 0 < run.spare < 10**9
        run.spare = spare
        loader, val = run.loader, run.val
        resident.keep_images(run)
        assert tuple(isinstance(x.dataset, GpuPhotos) for x in (run.loader, run.val)) == moved_ones
        assert loader.dataset is not run.loader.dataset and val.dataset is not run.val.dataset
