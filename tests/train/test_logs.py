"""A log that ends does not end a run; a terminal that is closed stops it with a checkpoint."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tiny_run
from minialex.train.progress import Stop
from minialex.train.screen import Screen, on_terminal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX, and its signals")
PROGRAM = f"'{sys.executable}' '{Path(tiny_run.__file__)}' --out run --epochs=2"
LOGS = [
    "> /dev/full",
    ">&-",
    "2>&-",
    ">&- 2>&-",
    "2>&1 | head -n 1",
    "2>&1 | true",
    "> /dev/full 2>&1",
]


@pytest.mark.parametrize("where", LOGS)
def test_training_goes_on_without_its_log(tmp_path, where):
    command = f"set -o pipefail; {PROGRAM} {where}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").exists()


def test_a_screen_that_is_lost_stays_silent(monkeypatch, tmp_path):
    class Gone:
        encoding = "utf-8"

        def isatty(self):
            raise ValueError("I/O operation on closed file")

        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    for stream in (None, Gone()):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        assert not on_terminal(stream)
        screen = Screen(1)
        screen.line("nobody sees this")
        with screen.bar("epoch", 4) as bar:
            bar.update(2, loss="0.1")


def test_letters_that_the_terminal_lacks_are_numbers(tmp_path):
    code = "from minialex.train.screen import Screen; Screen().line('caf\\u00e9 \\u732b')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )
    assert (done.returncode, done.stdout) == (0, b"caf\xe9 \\u732b\n")


# ----------------------------------------------------------------------------------- signals


def start(folder, *before):
    program = [*before, sys.executable, Path(tiny_run.__file__), "--out", folder, "--epochs=1000"]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent
    )
    while not (folder / "last.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_the_run_with_a_checkpoint(tmp_path, name):
    process = start(tmp_path / "run")
    process.send_signal(getattr(signal, name))
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert output.splitlines()[-1].endswith(f"--resume {tmp_path / 'run'}")
    assert (tmp_path / "run" / "last.safetensors").exists()


def test_a_run_under_nohup_outlives_its_terminal(tmp_path):
    process = start(tmp_path / "run", "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=60) == 130
    process.communicate()


def test_a_terminal_may_hang_up_twice_but_a_second_ctrl_c_ends_at_once():
    stop, said = Stop(), []
    before = signal.getsignal(signal.SIGHUP)
    with stop.on_signal(said.append):
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
        assert stop.asked and len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_run_in_another_thread_trains_and_stays_deaf_to_signals(tmp_path):
    found = []
    run = lambda: found.append(tiny_run.main(["--out", str(tmp_path / "run"), "--epochs=1"]))  # noqa: E731
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [0] and (tmp_path / "run" / "result.json").exists()
