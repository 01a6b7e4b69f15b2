"""Training: repeatable to the bit for any number of workers, stopped and resumed bit for bit."""

import csv
import json
import math
from functools import partial

import numpy as np
import pytest

from device import DEVICE, assert_array_equal
from minialex.errors import CheckpointError, ConfigError
from minialex.train import trainer as training
from minialex.train.checkpoint import load_checkpoint
from minialex.train.run import COLUMNS, Config, RunFolder
from minialex.train.trainer import TrainingError, evaluate
from tiny_run import OPTIONS, Bar, source, trainer


def finish(run):
    assert run.fit()
    timed = {"images_per_s"}
    history = [{k: v for k, v in row.items() if k not in timed} for row in run.history]
    return run.theta.copy(), history


def test_same_seed_same_weights_for_any_number_of_data_workers(tmp_path):
    runs = [finish(trainer(tmp_path / str(n), workers=n, epochs=1)) for n in (0, 1, 2, 4)]
    for theta, history in runs[1:]:
        assert_array_equal(theta, runs[0][0])
        assert history == runs[0][1]
    other, _ = finish(trainer(tmp_path / "other", seed=1, epochs=1))
    assert not np.array_equal(other, runs[0][0])


@pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"optimizer": "sgd"}])
def test_stopped_after_any_step_and_resumed_gives_the_same_bits(tmp_path, options):
    options = {**options, "epochs": 2}
    theta, history = finish(trainer(tmp_path / "whole", **options))
    for stop_at in range(1, 7):  # 3 steps an epoch
        folder, steps = tmp_path / str(stop_at), []

        first = trainer(folder, **options)

        def stop(step, first=first, steps=steps, stop_at=stop_at):
            steps.append(step)
            first.stop = len(steps) >= stop_at

        first.bar = partial(Bar, stop)
        assert not first.fit() or stop_at == 6
        second = trainer(folder, **options)
        second.resume()
        again, their_history = finish(second)
        assert_array_equal(again, theta)
        assert their_history == history
        best = load_checkpoint(folder / "best.safetensors")[0]
        for name, array in load_checkpoint(tmp_path / "whole" / "best.safetensors")[0].items():
            np.testing.assert_array_equal(best[name], array)


def test_a_plateau_lowers_the_rate_to_the_same_bits_after_a_resume(tmp_path, monkeypatch):
    accuracies = iter([0.5, 0.5, 0.7, 0.6] * 2)  # so the rate drops after epochs 2 and 4
    monkeypatch.setattr(training, "evaluate", lambda *_: (0.6, next(accuracies)))
    options = {"schedule": "plateau", "patience": 1, "epochs": 5}
    options |= {"optimizer": "sgd", "lr": 0.01, "warm_up": 0}
    lines, rates = [], []
    whole = trainer(tmp_path / "whole", lines=lines, **options)
    for _ in range(4):
        rates.append(whole.learning_rate())
        whole.train_epoch()
        whole.end_epoch()
    rates.append(whole.learning_rate())
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])
    said = [line.split()[1] for line in lines if "from now on" in line]
    assert said == ["0.001", "0.0001"]
    for epoch in range(4):  # each epoch in a trainer of its own
        part = trainer(tmp_path / "parts", **options)
        part.resume()
        assert part.learning_rate() == rates[epoch]
        part.train_epoch()
        part.end_epoch()
    assert_array_equal(part.theta, whole.theta)


def test_the_run_folder_holds_what_is_promised(tmp_path):
    run = trainer(tmp_path / "run", epochs=2)
    run.fit()
    result = run.test()
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and [row["epoch"] for row in rows] == ["1", "2"]
    assert {"test_loss", "test_acc", "seconds", "images_per_s"} <= result.keys()
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 4
    reopened, config = RunFolder.open(tmp_path / "run")
    assert config == Config(**{**OPTIONS, "epochs": 2}) and reopened.path == tmp_path / "run"


def test_the_best_epoch_is_chosen_on_validation_and_test_images_are_looked_at_once(tmp_path):
    run = trainer(tmp_path / "run")
    looked = []
    real = run.test_loader.dataset

    class Counting:
        classes = real.classes

        def __len__(self):
            return len(real)

        def __getitem__(self, i):
            looked.append(i)
            return real[i]

    run.test_loader.dataset = Counting()
    run.fit()
    assert not looked
    result = run.test()
    assert sorted(looked) == list(range(len(real)))
    accuracies = [row["val_acc"] for row in run.history]
    assert result["best_epoch"] == accuracies.index(max(accuracies)) + 1


def test_evaluation_is_repeatable_and_leaves_the_model_in_training_mode(tmp_path):
    run = trainer(tmp_path / "run")
    first = evaluate(run.model, run.val_loader, DEVICE)
    assert first == evaluate(run.model, run.val_loader, DEVICE)
    assert all(layer.training for _, layer in run.model.leaves())


def test_learning_reduces_the_loss(tmp_path):
    run = trainer(tmp_path / "run", epochs=12, augment="none")
    run.fit()
    assert abs(run.history[0]["train_loss"] - math.log(2)) < 0.3
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"] - 0.05


def test_a_run_that_only_guesses_is_told_so_and_what_to_try(tmp_path):
    lines = []
    run = trainer(tmp_path / "stuck", lines=lines)
    # Not after the first epoch, nor when it has begun to learn.
    for loss, warnings in ((0.70, 0), (0.69, 1), (0.60, 1)):
        run.history.append({"train_loss": loss})
        run.warn_if_stuck()
        assert len(lines) == warnings
    assert "0.693, as in guessing" in lines[0] and "--lr" in lines[0]


def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_checkpoint(tmp_path):
    run = trainer(tmp_path / "run")
    run.train_epoch()
    run.end_epoch()
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    run.theta[:] = np.nan
    line = r"^the loss became nan in epoch 2, step 1; lower --lr [^\n]*$"
    with pytest.raises(TrainingError, match=line):
        run.fit()
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run = trainer(tmp_path / "a", epochs=1)
    run.fit()
    other = trainer(tmp_path / "b", epochs=1, optimizer="sgd")
    other.run.last.write_bytes((tmp_path / "a" / "last.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"^[^\n]*$"):
        other.resume()
    with pytest.raises(ConfigError, match="holds a run already"):
        RunFolder.create(tmp_path / "a", Config())
    with pytest.raises(CheckpointError, match="belongs to another model"):
        trainer(tmp_path / "a", epochs=1, activation="tanh").resume()


def test_images_differ_from_epoch_to_epoch_but_not_from_run_to_run(tmp_path):
    run = trainer(tmp_path / "run")
    assert len(source().train) == 12
    first, second = (np.concatenate([x for x, _ in run.train_loader.epoch(e)]) for e in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, np.concatenate([x for x, _ in run.train_loader.epoch(0)]))
