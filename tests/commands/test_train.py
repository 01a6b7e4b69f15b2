"""`minialex train`: what it prints and writes; and the example that does the same."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from device import DEVICE
from minialex.commands import main as program
from minialex.commands import train as command
from minialex.errors import CheckpointError
from minialex.train.chart import picture
from minialex.train.checkpoint import load_checkpoint
from minialex.train.loop import Training
from minialex.train.run import RunFolder
from photo_runs import train
from tiny_commands import NEW, TINY, error_of, here, tensors  # noqa: F401 -- a fixture

ROOT = Path(__file__).parents[2]


def assert_same_tensors(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(b[name], array)


def result():
    return json.loads(Path("run/result.json").read_text())


# ---------------------------------------------------------------------------------- a whole run


def test_a_run_says_what_it_does_and_writes_what_it_promises(capsys):
    assert train([*TINY, "--epochs=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("data: drawings, for want of data/train/ and")
    assert lines[1].startswith(f"device: {DEVICE}") and "12 for training" in lines[2]
    assert lines[3] == "run folder: runs/drawings-ungrouped-1"
    assert lines[-3].startswith("test accuracy ") and "(weights of epoch" in lines[-3]
    assert lines[-2].startswith("trained in ") and "images/s" in lines[-2]
    assert lines[-1].startswith("what it confuses: ") and len(lines[-1]) <= 80
    assert lines[-1].endswith("minialex evaluate runs/drawings-ungrouped-1")
    for _ in range(2):  # each says the next one
        advice = lines[-1].partition("minialex evaluate ")[2].split()
        assert program.main(["evaluate", *advice, "--device", DEVICE]) == 0
        lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "a page about it: report.html"
    assert "Grad-CAM" in Path("report.html").read_text()
    folder = Path("runs/drawings-ungrouped-1")
    assert {path.name for path in folder.iterdir()} == {
        "best.safetensors", "config.json", "curves.svg", "history.csv", "result.json",
    }  # fmt: skip
    assert len(RunFolder(folder).read_history()) == 2
    settings = json.loads((folder / "config.json").read_text())
    assert settings["data"] == "drawings" and settings["recipe"] == "drawings"
    found = json.loads((folder / "result.json").read_text())
    assert {"test_loss", "test_acc", "seconds", "images_per_s", "val_acc", "best_epoch"} == {*found}


def test_photos_in_data_are_the_default(capsys, tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for k in range(4):
                mx.Drawings(8, seed=k, size=72)[k][0].save(f"data/{part}/{name}/{k}.png")
    assert train([*TINY, "--epochs=1", "--augment=none", "--colour-shift=0"]) == 0
    assert capsys.readouterr().out.startswith("data: photos in data/, since it has train/")
    _, config = RunFolder.open(Path("runs/data-owt-1"))
    assert (config.data, config.recipe) == ("data", "modern")


def test_weights_know_the_whole_transform_beside_a_cache_of_decoded_images(capsys):
    assert train([*NEW, "--epochs=2", "--cache"]) == 0
    kept = "photos: 0.0 GB in the GPU's memory" if DEVICE == "gpu" else "decoded images are kept"
    assert kept in capsys.readouterr().out
    steps = load_checkpoint(Path("run/best.safetensors"))[1]["transform"]
    assert [step["name"] for step in steps] == ["Resize", "CenterCrop", "ToArray", "Normalize"]


@pytest.mark.parametrize("options", [(), ("--recipe=paper", "--ten-crop", "--epochs=1")])
def test_the_example_makes_the_same_weights_to_the_bit(options):
    example = ROOT / "examples" / "train_catdog.py"
    assert len(example.read_text(encoding="utf-8").splitlines()) < 80
    arguments = [*TINY, "--data=drawings", "--keep-last", *options]
    assert train([*arguments, "--out=a"]) == 0
    emulator = [ROOT / "tests" / "gpu" / "on_emulated_gpu.py"] if DEVICE == "gpu" else []
    program = [sys.executable, *emulator, example]
    done = subprocess.run([*program, *arguments, "--out=b"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for name in ("best", "last"):
        assert_same_tensors(tensors("a", name), tensors("b", name))
    of_a, of_b = (json.loads(Path(name, "result.json").read_text()) for name in "ab")
    assert of_b.items() <= of_a.items() and "test_acc" in of_b


# ------------------------------------------------------------------------------------ going on


def test_the_first_ctrl_c_tells_how_to_go_on(monkeypatch, capsys):
    def stopped(self):
        self.stop.asked = True
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "train", stopped)
    monkeypatch.setattr(sys, "argv", ["/bin/minialex", "train"])
    assert train([*NEW]) == 130
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "stopped; continue with: minialex train --resume run"


def test_what_is_finished_says_so_and_what_can_be_done(capsys):
    assert train([*NEW, "--epochs=1"]) == 0
    before = Path("run/result.json").read_text()
    capsys.readouterr()
    for options, words in (
        ((), "add --epochs with more than 1"),
        (("--ten-crop",), "python -m minialex evaluate run --ten-crop"),
        (("--epochs=1",), "add --epochs"),
    ):
        assert train(["--resume=run", *options]) == 0
        out = capsys.readouterr().out
        assert out.startswith("run is finished: {") and words in out.splitlines()[-1]
    assert Path("run/result.json").read_text() == before


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_result_that_is_damaged_is_said_to_be(capsys, content):
    assert train([*NEW, "--epochs=1"]) == 0
    Path("run/result.json").write_bytes(content)
    assert train(["--resume=run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "result.json' is damaged" in line and "remove it" in line
    Path("run/result.json").unlink()
    assert train(["--resume=run"]) == 0
    assert Path("run/result.json").exists()


def test_a_finished_run_that_kept_its_last_goes_on_to_the_bit():
    options = [*TINY, "--data=drawings", "--schedule=constant", "--keep-last"]
    assert train([*options, "--epochs=3", "--out=whole"]) == 0
    assert train([*options, "--epochs=2", "--out=run"]) == 0
    assert train(["--resume=run", "--epochs=3"]) == 0
    assert_same_tensors(tensors("run"), tensors("whole"))
    assert RunFolder.open(Path("run"))[1].epochs == 3
    assert len(RunFolder(Path("run")).read_history()) == 3


def test_a_finished_run_goes_on_from_its_best_weights_else(capsys):
    assert train([*NEW, "--epochs=1"]) == 0
    assert train(["--resume=run", "--epochs=2"]) == 0
    assert "with a new optimizer" in capsys.readouterr().out
    assert len(RunFolder(Path("run")).read_history()) == 2 and result()["best_epoch"] in (1, 2)


def test_patience_ends_a_run_and_more_of_it_lets_it_go_on(monkeypatch):
    monkeypatch.setattr("minialex.train.loop.evaluate", lambda *_: (0.6, 0.5))  # never better
    assert train([*NEW, "--epochs=5", "--patience=1", "--keep-last"]) == 0
    assert len(RunFolder(Path("run")).read_history()) == 2
    assert result()["best_epoch"] == 1
    assert train(["--resume=run", "--patience=2"]) == 0
    assert len(RunFolder(Path("run")).read_history()) == 3


def test_a_run_killed_before_its_test_is_tested_when_it_is_resumed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(command, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert train([*NEW, "--epochs=1"]) == 130
    assert not Path("run/result.json").exists() and not Path("run/last.safetensors").exists()
    assert train(["--resume=run"]) == 0
    assert result()["best_epoch"] == 1 and result()["seconds"] > 0


def test_a_finished_run_has_curves_which_are_its_history():
    assert train([*NEW, "--epochs=2"]) == 0
    rows = RunFolder(Path("run")).read_history()
    assert Path("run/curves.svg").read_text() == picture({"": rows})


def test_curves_that_cannot_be_written_are_a_line_and_the_run_goes_on(monkeypatch, capsys):
    def full(*_):
        raise CheckpointError("cannot write 'run/curves.svg': No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_text", full)
        assert train([*NEW, "--epochs=1"]) == 2
    assert error_of(capsys).endswith("No space left on device")
    assert train(["--resume=run"]) == 0 and "test_acc" in result()
