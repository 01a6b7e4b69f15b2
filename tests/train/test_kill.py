"""A run that is killed at any moment, and resumed, ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import tiny_run
from forked import Forked

PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "tiny_run.py")]
SAME = ("best.safetensors", "config.json")


def start(*arguments):
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fork(*arguments):
    """The same, started at once."""
    return Forked(tiny_run.program, [*map(str, arguments)])


def complete(*arguments):
    """Run to the end; what it printed."""
    process = fork(*arguments)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.decode()


def outcome(folder):
    """All that a run leaves, except how long it took."""
    from minialex.train.checkpoint import load_checkpoint

    tensors, header = load_checkpoint(folder / "last.safetensors")
    progress = header["progress"]
    for row in progress["history"]:
        del row["images_per_s"]
    del progress["seconds"]
    result = json.loads((folder / "result.json").read_text())
    return (
        {name: array.tobytes() for name, array in tensors.items()},
        header,
        {key: result[key] for key in ("test_loss", "test_acc", "val_acc", "best_epoch")},
        *((folder / name).read_bytes() for name in SAME),
    )


def test_sigkill_at_twenty_random_moments(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    complete("--out", tmp_path / "first", "--epochs=1")  # which starts the server of the forks
    began = time.monotonic()
    complete("--out", whole)
    duration = time.monotonic() - began

    rng = np.random.default_rng(20)
    kills = finished = 0
    folder, n = killed / "0", 0
    while kills < 20:
        arguments = ("--resume", folder) if (folder / "config.json").exists() else ("--out", folder)
        process = fork(*arguments)
        if process.wait(timeout=float(rng.uniform(0.1, 1.0)) * duration) is None:
            process.kill()
            kills += 1
        _, errors = process.communicate()
        assert b"error:" not in errors, errors
        if process.returncode == 0:  # it ended between two kills: compare, and begin another
            finished += 1
            assert outcome(folder) == outcome(whole)
            n += 1
            folder = killed / str(n)
    if (folder / "config.json").exists():
        complete("--resume", folder)
        assert outcome(folder) == outcome(whole)
        finished += 1
    assert finished


def test_ctrl_c_ends_cleanly_after_the_step_with_a_checkpoint(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    complete("--out", whole)
    process = start("--out", folder)
    while not (folder / "config.json").exists():
        time.sleep(0.01)
    while not (folder / "last.safetensors").exists():  # the end of the first of three epochs
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert "Traceback" not in errors
    assert process.returncode == 130, errors
    assert f"--resume {folder}" in output
    assert (folder / "last.safetensors").exists()
    complete("--resume", folder)
    assert outcome(folder) == outcome(whole)
    assert "is finished" in complete("--resume", folder)
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
