"""The last two checkpoints: a damaged one costs little, a missing one is said; weights."""

import json
import os

import numpy as np
import pytest

import minialex as mx
import tiny_run
from bad_input import refused, snapshot
from device import assert_array_equal
from minialex.errors import CheckpointError
from minialex.models import AlexNet
from minialex.train.checkpoint import load_checkpoint, save_checkpoint, state_dict
from minialex.train.progress import Progress
from tiny_run import last_weights, training


def stopped(folder, epochs, **options):
    """A run of three epochs that was stopped after so many."""
    run = training(folder, **options)
    for _ in range(epochs):
        run.epoch()
        run.end_epoch()
    return run


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return last_weights(training(tmp_path_factory.mktemp("whole") / "run"))


@pytest.mark.parametrize("spoil", [flip, os.remove])
def test_without_the_newest_the_run_goes_on_from_the_one_before(tmp_path, whole, spoil):
    stopped(tmp_path / "run", 2)
    spoil(tmp_path / "run" / "last.safetensors")
    lines = []
    run = training(tmp_path / "run", lines=lines)
    assert run.progress.epoch == 1
    words = "is damaged: its checksum does not match; use another one: the run goes on from"
    assert any(f"{words} last-1.safetensors" in line for line in lines) == (spoil is flip)
    run.epoch()
    run.end_epoch()
    load_checkpoint(tmp_path / "run" / "last.safetensors")
    load_checkpoint(tmp_path / "run" / "last-1.safetensors")
    assert_array_equal(last_weights(training(tmp_path / "run")), whole)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"config.json", "history.csv", "best.safetensors"}


def to_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [flip, to_folder])
def test_damaged_best_weights_are_found_before_the_run_goes_on(tmp_path, spoil):
    stopped(tmp_path / "run", 2)
    (tmp_path / "run" / "last.safetensors").unlink()  # so that the one before would become it
    spoil(tmp_path / "run" / "best.safetensors")
    before = snapshot(tmp_path / "run")
    with refused(CheckpointError, "best.safetensors"):
        training(tmp_path / "run")
    assert snapshot(tmp_path / "run") == before


def test_two_damaged_ones_are_an_error(tmp_path):
    stopped(tmp_path / "run", 2)
    for name in ("last", "last-1"):
        flip(tmp_path / "run" / f"{name}.safetensors")
    before = snapshot(tmp_path)
    with refused(CheckpointError, "last.safetensors' is damaged"):
        training(tmp_path / "run")
    assert snapshot(tmp_path) == before


def test_while_one_is_written_there_is_one_other(tmp_path, monkeypatch):
    run = stopped(tmp_path / "run", 2)
    most, real = [], os.replace

    def replace(old, new):
        most.append(len(list((tmp_path / "run").glob("*last*"))))
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    run.epoch()
    run.end_epoch()
    assert max(most) == 2


@pytest.mark.parametrize("gone", [("last",), ("last", "last-1"), ("last", "last-1", "history")])
def test_an_unfinished_run_without_its_checkpoints_is_refused(tmp_path, gone):
    stopped(tmp_path / "run", 1)
    for path in (tmp_path / "run").iterdir():
        if path.name.split(".")[0] in gone:
            path.unlink()
    (tmp_path / "run" / "last-1.safetensors").unlink(missing_ok=True)
    before = snapshot(tmp_path)
    with refused(CheckpointError, "history.csv" if "history" in gone else "lacks last.safetensors"):
        training(tmp_path / "run")
    with refused(CheckpointError):
        tiny_run.main(["--resume", str(tmp_path / "run"), "--epochs=9"])
    assert snapshot(tmp_path) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path, whole):
    training(tmp_path / "run")
    assert os.listdir(tmp_path / "run") == ["config.json"]
    assert_array_equal(last_weights(training(tmp_path / "run")), whole)


# ---------------------------------------------------------------------------------- weights


