"""Training: repeatable to the bit for any number of workers, stopped and resumed bit for bit."""

import csv
import json
import math

import numpy as np
import pytest

from device import assert_array_equal
from minialex.errors import CheckpointError, ConfigError
from minialex.train import loop
from minialex.train.checkpoint import load_checkpoint, state_dict
from minialex.train.config import Config
from minialex.train.evaluation import evaluate
from minialex.train.progress import TrainingError
from minialex.train.run import COLUMNS, RunFolder
from tiny_run import OPTIONS, last_weights, source, training


def finish(run):
    """Train to the end; the weights of the last epoch, and the history without its clock."""
    last, timed = last_weights(run), {"images_per_s"}
    return last, [{k: v for k, v in row.items() if k not in timed} for row in run.history]


def test_same_seed_same_weights_for_any_number_of_data_workers(tmp_path):
    runs = [finish(training(tmp_path / str(n), workers=n, epochs=1)) for n in (0, 1, 2, 4)]
    for theta, history in runs[1:]:
        assert_array_equal(theta, runs[0][0])
        assert history == runs[0][1]
    other, _ = finish(training(tmp_path / "other", seed=1, epochs=1))
    assert not np.array_equal(other, runs[0][0])


@pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"optimizer": "sgd"}])
def test_stopped_after_any_step_and_resumed_gives_the_same_bits(tmp_path, options):
    options = {**options, "epochs": 2}
    theta, history = finish(training(tmp_path / "whole", **options))
    for stop_at in range(1, 7):  # 3 steps an epoch
        folder, steps = tmp_path / str(stop_at), []

        first = training(folder, **options)

        def stop(step, first=first, steps=steps, stop_at=stop_at):
            steps.append(step)
            first.stop.asked = len(steps) >= stop_at

        first.screen.after = stop
        with pytest.raises(KeyboardInterrupt):
            first.train()
        second = training(folder, **options)
        assert second.steps_done() == stop_at
        again, their_history = finish(second)
        assert_array_equal(again, theta)
        assert their_history == history
        best = load_checkpoint(folder / "best.safetensors")[0]
        for name, array in load_checkpoint(tmp_path / "whole" / "best.safetensors")[0].items():
            np.testing.assert_array_equal(best[name], array)
        assert not (folder / "last.safetensors").exists()


def test_a_plateau_lowers_the_rate_to_the_same_bits_after_a_resume(tmp_path, monkeypatch):
    accuracies = iter([0.5, 0.5, 0.7, 0.6] * 2)  # so the rate drops after epochs 2 and 4
    monkeypatch.setattr(loop, "evaluate", lambda *_: (0.6, next(accuracies)))
    options = {"schedule": "plateau", "plateau_patience": 1, "epochs": 5}
    options |= {"optimizer": "sgd", "lr": 0.01, "warm_up": 0}
    lines, rates = [], []
    whole = training(tmp_path / "whole", lines=lines, **options)
    for _ in range(4):
        rates.append(whole.learning_rate())
        whole.epoch()
        whole.end_epoch()
    rates.append(whole.learning_rate())
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])
    said = [line.split()[1] for line in lines if "from now on" in line]
    assert said == ["0.001", "0.0001"]
    for epoch in range(4):  # each epoch in a training of its own
        part = training(tmp_path / "parts", **options)
        assert part.learning_rate() == rates[epoch]
        part.epoch()
        part.end_epoch()
    assert_array_equal(part.optimizer.theta, whole.optimizer.theta)


def test_the_run_folder_holds_what_is_promised(tmp_path):
    run = training(tmp_path / "run", epochs=2)
    run.train()
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and [row["epoch"] for row in rows] == ["1", "2"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 4
    reopened, config = RunFolder.open(tmp_path / "run")
    assert config == Config(**{**OPTIONS, "epochs": 2}) and reopened.path == tmp_path / "run"
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"config.json", "history.csv", "best.safetensors"}


def test_at_the_end_the_model_has_the_weights_of_its_best_epoch(tmp_path, monkeypatch):
    accuracies, kept = iter([0.5, 0.75, 0.25]), []
    monkeypatch.setattr(loop, "evaluate", lambda *_: (0.6, next(accuracies)))
    run = training(tmp_path / "run", keep_last=True)
    last = run.saved.last
    run.saved.last = lambda: (kept.append(run.optimizer.theta.copy()), last())
    run.train()
    assert_array_equal(run.optimizer.theta, kept[-2])
    assert not np.array_equal(kept[-2], kept[-1])
    tensors, header = load_checkpoint(tmp_path / "run" / "last.safetensors")  # it was to be kept
    assert header["progress"]["best_acc"] == 0.75 and "optimizer.m" in tensors


