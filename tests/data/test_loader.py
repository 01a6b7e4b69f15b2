"""The DataLoader: the same batches for any number of workers, clear errors, no thread is left."""

import threading

import numpy as np
import pytest
from PIL import Image

from bad_input import refused
from minialex.data import (
    Compose,
    DataLoader,
    Drawings,
    ImageFolder,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToArray,
)
from minialex.errors import ConfigError, DataError
from noise_pictures import (  # noqa: F401 -- a fixture
    Pictures,
    loading_threads,
    no_thread_is_left,
    noise,
)

TRANSFORM = Compose([RandomCrop(8), RandomHorizontalFlip(), ToArray()])
WORKERS = [0, 1, 2, 4]


def loader(dataset=None, batch_size=4, **options):
    return DataLoader(
        dataset or Pictures(), batch_size, options.pop("transform", TRANSFORM), **options
    )


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(p, q)
        for one, two in zip(a, b, strict=True)
        for p, q in zip(one, two, strict=True)
    )


def test_shapes_dtypes_and_labels():
    batches = list(loader().epoch(0))
    assert [x.shape for x, _ in batches] == [(4, 8, 8, 3)] * 5 + [(3, 8, 8, 3)]
    assert all(x.dtype == np.float32 and y.dtype == np.int64 for x, y in batches)
    assert np.concatenate([y for _, y in batches]).tolist() == [k % 2 for k in range(23)]


def test_a_sample_is_what_dataset_and_transform_make_of_it():
    batches = loader(seed=7, shuffle=True)
    x, labels = (np.concatenate(parts) for parts in zip(*batches.epoch(3), strict=True))
    for k, i in enumerate(batches.order(3).tolist()):
        image, label = Pictures()[i]
        expected = TRANSFORM(image, np.random.default_rng([7, 3, i]))
        assert np.array_equal(x[k], expected) and labels[k] == label


@pytest.mark.parametrize("workers", WORKERS[1:])
@pytest.mark.parametrize("drop_last", [False, True])
def test_same_bits_for_any_number_of_workers(workers, drop_last):
    options = {"shuffle": True, "seed": 5, "drop_last": drop_last}
    for epoch in (0, 1):
        expected = list(loader(**options).epoch(epoch))
        for prefetch in (1, 4):
            found = list(loader(workers=workers, prefetch=prefetch, **options).epoch(epoch))
            assert same(found, expected)


