"""Numbers that explode are said, not saved; of equal epochs that with the lower loss is best."""

import json

import numpy as np
import pytest

import minialex as mx
from bad_input import refused, snapshot
from device import DEVICE
from minialex.train import loop
from minialex.train.checkpoint import load_checkpoint, state_dict
from minialex.train.progress import Progress, TrainingError
from tiny_run import training


def an_epoch(folder, **options):
    run = training(folder, **options)
    run.epoch()
    run.end_epoch()
    return run


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["weights", "state"])
def test_what_is_not_finite_is_not_saved(tmp_path, what, value):
    run = an_epoch(tmp_path / "run")
    before = snapshot(tmp_path)
    vector = run.optimizer.theta if what == "weights" else run.optimizer.state["v"]
    vector[7] = value
    words = "is not finite in epoch 2, and not saved; lower the learning rate"
    for save in (run.saved.last, *([run.saved.best] if what == "weights" else [])):
        with refused(TrainingError, words):
            save()
    assert snapshot(tmp_path) == before


def test_ctrl_c_in_a_step_that_explodes_keeps_the_checkpoint(tmp_path):
    run = an_epoch(tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()

    def explode(step):
        run.optimizer.theta[:] = np.nan
        run.stop.asked = True

    run.screen.after = explode
    with refused(TrainingError, "not finite"):
        run.train()
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_without_a_folder_it_is_noticed_as_well():
    rng = np.random.default_rng(0)
    data = [(rng.random((4, 4, 3), dtype=np.float32), k % 2) for k in range(4)]
    model = mx.Sequential(mx.Flatten(), mx.Linear(48, 2))
    with pytest.raises(TrainingError):
        mx.fit(model, mx.DataLoader(data, 4), mx.SGD(model, lr=1e39), epochs=1, device=DEVICE)


# ------------------------------------------------------------------------------------- ties


SCORES = [(0.7, 0.75), (0.5, 1.0), (0.4, 1.0), (0.4, 1.0), (0.3, 0.75)]  # loss, accuracy


@pytest.mark.parametrize("stopped", [None, 1, 2, 3])
@pytest.mark.parametrize("folder", [True, False])
def test_of_equal_epochs_that_with_the_lowest_loss_is_the_best(
    tmp_path, monkeypatch, stopped, folder
):
    epoch = 0
    monkeypatch.setattr(loop, "evaluate", lambda *_: SCORES[epoch])
    where, weights, lines = tmp_path / "run" if folder else None, [], []
    run = training(where, lines=lines, epochs=5)
    for epoch in range(5):
        if folder and epoch == stopped:
            run = training(where, lines=lines, epochs=5)
        run.epoch()
        weights.append(state_dict(run.model))
        run.end_epoch()
    run.saved.finish()
    for name, array in state_dict(run.model).items():
        np.testing.assert_array_equal(array, weights[2][name])
    assert (run.progress.best_epoch(), run.progress.best_acc) == (3, 1.0)
    marked = [line.split("/")[0] for line in lines if " best" in line]
    assert marked == ["epoch 1", "epoch 2", "epoch 3"]
    assert run.progress.waited() == 3  # patience counts accuracies alone
    if folder:
        best = load_checkpoint(where / "best.safetensors")[0]
        for name, array in best.items():
            np.testing.assert_array_equal(array, weights[2][name])


def test_the_result_names_that_epoch(tmp_path, monkeypatch):
    scores = iter(SCORES)
    monkeypatch.setattr(loop, "evaluate", lambda *_: next(scores))
    import tiny_run

    assert tiny_run.main(["--out", str(tmp_path / "run"), "--epochs=5"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["best_epoch"], result["val_acc"]) == (3, 1.0)


def test_without_validation_the_last_epoch_is_the_best():
    progress = Progress()
    for epoch in (1, 2):
        row = {"epoch": epoch, "train_loss": 1.0, "train_acc": 0.5, "images_per_s": 1.0}
        assert progress.is_best(row)
        progress.end_epoch(row)
    assert progress.best_acc == -1