def test_evaluation_is_repeatable_and_gives_back_the_mode(tmp_path):
    run = training(tmp_path / "run")
    first = evaluate(run.model, run.val)
    assert first == evaluate(run.model.train(), run.val)
    assert all(layer.training for _, layer in run.model.leaves())


def test_learning_reduces_the_loss(tmp_path):
    run = training(tmp_path / "run", epochs=12, augment="none", seed=1)
    run.train()
    assert abs(run.history[0]["train_loss"] - math.log(2)) < 0.3
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"] - 0.05


def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_checkpoint(tmp_path):
    run = training(tmp_path / "run")
    run.epoch()
    run.end_epoch()
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    run.optimizer.theta[:] = np.nan
    line = r"^the loss became nan in epoch 2, step 1; lower the learning rate [^\n]*$"
    with pytest.raises(TrainingError, match=line):
        run.train()
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    training(tmp_path / "a", epochs=1, keep_last=True).train()
    last = (tmp_path / "a" / "last.safetensors").read_bytes()
    training(tmp_path / "b", epochs=1, optimizer="sgd").saved.folder.last.write_bytes(last)
    with pytest.raises(CheckpointError, match=r"^[^\n]*$"):
        training(tmp_path / "b", epochs=1, optimizer="sgd")
    with pytest.raises(ConfigError, match="holds a run already"):
        RunFolder(tmp_path / "a").claim()
    with pytest.raises(CheckpointError, match="belongs to another model"):
        training(tmp_path / "a", epochs=1, activation="tanh")


def test_images_differ_from_epoch_to_epoch_but_not_from_run_to_run(tmp_path):
    run = training(tmp_path / "run")
    assert len(source().train) == 12
    first, second = (np.concatenate([x for x, _ in run.loader.epoch(e)]) for e in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, np.concatenate([x for x, _ in run.loader.epoch(0)]))


# ------------------------------------------------------------ longer than planned, and shorter


def test_a_run_that_was_stopped_may_last_longer_and_ends_like_one_that_always_should(tmp_path):
    options = {"schedule": "constant", "warm_up": 0, "keep_last": True}
    theta, history = finish(training(tmp_path / "whole", epochs=3, **options))
    training(tmp_path / "run", epochs=1, **options).train()
    longer = training(tmp_path / "run", epochs=3, **options)
    assert longer.steps_done() == 3
    again, their_history = finish(longer)
    assert_array_equal(again, theta)
    assert their_history == history
    assert RunFolder.open(tmp_path / "run")[1].epochs == 3


def test_a_finished_run_goes_on_from_its_best_weights_and_says_so(tmp_path):
    first = training(tmp_path / "run", epochs=2)
    first.train()
    best = state_dict(first.model)
    lines = []
    longer = training(tmp_path / "run", lines=lines, epochs=4)
    assert "goes on from its best weights" in "".join(lines)
    for name, array in state_dict(longer.model).items():
        np.testing.assert_array_equal(array, best[name])
    assert (longer.progress.epoch, longer.optimizer.t, len(longer.history)) == (2, 0, 2)
    assert longer.history == first.history
    longer.train()
    assert [row["epoch"] for row in longer.history] == [1, 2, 3, 4]


def test_a_finished_run_that_is_not_to_last_longer_is_left_as_it_is(tmp_path):
    first = training(tmp_path / "run", epochs=1)
    first.train()
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = training(tmp_path / "run", epochs=1)
    assert again.train() == first.history
    assert_array_equal(again.optimizer.theta, first.optimizer.theta)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files


@pytest.mark.parametrize("stopped", [False, True])
def test_patience_ends_a_run_early_also_one_that_is_resumed(tmp_path, monkeypatch, stopped):
    accuracies = {1: 0.5, 2: 0.75, 3: 0.7, 4: 0.75, 5: 1.0}
    monkeypatch.setattr(loop, "evaluate", lambda *_: (0.6, accuracies[current.progress.epoch + 1]))

    def stop(step):
        current.stop.asked = stopped and current.progress.epoch == 2

    current = training(tmp_path / "run", stop, epochs=9, patience=2)
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            current.train()
        current = training(tmp_path / "run", epochs=9, patience=2)
    assert len(current.train()) == 4
    current = training(tmp_path / "run", epochs=9, patience=3)
    current.epochs = 5
    assert len(current.train()) == 5
