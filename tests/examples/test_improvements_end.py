"""improvements.py that is ended from outside: finished runs are kept, nothing else is left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device import DEVICE

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are found in /proc"),
    pytest.mark.skipif(DEVICE == "gpu", reason="the runs are on the CPU"),
]
ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import improvements
import programme
from minialex.commands.main import run_main
from plan import Design

programme.MEASURED = 0.05
improvements.SMALL = Design(width=1 / 16, side=67, images=12, test_images=4, epochs=2)
if __name__ == "__main__":
    sys.argv = ["improvements.py", "lrn", "--seeds", "16", "--budget", "1000", "--out", "out"]
    run_main(improvements.main)
"""


def processes(mark):
    """The numbers of the processes with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def begun(tmp_path):
    """A programme with two finished runs, its folder, and a mark of all its processes."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    paths = [ROOT, ROOT / "examples" / "improvements"]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "MARK": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    results = tmp_path / "out" / "results.json"
    wait(lambda: results.exists() and len(json.loads(results.read_text())["runs"]) >= 2)
    yield process, tmp_path, f"MARK={tmp_path}".encode()
    process.kill()
    process.communicate()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_no_process_and_no_file_is_left(begun, name):
    process, folder, mark = begun
    process.send_signal(getattr(signal, name))
    status = process.wait(timeout=60)
    number = getattr(signal, name)
    assert status == (-number if name == "SIGKILL" else 128 + number)
    wait(lambda: not processes(mark))
    assert not list((folder / "tmp").iterdir())
    assert len(json.loads((folder / "out" / "results.json").read_text())["runs"]) >= 2


def test_one_killed_worker_costs_no_finished_run(begun):
    process, folder, mark = begun
    workers = [
        n for n in processes(mark) if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "a process was killed: what follows are the runs that were finished" in output
    assert len(json.loads((folder / "out" / "results.json").read_text())["runs"]) >= 2
    wait(lambda: not processes(mark))
    assert not list((folder / "tmp").iterdir())
