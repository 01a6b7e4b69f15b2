"""Runs of `mx.fit`: another one's folder, longer, shorter, stopped, and what they give back."""

import dataclasses
import json

import numpy as np
import pytest

import minialex as mx
from bad_input import refused, snapshot
from device import DEVICE, on_device
from minialex.errors import CheckpointError
from minialex.params import family
from minialex.train import loop
from minialex.train.checkpoint import state_dict
from minialex.train.config import Config
from networks import NETWORKS, TRIED, drawings, ends, loaders, stop, training
from trained import command

each = pytest.mark.parametrize("name", TRIED)


def dx_of(model, side=28):
    """What backward gives for the images, which training has no need of."""
    x = on_device(np.ones((2, side, side, 3), np.float32))
    y, cache = model.forward(x)
    return model.backward(y, cache, mx.zeros_like(model.params))


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
    "val": lambda: {"val": loaders("lenet", length=13)[0]},
    "val ": lambda: {"val": None},
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
    with refused(CheckpointError, "is of `minialex train`", "--resume"):
        training("lenet", tmp_path)
    assert snapshot(tmp_path) == before
    with refused(CheckpointError, "a program of your own", "run that again"):
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
