"""The DataLoader in a loop of the user's: epochs, what a data set may be, and its words."""

import numpy as np
import pytest
from PIL import Image

from bad_input import refused
from minialex.data import (
    Compose,
    DataLoader,
    Drawings,
    Normalize,
    ToArray,
)
from minialex.errors import ConfigError, DataError
from noise_pictures import (  # noqa: F401 -- a fixture
    TRANSFORM,
    WORKERS,
    Pictures,
    loader,
    loading_threads,
    no_thread_is_left,
    noise,
    same,
)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_loop_is_the_next_epoch(workers):
    batches = loader(shuffle=True, seed=5, workers=workers)
    assert same(list(batches), list(loader(shuffle=True, seed=5).epoch(0)))
    list(batches.epoch(7, 2))  # does not count
    for _ in batches:
        break  # counts
    assert same(list(batches), list(loader(shuffle=True, seed=5).epoch(2)))
    assert loading_threads() == []


def test_two_loops_at_once_are_two_epochs():
    batches = loader(shuffle=True)
    for k, (one, two) in enumerate(zip(batches, batches, strict=True)):
        assert one[1].tolist() == [i % 2 for i in batches.order(0)[k * 4 : k * 4 + 4]]
        assert two[1].tolist() == [i % 2 for i in batches.order(1)[k * 4 : k * 4 + 4]]


GREY = np.random.default_rng(0).integers(0, 256, (7, 5, 6), dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([Image.fromarray(image) for image in GREY], GREY[..., None] / np.float32(255)),
        ([noise(6, 5, k) for k in range(7)], [ToArray()(noise(6, 5, k)) for k in range(7)]),
        (GREY, GREY[..., None] / np.float32(255)),
        (GREY[..., None].repeat(3, axis=3), GREY[..., None].repeat(3, axis=3) / np.float32(255)),
        (GREY[..., None].repeat(5, axis=3), GREY[..., None].repeat(5, axis=3) / np.float32(255)),
        (GREY - 100.0, GREY[..., None] - np.float32(100)),
        (GREY[:, 0] / 7.0, (GREY[:, 0] / 7.0).astype(np.float32)),
    ],
    ids=["L", "RGB", "bytes", "bytes RGB", "five channels", "float64", "vectors"],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_list_of_pairs_and_no_transform(images, expected, workers):
    pairs = list(zip(images, np.arange(7) % 3, strict=True))
    batches = list(DataLoader(pairs, 3, workers=workers))
    assert [len(x) for x, _ in batches] == [3, 3, 1]
    x, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert x.dtype == np.float32 and labels.dtype == np.int64
    assert np.array_equal(x, np.asarray(expected)) and labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_the_transform_that_stands_for_none_can_be_written_down():
    assert DataLoader(Pictures(), 4).transform.to_config() == [{"name": "ToArray"}]


def test_a_transform_of_your_own_gets_what_the_dataset_gives():
    pairs = [({"a": float(k)}, k) for k in range(4)]
    (batch,) = DataLoader(pairs, 4, lambda image, rng: np.full(2, image["a"]))
    assert batch[0].dtype == np.float32 and batch[0].tolist() == [[k, k] for k in range(4)]
    normalized = Compose([ToArray(), Normalize((0.5,), (0.25,))])
    (batch,) = DataLoader([(GREY[0], 0)], 1, normalized)
    assert np.array_equal(batch[0][0], (ToArray()(GREY[0]) - 0.5) / np.float32(0.25))


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (GREY, ("dataset[0]", "a pair (image, label)", "ndarray", "zip")),
        ((GREY, 1, 2), ("dataset[0]", "tuple of 3")),
        ({"image": GREY}, ("dataset[0]", "dict")),
        ((GREY, "cat"), ("dataset[0]", "label", "'cat'")),
        ((GREY, 1.0), ("dataset[0]", "label", "1.0")),
        ((GREY, np.eye(40)), ("dataset[0]", "label", "array")),
        ((GREY, None), ("dataset[0]", "label", "None")),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_items_that_are_no_samples(item, says, workers):
    with refused(DataError, *says):
        list(DataLoader([item], 1, workers=workers))


@pytest.mark.parametrize("wrong", [(k for k in range(3)), 3, None])
def test_things_that_are_no_datasets(wrong):
    with refused(DataError, "dataset[i] -> (image, label)", type(wrong).__name__):
        DataLoader(wrong, 1)


@pytest.mark.parametrize("wrong", [np.flipud, [ToArray()], ToArray])
def test_things_that_are_no_transforms(wrong):
    with refused(ConfigError, "transform(image, rng)"):
        DataLoader(Pictures(), 4, wrong)


def test_bytes_and_floats_are_not_mixed():
    pairs = [(GREY[0][..., None].repeat(3, axis=2), 0), (np.zeros((5, 6, 3)), 1)]
    with refused(ConfigError, "uint8 (5, 6, 3)", "float32 (5, 6, 3)"):
        list(DataLoader(pairs, 2))
    assert [x.dtype for x, _ in DataLoader(pairs, 1)] == [np.float32] * 2


def test_repr():
    text = repr(loader(Drawings(2000, size=28), 64, shuffle=True, seed=3, workers=2))
    assert text.splitlines() == [
        "DataLoader: 2,000 samples in 32 batches of 64, shuffled by seed 3, 2 workers",
        "  dataset    Drawings(length=2000, seed=0, size=28, start=0)",
        f"  transform  {TRANSFORM!r}",
    ]
    text = repr(DataLoader([(GREY[0], 0)], 1))
    assert "in order" in text and text.endswith("a list\n  transform  Compose([ToArray()])")


@pytest.mark.parametrize("image", [noise(6, 5), GREY[0], np.float32(GREY), GREY[0, 0]])
def test_batches_as_loaded_are_bytes_to_finish_or_floats(image):
    batches = DataLoader([(image, 0)] * 3, 2)
    for raw, (x, _) in zip(batches.raw_epoch(0), batches.epoch(0), strict=True):
        three = isinstance(image, Image.Image)
        assert raw.images.dtype == (np.uint8 if three else np.float32) and raw.colours is None
        finished = batches.finishing(raw.images) if three else raw.images
        assert finished.dtype == np.float32 and np.array_equal(finished, x)
