"""Several programs at once: each run has a folder of its own, and is written by one program."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tiny_run
from bad_input import refused, snapshot
from minialex import files
from minialex.errors import CheckpointError, ConfigError
from minialex.train.config import Config
from minialex.train.run import NAMES, RunFolder, free_paths

TINY = [
    "--data=drawings", "--width=0.02", "--image-size=67", "--batch-size=4", "--limit=12",
    "--epochs=1", "--workers=0", "--device=cpu",
]  # fmt: skip
TINY_RUN = [sys.executable, str(Path(tiny_run.__file__))]


def claim_all(make, count):
    """What `make()` gives in `count` threads at once."""
    ready, found = threading.Barrier(count), []

    def claim():
        ready.wait()
        folder = make()
        folder.claim()
        found.append(folder.path)

    threads = [threading.Thread(target=claim) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_runs_without_a_name_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make():
        others = free_paths(Config())
        return RunFolder(next(others), True, others)

    found = [path for _ in range(20) for path in claim_all(make, 6)]
    assert len(set(found)) == len(found) == 120
    assert sorted(found) == sorted(Path("runs").iterdir())


def test_programs_started_together_get_a_folder_each(tmp_path):
    command = [sys.executable, "-m", "minialex", "train", *TINY]
    running = [
        subprocess.Popen(
            [*command, f"--seed={seed}"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.PIPE,
        )
        for seed in range(3)
    ]  # fmt: skip
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0 and errors == ""
    folders = list((tmp_path / "runs").iterdir())
    seeds = {RunFolder.open(folder)[1].seed for folder in folders}
    assert len(folders) == 3 and seeds == {0, 1, 2}
    assert all((folder / "curves.svg").is_file() for folder in folders)


def test_a_run_that_is_written_is_not_resumed_by_another_program(tmp_path):
    (tmp_path / "run").mkdir()
    with files.locked(tmp_path / "run"):
        done = subprocess.run(
            [*TINY_RUN, "--out", tmp_path / "run"], capture_output=True, text=True
        )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "another program is writing to" in done.stderr
    assert not snapshot(tmp_path)
    tiny_run.training(tmp_path / "run")
    with files.locked(tmp_path / "run"), refused(CheckpointError, "another program is writing"):
        tiny_run.training(tmp_path / "run")


def test_two_fits_of_one_program_cannot_write_one_run(tmp_path):
    run = tiny_run.training(tmp_path / "run", epochs=1)

    def begin_another(step):
        with refused(CheckpointError, "another program is writing"):
            tiny_run.training(tmp_path / "run", epochs=1)

    run.screen.after = begin_another
    assert len(run.train()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_killed_program_lets_go_of_its_run_and_its_leavings_go(tmp_path):
    process = subprocess.Popen(
        [*TINY_RUN, "--out", tmp_path / "run", "--epochs=1000"], stdout=subprocess.DEVNULL
    )
    while not (tmp_path / "run" / "last.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)
    with refused(CheckpointError, "another program is writing"), files.locked(tmp_path / "run"):
        pass
    process.kill()
    process.wait()
    ours = [".last.safetensors.0123abcd.tmp", ".history.csv.tmp", ".tmpAbc123"]
    others = [
        ".tmp",
        "mine.tmp",
        ".mine.csv.0123abcd.tmp",
        ".tmpAbc1234",
        ".last.safetensors.x.tmp",
    ]
    for name in ours + others:
        (tmp_path / "run" / name).write_text(name)
    tiny_run.training(tmp_path / "run", epochs=1000)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left >= set(others) and not left & set(ours)


def test_a_disk_without_locks_does_without(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.locked(tmp_path), files.locked(tmp_path):
        pass


# -------------------------------------------------------------------------- folders of others


@pytest.mark.parametrize("name", [name for name in NAMES.values() if name != "config.json"])
def test_a_folder_with_files_of_our_names_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with refused(ConfigError, f"holds a {name}, which a run would overwrite"):
        tiny_run.main(["--out", str(tmp_path)])
    with refused(ConfigError, f"holds a {name}, which a run would overwrite"):
        tiny_run.training(tmp_path)
    assert snapshot(tmp_path) == {Path(name): b"mine"}


def test_a_folder_with_other_files_may_take_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert tiny_run.main(["--out", str(tmp_path), "--epochs=1"]) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("path", ["", " ", "/", "/.", "//"])
def test_what_is_no_folder_of_its_own_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(ConfigError, "cannot be the folder of a run"):
        tiny_run.main(["--out", path])
    assert not snapshot(tmp_path)
