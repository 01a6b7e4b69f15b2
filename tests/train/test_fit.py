"""`mx.fit` gives the same network in every way, and takes any data and layers."""

import numpy as np
import pytest

import minialex as mx
import tiny_run
from bad_input import refused
from device import DEVICE, assert_allclose, assert_array_equal, on_device, on_host
from minialex.data import Subset
from minialex.errors import CheckpointError
from minialex.train.checkpoint import load_checkpoint
from minialex.train.memory import step_bytes
from networks import TRIED, drawings, ends, rows, stop, training
from own_layers import BatchNorm, Scale

each = pytest.mark.parametrize("name", TRIED)


def sgd(model):
    """Not Adam, whose first steps are as large where the gradient is rounding alone."""
    return mx.SGD(model, lr=1e-3)


# ----------------------------------------------------------------------- the same in other ways


@each
def test_chunks_of_a_batch_give_the_same_losses_and_resume_to_the_same_bits(name, tmp_path):
    whole = training(name, optimizer=sgd)
    shape = next(whole.loader.epoch(0))[0].shape[1:]
    limit = step_bytes(whole.model, shape, 4, 3, states=1)
    chunked = training(name, tmp_path / "whole", optimizer=sgd, memory_limit=limit)
    assert (chunked.chunks.size, chunked.val.batch_size) == (3, 3)
    chunked.train()
    for one, other in zip(rows(chunked), whole.train(), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
        assert one["val_loss"] == pytest.approx(other["val_loss"], abs=1e-5)
    stop(training(name, tmp_path / "parts", optimizer=sgd, memory_limit=limit), 2)
    parts = training(name, tmp_path / "parts", optimizer=sgd, memory_limit=limit)
    assert parts.steps_done() == 2
    parts.train()
    assert_array_equal(parts.optimizer.theta, chunked.optimizer.theta)
    assert rows(parts) == rows(chunked)


def test_the_memory_that_training_took_is_enough_for_the_test(tmp_path, monkeypatch):
    model = tiny_run.training(tmp_path / "first").model
    limit = step_bytes(model, model.input_shape, 4, 1)  # with an image at a time
    assert tiny_run.main(["--out", str(tmp_path / "run"), f"--memory-limit={limit}"]) == 0
    assert (tmp_path / "run" / "result.json").exists()


@each
def test_the_pages_alone_train_the_same_network(name):
    fast, plain = training(name, optimizer=sgd), training(name, optimizer=sgd, plain=True)
    assert "#" in repr(fast.model) and "#" not in repr(plain.model)
    for one, other in zip(fast.train(), plain.train(), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
    assert_allclose(fast.optimizer.theta, on_host(plain.optimizer.theta), rtol=1e-4, atol=1e-5)


def test_a_run_may_go_on_on_another_device(tmp_path):
    whole = training("lenet", optimizer=sgd, device="cpu")
    whole.train()
    stop(training("lenet", tmp_path, optimizer=sgd, device="cpu"), 2)
    parts = training("lenet", tmp_path, optimizer=sgd)
    assert parts.steps_done() == 2
    parts.train()
    assert_allclose(parts.optimizer.theta, whole.optimizer.theta, rtol=1e-4, atol=1e-5)


@each
def test_without_validation_the_last_weights_are_the_best(name, tmp_path):
    def run(folder):
        return training(name, tmp_path / folder, val=None)

    weights, history = ends(run("whole"))
    assert all(row.keys() == {"epoch", "train_loss", "train_acc"} for row in history)
    stop(run("parts"), 4)
    assert ends(run("parts")) == (weights, history)
    best = load_checkpoint(tmp_path / "parts" / "best.safetensors")[0]
    assert {key: array.tobytes() for key, array in best.items()} == weights
    assert ends(run("parts")) == (weights, history)  # it is finished
    assert ends(training(name, val=None)) == (weights, history)  # without a folder


@pytest.mark.parametrize("kind", ["floats", "bytes", "PIL"])
def test_a_list_of_pairs_is_a_dataset(kind, tmp_path):
    pictures = drawings(24, 12)  # of 28 pixels, and no transform
    if kind != "PIL":
        pictures = [(np.asarray(image), np.int64(label)) for image, label in pictures]
    if kind == "floats":
        pictures = [(pixels / np.float32(255), label) for pixels, label in pictures]

    def run(folder, **options):
        loader = mx.DataLoader(list(pictures), 5, shuffle=True)
        options = {"val": mx.DataLoader(pictures[:5], 2), "epochs": 6, **options}
        return training("lenet", folder, loader=loader, **options)

    whole = run(None)
    weights, history = ends(whole)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    stop(run(tmp_path / "run"), 8)
    assert ends(run(tmp_path / "run")) == (weights, history)
    assert load_checkpoint(tmp_path / "run" / "best.safetensors")[1]["classes"] is None


def test_grey_pictures_are_read_right_in_every_epoch(tmp_path):
    """Also when they are kept in the folder of the run."""
    pictures = [(image.convert("L"), label) for image, label in drawings(24)]

    def run(folder, **options):
        model = mx.Sequential(mx.Flatten(), mx.Linear(784, 2, rng=np.random.default_rng(0)))
        loader = mx.DataLoader(pictures, 5)
        return training("lenet", folder, model=model, loader=loader, val=None, epochs=3, **options)

    want = ends(run(None))
    for cache in (None, True, False):
        assert ends(run(tmp_path / str(cache), cache=cache)) == want


def test_a_dataset_that_changes_its_images_is_asked_for_them_in_every_epoch(tmp_path):
    class Changing(list):
        asked = 0

        def __getitem__(self, i):
            Changing.asked += 1
            return super().__getitem__(i)

    pictures = Changing(drawings(24))
    loader = mx.DataLoader(pictures, 5)
    training("lenet", tmp_path / "run", loader=loader, val=None, epochs=3).train()
    assert Changing.asked >= 36


@pytest.mark.parametrize("kind", ["drawings", "photos"])
def test_images_of_our_own_datasets_are_kept_in_the_folder_of_the_run(kind, tmp_path):
    dataset = mx.Drawings(12, size=28)
    if kind == "photos":
        for i, (image, label) in enumerate(dataset):
            path = tmp_path / "photos" / str(label) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        dataset = mx.ImageFolder(tmp_path / "photos")
    for part in (dataset, Subset(Subset(dataset, range(8)), range(6))):
        loader, options = mx.DataLoader(part, 5), {"val": None, "epochs": 3}
        kept, not_kept = (
            training(
                "lenet", tmp_path / f"{len(part)}{cache}", loader=loader, cache=cache, **options
            )
            for cache in (None, False)
        )
        assert ends(kept) == ends(not_kept) and loader.dataset is part
        assert "decoded images are kept" in "".join(kept.screen.lines)
        assert "decoded" not in "".join(not_kept.screen.lines)


def own_network():
    """With layers that only this program knows."""
    mx.seed(1)
    return mx.Sequential(
        mx.Conv2d(3, 4, 5, stride=2), BatchNorm(4), mx.ReLU(), mx.MaxPool2d(2),
        mx.Flatten(), mx.Dropout(0.3), Scale(), mx.Linear(144, 2),
    )  # fmt: skip


def test_layers_of_ones_own_are_trained_resumed_and_loaded_into_the_network(tmp_path):
    def run(folder):
        return training("lenet", tmp_path / folder, model=own_network())

    whole = run("whole")
    weights, history = ends(whole)
    assert {"1.running_mean", "1.num_batches_tracked", "6.a"} <= weights.keys()
    stop(run("parts"), 4)
    assert ends(run("parts")) == (weights, history)
    best = tmp_path / "parts" / "best.safetensors"
    for open_it in (mx.load, mx.Predictor):
        with refused(CheckpointError, "a layer of your own", "into=model"):
            open_it(best)
    model = mx.load(best, into=own_network(), device=DEVICE)
    x = on_device(np.random.default_rng(0).standard_normal((3, 28, 28, 3), dtype=np.float32))
    assert_allclose(model.train(False)(x), on_host(whole.model.train(False)(x)), rtol=1e-4)
    predictor = mx.Predictor(best.parent, DEVICE, into=own_network())
    assert_allclose(predictor.model(x), on_host(model(x)), rtol=1e-4, atol=1e-5)


def test_layers_and_dropouts_that_were_made_before_change_nothing():
    def weights(before):
        mx.seed(5)
        for _ in range(before):
            mx.Conv2d(3, 4, 3), mx.Dropout()
        rng = np.random.default_rng(0)
        model = mx.Sequential(
            mx.Flatten(), mx.Linear(2352, 8, rng=rng), mx.ReLU(), mx.Dropout(), mx.Dropout(seed=1),
            mx.Linear(8, 2, rng=rng),
        )  # fmt: skip
        return ends(training("lenet", model=model))

    assert weights(0) == weights(3)


def test_layers_get_other_weights_each_time_and_the_same_after_the_same_seed():
    mx.seed(0)
    first, second = mx.Conv2d(3, 4, 3).params["weight"], mx.Conv2d(3, 4, 3).params["weight"]
    assert not np.array_equal(first, second)
    mx.seed(0)
    np.testing.assert_array_equal(mx.Conv2d(3, 4, 3).params["weight"], first)
    np.testing.assert_array_equal(mx.Conv2d(3, 4, 3).params["weight"], second)
