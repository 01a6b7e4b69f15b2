"""The project's check on hardware, and the benchmark on a GPU in it, run to their end here too."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from device import has_gpu
from minialex.data import Drawings

if has_gpu():
    pytest.skip("a real GPU runs benchmarks/on_hardware.sh itself", allow_module_level=True)

ROOT = Path(__file__).parents[2]
RUN_THROUGH = str(ROOT / "tests" / "gpu" / "on_emulated_gpu.py")
DONE = ("machine", "doctor", "tests", "drawings", "photos", "races", "memory")
# What stands for NVIDIA's program: it runs what it is told to watch, and has nothing to say.
SANITIZER = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do
    shift 2
done
"$@"
"""
WITHOUT_TORCH = ("step", "kernels", "torch", "large")


def test_all_parts_run_and_say_what_they_lack(tmp_path):
    for part, start in (("train", 0), ("test", 100)):
        for i, (image, label) in enumerate(Drawings(16, size=80, start=start)):
            path = tmp_path / "photos" / part / ("cat", "dog")[label] / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    sanitizer = tmp_path / "bin" / "compute-sanitizer"
    sanitizer.parent.mkdir()
    sanitizer.write_text(SANITIZER)
    sanitizer.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{sanitizer.parent}:{os.environ['PATH']}",
        "PYTHON": sys.executable, "MINIALEX_RUN_THROUGH": RUN_THROUGH, "TINY": "1",
    }  # fmt: skip
    command = ["bash", "benchmarks/on_hardware.sh", str(tmp_path / "out"), str(tmp_path / "photos")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    lines = (tmp_path / "out" / "summary.txt").read_text().splitlines()
    assert done.returncode == 0 and done.stdout.splitlines() == lines, done.stderr
    *parts, last = lines
    found = {line.split()[0]: line for line in parts}
    assert list(found) == [
        "machine", "doctor", "step", "kernels", "torch", "tests", "drawings", "photos", "large",
        "races", "memory",
    ]  # fmt: skip
    assert all(found[name].split()[1] == "passed" for name in DONE), lines
    assert all("there is no PyTorch with a GPU" in found[name] for name in WITHOUT_TORCH), lines
    assert " 2 passed" in found["races"] and re.search(r" \d\d passed", found["memory"]), lines
    assert "as on the CPU" in found["doctor"] and " passed" in found["tests"][20:]
    assert "test accuracy" in found["drawings"] and "test accuracy" in found["photos"]
    assert last.startswith("7 of 11 parts passed, 0 failed, ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["all.tgz", "summary.txt"]
    with tarfile.open(tmp_path / "out" / "all.tgz") as archive:
        names = set(archive.getnames())
        said = archive.extractfile("./step.txt").read().decode()
        rows = json.load(archive.extractfile("./step.json"))
    assert {"./doctor.txt", "./photos.txt", "./drawings/history.csv"} <= names
    assert not any(name.endswith("safetensors") for name in names)
    check_the_benchmark(said, rows)


def check_the_benchmark(said, rows):
    """What it printed and wrote in a Python without PyTorch."""
    assert "NOT MEASURED: PyTorch, plain failed: " in said
    assert "minialex alone is measured, since PyTorch has no GPU here" in said
    steps, layers = rows[:2], rows[2:]
    assert [row["precision"] for row in rows] == 2 * ["float32", "tf32"]
    for row in steps:
        assert row["batch_size"] == 2 and row["torch"] == {} and row["torch_best"] is None
        assert row["ours"]["loop_ms"] > 0 and row["ours"]["ms"] == 1  # of an emulated event
    for row in layers:
        assert [layer["name"] for layer in row["layers"]][-3:] == [
            "Adam", "loss, and between", "a step"
        ]  # fmt: skip
        assert row["layers"][0]["forward_ms"] == 1 and row["layers"][0]["forward_least_ms"] > 0
    assert (
        layers[0]["layers"][-1]["forward_least_ms"] >= layers[1]["layers"][-1]["forward_least_ms"]
    )
    assert "layers of minialex, tf32, batch 2" in said


def test_without_a_folder_it_says_how_to_call_it():
    done = subprocess.run(
        ["bash", "benchmarks/on_hardware.sh"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2 and "bash benchmarks/on_hardware.sh OUT [PHOTOS]" in done.stdout
    assert "set -u" not in done.stdout