def test_a_new_run_begins_with_the_weights_of_any_checkpoint(tmp_path):
    first = stopped(tmp_path / "a", 1)
    for name in ("best", "last"):
        file = tmp_path / "a" / f"{name}.safetensors"
        run = training(tmp_path / name, weights=str(file))
        for key, array in state_dict(first.model).items():
            np.testing.assert_array_equal(state_dict(run.model)[key], array)
        assert run.progress == Progress() and run.optimizer.t == 0
        file.unlink()  # it is not needed any more
        assert_array_equal(
            training(tmp_path / name, weights=str(file)).optimizer.theta, run.optimizer.theta
        )


def test_weights_that_do_not_fit_leave_no_folder(tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, state_dict(AlexNet(2, width=1 / 8, image_size=67)), {})
    (tmp_path / "text").write_text("no weights")
    for file, words in ((other, "does not fit this model"), (tmp_path / "text", "no checkpoint")):
        with refused(CheckpointError, file, words):
            training(tmp_path / "run", weights=str(file))
    assert not (tmp_path / "run").exists()


def test_the_command_takes_a_run_or_a_file_from_any_folder(tmp_path, monkeypatch):
    assert tiny_run.main(["--out", str(tmp_path / "a"), "--epochs=1"]) == 0
    monkeypatch.chdir(tmp_path)
    assert tiny_run.main(["--out", "b", "--epochs=1", "--weights=a"]) == 0
    settings = json.loads((tmp_path / "b" / "config.json").read_text())
    assert settings["weights"] == str(tmp_path / "a" / "best.safetensors")
    with refused(CheckpointError, "does not exist"):
        tiny_run.main(["--out", "c", "--weights=nowhere.safetensors"])


def test_a_network_of_ones_own_takes_the_weights_of_other_programs(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"weight": weight, "bias": np.ones(2, np.float32)}, tmp_path / "torch.safetensors")
    model = mx.load(tmp_path / "torch.safetensors", into=mx.Linear(3, 2))
    np.testing.assert_array_equal(model.params["weight"], weight.T)
    with refused(CheckpointError, "was not written by minialex"):
        mx.load(tmp_path / "torch.safetensors")


# --------------------------------------------------------------------------------- progress


ODD = [
    {"epoch": "1"}, {"epoch": 2}, {"epoch": True}, {"batch": -1}, {"batch": 1.5}, {"steps": None},
    {"sums": [1.0, 2.0]}, {"sums": ["a", 0.0, 0.0]}, {"sums": 3}, {"history": 5}, {"history": [5]},
    {"history": [{"epoch": 1, "train_loss": "x"}]}, {"seconds": []}, {"best_acc": "high"},
    {"colour": 3},
]  # fmt: skip


@pytest.mark.parametrize("change", ODD, ids=str)
def test_a_progress_of_wrong_types_is_one_line(tmp_path, change):
    stopped(tmp_path / "run", 1)
    last = tmp_path / "run" / "last.safetensors"
    (tmp_path / "run" / "last-1.safetensors").unlink()
    tensors, header = load_checkpoint(last)
    save_checkpoint(last, tensors, header | {"progress": header["progress"] | change})
    with refused(CheckpointError, "no run that could go on"):
        training(tmp_path / "run")


@pytest.mark.parametrize("progress", [None, {"colour": 3}])
def test_a_progress_of_another_program_is_one_line(tmp_path, progress):
    stopped(tmp_path / "run", 1)
    last = tmp_path / "run" / "last.safetensors"
    (tmp_path / "run" / "last-1.safetensors").unlink(missing_ok=True)
    tensors, header = load_checkpoint(last)
    save_checkpoint(last, tensors, header | {"progress": progress})
    with refused(CheckpointError, "no run that could go on"):
        training(tmp_path / "run")


def test_runs_of_versions_without_two_lasts_go_on(tmp_path, whole):
    stopped(tmp_path / "run", 1)
    (tmp_path / "run" / "last-1.safetensors").unlink()
    assert_array_equal(last_weights(training(tmp_path / "run")), whole)
