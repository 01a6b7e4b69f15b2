"""What `minialex train` refuses in one line, before it begins or resumes; what a disk must hold."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from device import DEVICE
from minialex.train import saving
from photo_runs import train
from tiny_commands import NEW, error_of, here, tensors  # noqa: F401 -- a fixture


def test_a_result_that_is_a_folder_is_one_line(capsys):
    Path("run/result.json").mkdir(parents=True)
    assert train([*NEW]) == 2
    assert "holds a result.json, which a run would overwrite" in error_of(capsys)


def test_settings_that_no_program_writes_are_one_line(capsys):
    Path("run").mkdir()
    for text in ("[" * 100_000, '{"a":' * 100_000, "\x00"):
        Path("run/config.json").write_text(text)
        assert train(["--resume=run"]) == 2
        line = error_of(capsys)
        assert "config.json' is damaged" in line and len(line.splitlines()) == 1
    if hasattr(os, "mkfifo"):
        Path("run/config.json").unlink()
        os.mkfifo("run/config.json")
        assert train(["--resume=run"]) == 2
        assert "it is no regular file" in error_of(capsys)


def test_a_run_on_a_gpu_resumed_without_one_names_the_cpu(capsys, monkeypatch):
    if DEVICE == "gpu":
        pytest.skip("there is a GPU")
    assert train([*NEW, "--epochs=1", "--keep-last"]) == 0
    settings = json.loads(Path("run/config.json").read_text()) | {"device": "gpu"}
    Path("run/config.json").write_text(json.dumps(settings))
    capsys.readouterr()
    assert train(["--resume=run", "--epochs=2"]) == 2
    assert "(or compute by --device cpu)" in error_of(capsys)
    assert train(["--resume=run", "--epochs=2", "--device=cpu"]) == 0


def test_a_run_of_a_program_of_the_users_is_not_resumed_here(capsys):
    rng = np.random.default_rng(0)
    data = [(rng.random((4, 4, 3), dtype=np.float32), k % 2) for k in range(4)]
    model = mx.Sequential(mx.Flatten(), mx.Linear(48, 2))
    mx.fit(model, mx.DataLoader(data, 2), mx.Adam(model), epochs=1, run="run", device="cpu")
    capsys.readouterr()
    assert train(["--resume=run"]) == 2
    assert "run that again" in error_of(capsys)


def test_a_disk_that_is_too_full_is_noticed_before_the_run(monkeypatch, capsys):
    class Usage:
        free = 100_000

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage)
    assert train([*NEW]) == 2
    line = error_of(capsys)
    assert "has 0.1 MB free, but the run needs" in line and len(line.splitlines()) == 1
    assert not Path("run").exists()


@pytest.mark.parametrize(("optimizer", "states"), [("adam", 2), ("sgd", 1)])
@pytest.mark.parametrize("keep", [False, True])
def test_what_a_run_takes_on_the_disk_is_said(optimizer, states, keep, capsys, monkeypatch):
    monkeypatch.setattr(saving, "SMALL", 0)
    flag = "--keep-last" if keep else "--no-keep-last"
    assert train([*NEW, "--epochs=1", "--optimizer", optimizer, flag]) == 0
    (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("disk:"))
    best = sum(array.nbytes for array in tensors("run", "best").values())
    after = best * (2 + states) if keep else best
    sizes = (saving.show_bytes(best * (3 + 2 * states)), saving.show_bytes(after))
    assert line == "disk: {} while it runs, {} after it".format(*sizes)
    found = sum(path.stat().st_size for path in Path("run").glob("*.safetensors"))
    assert found == pytest.approx(after, rel=0.05)


def test_a_folder_with_a_run_is_not_overwritten(capsys):
    assert train([*NEW, "--epochs=1"]) == 0
    capsys.readouterr()
    assert train([*NEW]) == 2
    assert "continue it with --resume run, or choose another --out" in error_of(capsys)
