"""A memory limit is of the process, from start to end: of its peak, as the system counts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from device import DEVICE
from minialex.train import memory
from minialex.train.memory import largest_chunk, peak_bytes, system_bytes

HELPERS = Path(__file__).parents[1] / "helpers"
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this is Linux's /proc"),
    pytest.mark.skipif(DEVICE == "gpu", reason="of an emulated GPU, the memory is the computer's"),
]
# What `minialex train` does, with a few drawings as all of its images; then the peak.
PROGRAM = """
import sys
from minialex.commands import main as program
from minialex.commands import train as command
from minialex.data import Drawings, Source
from minialex.train.memory import system_bytes

class Few:
    classes, images = ["cat", "dog"], [*Drawings(4, size=140)]
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        return self.images[range(self.count)[index] % 4]

source = Source(Few(48), Few(48), Few(8), Few.classes, "few")
command.open_images = lambda *_: (source, None)
try:
    program.run_main(lambda: program.main(["train", *sys.argv[1:]]))
finally:
    print("peak", system_bytes("self/status", "VmHWM"))
"""
NEW = (
    "--data=drawings", "--image-size=131", "--batch-size=48", "--device=cpu", "--out=run",
    "--epochs=1", "--keep-last",
)  # fmt: skip


def peak(folder, *arguments):
    """Megabytes, and what was printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, capture_output=True, text=True
    )
    return int(re.findall(r"peak (\d+)", done.stdout)[0]) / 1e6, done


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (("--width=0.25", "--variant=2012", "--ten-crop"), 230),
        (("--width=0.5", "--variant=owt"), 420),
    ],
)
def test_the_limit_is_kept_by_the_whole_program(tmp_path, options, limit):
    arguments = (*NEW, *options, f"--memory-limit={limit}MB")
    most, done = peak(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert most <= limit and "is not kept" not in done.stdout
    most, done = peak(tmp_path, "--resume=run", "--epochs=2")
    assert done.returncode == 0, done.stderr
    assert most <= limit and "is not kept" not in done.stdout


def test_a_limit_below_that_of_the_program_is_refused_with_what_it_takes(tmp_path):
    _, done = peak(tmp_path, *NEW, "--width=0.25", "--memory-limit=100MB")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    needed = float(re.findall(r"the program takes ([\d.]+) MB", done.stderr)[0])
    assert 120 < needed < 220 and not (tmp_path / "run").exists()


def test_a_limit_that_turns_out_too_small_is_said_once(tmp_path, monkeypatch):
    import tiny_run

    lines = []
    monkeypatch.setattr(memory, "peak_bytes", lambda device: 3 * 10**9)
    tiny_run.training(tmp_path / "run", lines=lines, memory_limit=10**9).train()
    said = [line for line in lines if "memory-limit" in line]
    assert said == ["--memory-limit is not kept: 3.00 GB are taken"]


def test_the_system_tells_what_a_process_takes(monkeypatch):
    monkeypatch.undo()  # of conftest.py
    now, most = system_bytes("self/status", "VmRSS"), peak_bytes("cpu")
    assert 10**7 < now <= most == system_bytes("self/status", "VmHWM")
    assert system_bytes("self/status", "nothing") == system_bytes("nothing", "VmRSS") == 0
    monkeypatch.setattr(memory, "system_bytes", lambda *_: 0)
    assert peak_bytes("cpu") > 10**4  # of getrusage
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert peak_bytes("cpu") == memory.PYTHON
    assert os.name == "posix"


def test_what_stands_beside_the_step_counts():
    from minialex.models import AlexNet

    model = AlexNet(2, width=1 / 16, image_size=67)
    shape, needed = (
        (67, 67, 3),
        memory.step_bytes(AlexNet(2, width=1 / 16, image_size=67), (67, 67, 3), 8, 3),
    )
    assert largest_chunk(model, shape, 8, needed) == 3
    assert largest_chunk(model, shape, 8, needed + 10**9, outside=10**9) == 3
