"""Where a save takes long, not every epoch is saved; what the run finds stays the same."""

import pytest

from minialex.average import EMA
from minialex.train import saving
from minialex.train.checkpoint import load_checkpoint
from minialex.train.evaluation import evaluate
from minialex.train.progress import TrainingError
from tiny_run import training

EPOCHS = 5
RUN = {"epochs": EPOCHS, "seed": 5}  # epochs 3 and 4 are each better than all before


def saved(monkeypatch, seldom):
    """The names of the files in the order in which they are saved."""
    names, real = [], saving.checkpoint.save_checkpoint

    def save(path, *arguments, **options):
        names.append(path.stem)
        real(path, *arguments, **options)

    monkeypatch.setattr(saving.checkpoint, "save_checkpoint", save)
    if seldom:
        monkeypatch.setattr(saving, "LONG", -1.0)  # as if each save took longer
        monkeypatch.setattr(saving, "SELDOM", 1e9)
    return names


def kept(folder):
    """What a finished run leaves."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".csv"}


def rows(run):
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in run.history]


def test_first_and_last_epoch_are_saved_and_the_best_is_the_same(tmp_path, monkeypatch):
    usual = training(tmp_path / "usual", **RUN)
    usual.train()
    names = saved(monkeypatch, seldom=True)
    run = training(tmp_path / "run", **RUN)
    run.train()
    assert names[0] == "last"  # no best weights without it
    assert len(names) <= 5 and "best" in names
    assert rows(run) == rows(usual) and kept(tmp_path / "run") == kept(tmp_path / "usual")


def test_an_average_of_the_weights_stays_beside_the_best_in_memory(tmp_path, monkeypatch):
    usual = training(tmp_path / "usual", epochs=EPOCHS)
    usual.train()
    saved(monkeypatch, seldom=True)

    def after(step):
        average.update()
        with average:
            evaluate(run.model, run.val)

    run = training(tmp_path / "run", after, epochs=EPOCHS)
    average = EMA(run.model, 0.5)
    run.train()
    assert rows(run) == rows(usual) and kept(tmp_path / "run") == kept(tmp_path / "usual")
    assert not average.swapped and average.average.any()


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_stop_saves_the_best_that_was_only_in_memory(tmp_path, monkeypatch, epochs):
    usual = training(tmp_path / "usual", **RUN)
    usual.train()
    names = saved(monkeypatch, seldom=True)
    seen = []

    def stop(step):
        seen.append(step)
        if len(seen) == 3 * epochs + 1:  # three steps an epoch
            run.stop.asked = True

    run = training(tmp_path / "run", stop, **RUN)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert names[-1] == "last"
    _, header = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert header["progress"]["epoch"] == epochs
    again = training(tmp_path / "run", **RUN)
    again.train()
    assert rows(again) == rows(usual) and kept(tmp_path / "run") == kept(tmp_path / "usual")


def test_a_stop_while_it_validates_saves_the_epoch(tmp_path, monkeypatch):
    saved(monkeypatch, seldom=True)
    run = training(tmp_path / "run", **RUN)
    validate = run.screen.line

    def line(text):
        run.stop.asked |= text.startswith("epoch 2/")
        validate(text)

    monkeypatch.setattr(run.screen, "line", line)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    _, header = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert header["progress"]["epoch"] == 2


def test_a_run_that_diverges_keeps_the_best_that_was_only_in_memory(tmp_path, monkeypatch):
    def best_of_one_that_diverges(folder):
        seen = []

        def diverge(step):
            seen.append(step)
            if len(seen) == 3 * (EPOCHS - 1) + 2:  # in the last epoch
                run.optimizer.theta[...] = float("nan")

        run = training(folder, diverge, **RUN)
        with pytest.raises(TrainingError):
            run.train()
        return (folder / "best.safetensors").read_bytes()

    usual = best_of_one_that_diverges(tmp_path / "usual")
    names = saved(monkeypatch, seldom=True)
    assert best_of_one_that_diverges(tmp_path / "run") == usual
    assert names[-1] == "best" and names.count("last") <= 2
