"""The DataLoader: the same batches for any number of workers, clear errors, no thread is left."""

import threading

import numpy as np
import pytest

from bad_input import refused
from minialex.data import (
    DataLoader,
    ImageFolder,
    Resize,
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