def test_shuffle_visits_all_in_an_order_of_seed_and_epoch():
    orders = [loader(shuffle=True, seed=s).order(e).tolist() for s in (0, 1) for e in (0, 1)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == loader(shuffle=True, seed=0).order(0).tolist()
    assert loader(seed=3).order(2).tolist() == list(range(23))
    dataset = Pictures()
    list(loader(dataset, shuffle=True).epoch(0))
    assert dataset.loaded == orders[0]


def test_augmentation_differs_between_epochs_and_seeds():
    first, epoch, seed = (
        next(iter(loader(seed=s).epoch(e)))[0] for s, e in ((0, 0), (0, 1), (1, 0))
    )
    assert not np.array_equal(first, epoch) and not np.array_equal(first, seed)


def test_order_does_not_share_numbers_with_sample_0():
    # NumPy pads short seeds with zeros: [seed, epoch] and [seed, epoch, 0] are the same stream.
    assert (
        loader(shuffle=True, seed=2).order(1).tolist()
        != np.random.default_rng([2, 1, 0]).permutation(23).tolist()
    )


@pytest.mark.parametrize("workers", WORKERS)
def test_start_skips_without_loading(workers):
    options = {"shuffle": True, "workers": workers}
    expected = list(loader(**options).epoch(1))
    for start in range(7):
        dataset = Pictures()
        assert same(list(loader(dataset, **options).epoch(1, start)), expected[start:])
        assert sorted(dataset.loaded) == sorted(loader(**options).order(1)[start * 4 :].tolist())


def test_len():
    assert [len(loader(batch_size=b)) for b in (1, 4, 23, 50)] == [23, 6, 1, 1]
    assert [len(loader(batch_size=b, drop_last=True)) for b in (1, 4, 23)] == [23, 5, 1]
    dataset = Pictures()
    assert len(list(loader(dataset, drop_last=True).epoch(0))) == 5 and len(dataset.loaded) == 20


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_comes_in_place_of_its_batch(workers):
    batches = loader(Pictures(bad=(9, 13)), workers=workers).epoch(0)
    assert [next(batches)[1].tolist() for _ in range(2)] == [[0, 1, 0, 1]] * 2
    with refused(DataError, "picture 9 is damaged"):
        next(batches)
    assert loading_threads() == []
    assert list(batches) == []


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_more_than_prefetch_batches_are_loaded_ahead(workers):
    dataset = Pictures(400)
    batches = loader(dataset, workers=workers, prefetch=3).epoch(0)
    for taken in range(1, 4):
        next(batches)
        ahead = 4 * (taken + 2)  # the one just taken and two more
        with dataset.changed:
            assert dataset.changed.wait_for(lambda n=ahead: len(dataset.loaded) >= n, timeout=30)
        assert len(dataset.loaded) == ahead
    batches.close()
    assert len(dataset.loaded) == ahead


@pytest.mark.parametrize("workers", [1, 3])
def test_leaving_early_stops_the_workers(workers):
    dataset = Pictures(4000)
    for _ in loader(dataset, batch_size=50, workers=workers).epoch(0):
        break
    assert loading_threads() == []
    loaded = len(dataset.loaded)
    # The one just taken, and at most `prefetch` more.
    assert loaded <= 5 * 50 and len(dataset.loaded) == loaded


def test_nothing_runs_before_the_first_batch_is_asked_for():
    dataset = Pictures()
    batches = loader(dataset, workers=2).epoch(0)
    assert dataset.loaded == [] and loading_threads() == []
    del batches


def test_an_exception_in_the_loop_stops_the_workers():
    with pytest.raises(KeyboardInterrupt):
        for _ in loader(Pictures(4000), batch_size=500, workers=2).epoch(0):
            raise KeyboardInterrupt


def test_workers_load_and_the_caller_does_not():
    threads = set()

    def spy(image, rng):
        threads.add(threading.current_thread().name.startswith("minialex-data"))
        return ToArray()(image)

    for workers, expected in ((0, {False}), (2, {True})):
        threads.clear()
        list(loader(transform=spy, workers=workers).epoch(0))
        assert threads == expected


def test_a_damaged_photo_in_a_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(3):
            Pictures()[k][0].save(tmp_path / name / f"{k}.png")
    (tmp_path / "b" / "1.png").write_bytes((tmp_path / "b" / "0.png").read_bytes()[:200])
    messages = []
    for workers in WORKERS:
        with pytest.raises(DataError) as caught:
            list(DataLoader(ImageFolder(tmp_path), 2, TRANSFORM, workers=workers).epoch(0))
        messages.append(str(caught.value))
    assert len(set(messages)) == 1 and "\n" not in messages[0]
    assert str(tmp_path / "b" / "1.png") in messages[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -4}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"workers": -1}, "workers"),
        ({"workers": "2"}, "workers"),
        ({"prefetch": 0}, "prefetch"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
        ({"batch_size": 24, "drop_last": True}, "no batch of 23 samples"),
    ],
)
def test_bad_options(options, says):
    with refused(ConfigError, says):
        loader(**options)


def test_bad_epochs_and_starts():
    for epoch, start in ((-1, 0), (0, -1), (0, 7), (1.5, 0)):
        with refused(ConfigError):
            loader().epoch(epoch, start)
    assert list(loader().epoch(0, 6)) == []


def test_empty_dataset():
    with refused(DataError, "empty"):
        DataLoader(Pictures(0), 4, TRANSFORM)


@pytest.mark.parametrize("workers", [0, 2])
def test_transforms_that_cannot_be_stacked(workers):
    with refused(ConfigError, "ToArray"):
        next(loader(transform=Resize(8), workers=workers).epoch(0))

    def uneven(image, rng):
        return np.zeros((int(rng.integers(1, 100)), 3, 3), np.float32)

    with refused(ConfigError, "differ in shape"):
        next(loader(transform=uneven, workers=workers).epoch(0))


# ------------------------------------------------------------------------------ the loop of a user


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
