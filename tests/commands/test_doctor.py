"""The doctor: what it says of the machine is true, and its status is about the CPU."""

import importlib
import math
import re
import subprocess
import sys
from importlib import metadata

import numpy as np

from device import DEVICE
from minialex.commands import doctor
from minialex.fast.threads import cpu_count


def examined(capsys):
    """The status, and {name: lines} of what is printed."""
    status, found = doctor.main(doctor.parser().parse_args([])), {}
    for line in capsys.readouterr().out.splitlines():
        found.setdefault(line[:10].strip(), []).append(line[10:])
    return status, found


def test_this_machine(capsys):
    status, found = examined(capsys)
    assert status == 0
    assert list(found) == ["system", "packages", "products", "machine", "cpu", "gpu"]
    assert sys.executable in found["system"][0]
    for name in ("numpy", "pillow", "minialex"):
        assert f"{name} {metadata.version(name)}" in found["packages"][0]
    assert f"{cpu_count()} cores" in found["machine"][0]
    losses = [float(loss) for loss in re.findall(r"\d\.\d+", found["cpu"][0])]
    np.testing.assert_allclose(losses, doctor.losses("cpu"), atol=1e-4)
    assert abs(losses[0] - math.log(2)) < 0.1 and losses[-1] < losses[0]


def test_the_gpu_or_what_is_wrong_with_it(capsys):
    lines = examined(capsys)[1]["gpu"]
    if DEVICE == "cpu":
        (line,) = lines
        assert line == f"not used: {doctor.gpu_problem()}" or "as on the CPU" in line
        return
    assert "compute capability" in lines[0] and "the one that is used" in lines[0]
    assert lines[1].startswith("the driver is for CUDA 1")
    assert lines[-1].startswith("trains, losses 0.") and "as on the CPU (within " in lines[-1]


def test_other_losses_on_the_gpu_are_noticed(capsys, monkeypatch):
    devices = {"cpu": [0.7, 0.69, 0.68], "gpu": [0.7, 0.69, 0.72]}
    monkeypatch.setattr(doctor, "losses", devices.get)
    monkeypatch.setattr(doctor, "gpu_problem", lambda: None)
    monkeypatch.setattr(doctor, "gpus", lambda cupy: [])
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    status, found = examined(capsys)
    assert status == 0 and found["gpu"][0].endswith("not those of the CPU; use --device cpu")


def test_a_cpu_that_computes_nonsense(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "losses", lambda device: [0.7, math.nan, math.nan])
    monkeypatch.setattr(doctor, "gpu_problem", lambda: "no GPU")
    status, found = examined(capsys)
    assert (
        status == 1
        and found["cpu"][0].startswith("computes wrong losses")
        and found["gpu"] == ["not used: no GPU"]
    )


def test_as_a_program():
    command = [sys.executable, "-m", "minialex", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("system") and "\ncpu       trains, losses 0." in done.stdout
