"""`mx.fit` on networks of one's own: memory, data, layers, resuming, and what it gives back."""

import dataclasses
import json

import numpy as np
import pytest

import minialex as mx
import tiny_run
from bad_input import refused, snapshot
from device import DEVICE, assert_allclose, assert_array_equal, on_device, on_host
from minialex.data import Subset
from minialex.errors import CheckpointError, ConfigError
from minialex.params import family
from minialex.train import loop
from minialex.train.checkpoint import load_checkpoint, state_dict
from minialex.train.config import Config
from minialex.train.memory import step_bytes
from networks import NETWORKS, drawings, loaders, training
from own_layers import BatchNorm, Scale
from trained import command

each = pytest.mark.parametrize("name", NETWORKS)


def sgd(model):
    """Not Adam, whose first steps are as large where the gradient is rounding alone."""
    return mx.SGD(model, lr=1e-3)


def rows(run):
    """The history without its clock."""
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in run.history]


def ends(run):
    """Train to the end; all that the model holds then, and the history."""
    run.train()
    return {name: array.tobytes() for name, array in state_dict(run.model).items()}, rows(run)


def stop(run, step):
    """Train until a Ctrl-C in step number `step` from now."""

    def ask(n):
        run.stop.asked = n >= step

    run.screen.after = ask
    with pytest.raises(KeyboardInterrupt):
        run.train()


def dx_of(model, side=28):
    """What backward gives for the images, which training has no need of."""
    x = on_device(np.ones((2, side, side, 3), np.float32))
    y, cache = model.forward(x)
    return model.backward(y, cache, mx.zeros_like(model.params))


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
    monkeypatch.setattr("minialex.commands.train.draw_curves", lambda *_: None)
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


# ---------------------------------------------------------------------------- another run's folder


@pytest.fixture(scope="module", params=[True, False])
def folder(request, tmp_path_factory):
    """Of a run that is finished, with and without last.safetensors."""
    folder = tmp_path_factory.mktemp("run")
    training("lenet", folder, keep_last=request.param).train()
    assert (folder / "last.safetensors").exists() == request.param
    return folder


OTHERS = {
    "model": lambda: {"name": "vgg", "loader": loaders("lenet")[0]},
    "optimizer": lambda: {"optimizer": mx.Adam},
    "optimizer ": lambda: {"optimizer": lambda model: mx.SGD(model, lr=0.02, weight_decay=1e-3)},
    "batch_size": lambda: {"loader": loaders("lenet", batch_size=5)[0]},
    "seed": lambda: {"loader": loaders("lenet", seed=1)[0]},
    "images": lambda: {"loader": loaders("lenet", length=13)[0]},
    "transform": lambda: {"loader": mx.DataLoader(drawings(28), 4, shuffle=True)},
    "schedule": lambda: {"schedule": "step"},
    "schedule ": lambda: {"schedule": lambda step: 1.0},
    "label_smoothing": lambda: {"label_smoothing": 0.1},
    "warm_up": lambda: {"warm_up": 1},
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_the_folder_of_another_run_is_refused_and_left_as_it_is(folder, what):
    before, options = snapshot(folder), {"name": "lenet", "epochs": 3, **OTHERS[what]()}
    mx.seed(3)
    model = NETWORKS[options.pop("name")][0]()
    weights = state_dict(model)
    with refused(CheckpointError, str(folder), what.strip(), "choose another folder"):
        training("lenet", folder, model=model, **options)
    assert snapshot(folder) == before
    for key, array in state_dict(model).items():
        np.testing.assert_array_equal(array, weights[key])
    assert dx_of(model.to(DEVICE), 32 if what == "model" else 28) is not None


def test_the_folder_of_the_command_is_refused_and_the_command_refuses_that_of_fit(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(Config())))
    before = snapshot(tmp_path)
    with refused(CheckpointError, "a run of `minialex train`", "--resume", "another folder"):
        training("lenet", tmp_path)
    assert snapshot(tmp_path) == before
    with refused(CheckpointError, "a program of your own", "run your program again"):
        command("train", "--resume", folder)


# -------------------------------------------------------------------- longer, shorter, and stopped


@each
def test_more_epochs_of_a_run_that_kept_its_last_state_are_those_of_a_longer_run(name, tmp_path):
    options = {"keep_last": True, "optimizer": mx.Adam}
    want = ends(training(name, tmp_path / "long", epochs=3, **options))
    ends(training(name, tmp_path / "run", epochs=1, **options))
    assert ends(training(name, tmp_path / "run", epochs=3, **options)) == want


def test_more_epochs_of_a_finished_run_begin_with_fresh_moments_also_in_the_same_program(tmp_path):
    first = training("vgg", tmp_path / "same")
    first.train()
    training("vgg", tmp_path / "other").train()
    same = dataclasses.replace(first, epochs=4)  # fit once more, with the same model and optimizer
    assert same.optimizer is first.optimizer and same.optimizer.t == 0
    other = training("vgg", tmp_path / "other", epochs=4)
    assert "goes on from its best weights, with a new optimizer" in "".join(other.screen.lines)
    weights, history = ends(other)
    assert ends(same) == (weights, history) and [row["epoch"] for row in history] == [1, 2, 3, 4]


def test_patience_ends_a_run_that_gets_no_better_for_good(tmp_path):
    def run(patience):
        stuck = lambda model: mx.SGD(model, lr=0.0)  # noqa: E731
        return training("lenet", tmp_path, optimizer=stuck, patience=patience, epochs=9)

    assert len(run(2).train()) == 3 and len(run(2).train()) == 3
    assert len(run(4).train()) == 5


def test_a_schedule_may_be_a_function_of_the_step(tmp_path):
    def run(folder, asked):
        def schedule(step):
            asked.add(step)
            return np.float32(1 / (1 + step))

        return training("lenet", tmp_path / folder, schedule=schedule, warm_up=1)

    asked, again = set(), set()
    whole = run("whole", asked)
    assert whole.learning_rate() == pytest.approx(0.01 / 2)
    want = ends(whole)
    assert whole.learning_rate() == pytest.approx(0.01 / 7) and asked == set(range(7))
    stop(run("parts", again), 4)
    assert ends(run("parts", again)) == want and again == asked
    other = ends(training("lenet", schedule="constant", warm_up=1))
    assert other[1] != want[1]


@each
@pytest.mark.parametrize("end", ["", "stopped", "failed"])
def test_the_mode_of_each_layer_and_dx_are_as_before(name, end, monkeypatch):
    mx.seed(0)
    model = NETWORKS[name][0]().train(False)
    layers = list(family(model))
    for layer in layers[1::3]:
        layer.training = True
    before = [layer.training for layer in layers]
    run = training(name, model=model)
    if end == "stopped":
        stop(run, 2)
    elif end == "failed":
        monkeypatch.setattr(run, "end_epoch", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.train()
    else:
        run.train()
    assert [layer.training for layer in layers] == before
    assert dx_of(model, NETWORKS[name][1]).shape == (2, *2 * NETWORKS[name][1:], 3)


def test_ctrl_c_while_the_last_epoch_is_validated_is_not_lost(tmp_path, monkeypatch):
    want = ends(training("lenet", tmp_path / "whole"))
    run = training("lenet", tmp_path / "run")

    def evaluate(*arguments):
        run.stop.asked = run.progress.epoch == 1
        return mx.evaluate(*arguments)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    monkeypatch.undo()
    again = training("lenet", tmp_path / "run")
    assert again.steps_done() == 6 and ends(again) == want


# ------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "option, value",
    [
        ("epochs", 0), ("epochs", 2.5), ("epochs", "3"), ("log_interval", 0), ("warm_up", -1),
        ("warm_up", None), ("patience", 0), ("plateau", 0), ("label_smoothing", 1.0),
        ("label_smoothing", "0.1"), ("memory_limit", "2GB"), ("loader", [1]), ("val", [1]),
    ],
)  # fmt: skip
def test_arguments_that_cannot_work_are_refused_before_anything_is_written(option, value, tmp_path):
    with refused(ConfigError, f"fit: {option} must be", "list" if value == [1] else repr(value)):
        training("lenet", tmp_path / "run", **{option: value})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("labels, found", [((0, 1, 2), "0..2"), ((-1, 0), "-1..0")])
@pytest.mark.parametrize("plain", [True, False])
def test_labels_that_are_none_of_the_network_are_refused_on_each_device(labels, found, plain):
    """A loss on a GPU does not look at them, and would train on nonsense."""
    pictures = [(image, labels[i % len(labels)]) for i, (image, _) in enumerate(drawings(24))]
    bad = mx.DataLoader(pictures, 12)
    for options in ({"loader": bad, "val": None}, {"val": bad}):
        with refused(ValueError, f"labels must lie in 0..1, got {found}"):
            training("lenet", plain=plain, **options).train()


def test_the_optimizer_of_another_model_is_refused():
    other = NETWORKS["lenet"][0]()
    for optimizer in (mx.Adam(other), mx.Adam(other).theta, None):
        with refused(ConfigError, "fit: the optimizer is another model's", "Adam(model)"):
            training("lenet", optimizer=lambda model, optimizer=optimizer: optimizer)


def test_numbers_may_be_those_of_numpy(tmp_path):
    def run(**options):
        model = mx.Sequential(
            mx.Flatten(), mx.Dropout(np.float32(0.1), seed=np.int64(2)),
            mx.Linear(np.prod((28, 28, 3)), np.int64(2), rng=np.random.default_rng(0)),
        )  # fmt: skip
        return training(
            "lenet", tmp_path, model=model, loader=loaders("lenet", batch_size=np.int32(4))[0],
            optimizer=lambda model: mx.Adam(model, lr=np.float32(1e-3)), keep_last=True,
            label_smoothing=np.float64(0.1), warm_up=np.int64(1), **options,
        )  # fmt: skip

    run(epochs=np.int64(1)).train()
    assert len(run(epochs=2).train()) == 2
    assert mx.load(tmp_path / "best.safetensors")[2].in_features == 2352


def test_validation_takes_as_many_images_at_a_time_as_its_loader_says():
    big = mx.DataLoader(drawings(28), 12, loaders("lenet")[1].transform)
    assert training("lenet", val=big).val is big


def test_random_crops_are_no_preprocessing_for_photos(tmp_path):
    """So a run without validation does not say how photos are to be prepared; one may say so."""
    training("lenet", tmp_path / "run", val=None).train()
    drawings(28)[0][0].save(tmp_path / "photo.png")
    predictor = mx.Predictor(tmp_path / "run", DEVICE)
    with refused(CheckpointError, "has no preprocessing for photos"):
        predictor.predict(tmp_path / "photo.png")
    transform = loaders("lenet")[1].transform
    predictor = mx.Predictor(tmp_path / "run", DEVICE, transform=transform)
    assert predictor.predict(tmp_path / "photo.png")["class"] in ("cat", "dog")
