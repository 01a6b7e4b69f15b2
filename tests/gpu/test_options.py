"""Options of a training run that concern a GPU, as a user gives them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device import has_gpu
from test_same_numbers import TOLERANCE

TESTS = Path(__file__).parents[1]
COUNT = """
import sys
sys.path[:0] = [{tests!r}]
import device, tiny_run
from cupyemu import device as emulated
status = tiny_run.main(sys.argv[1:])
gemms, tf32 = (emulated.gemms[name] for name in ("gemms", "gemms_tf32"))
print("counted", gemms > 0, gemms == tf32)
sys.exit(status)
"""


def run(*command, **environment):
    environment = {**os.environ, "MINIALEX_TEST_DEVICE": "gpu", **environment}
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=TESTS.parent,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(has_gpu(), reason="a real GPU does not count")
@pytest.mark.parametrize(
    "options, all_tf32", [([], False), (["--tf32"], True), (["--no-tf32"], False)]
)
def test_tf32_is_for_those_who_ask_for_it(options, all_tf32, tmp_path):
    arguments = ["--out", str(tmp_path / "run"), "--epochs", "1", *options]
    status, out, err = run("-c", COUNT.format(tests=str(TESTS / "helpers")), *arguments)
    assert status == 0, err
    assert out.splitlines()[-1] == f"counted True {all_tf32}"


def test_an_example_runs_on_the_emulated_gpu_with_the_losses_of_the_cpu(tmp_path):
    """As on_emulated_gpu.py says; with a narrow network, since all of AlexNet takes minutes."""
    flags = {
        "limit": 8,
        "epochs": 2,
        "batch-size": 4,
        "width": 0.0625,
        "image-size": 67,
        "lr": 1e-4,
    }
    found = {}
    for device, program in (("gpu", ["tests/gpu/on_emulated_gpu.py"]), ("cpu", [])):
        folder = tmp_path / device
        options = [f"--{name}={value}" for name, value in flags.items()]
        status, out, err = run(
            *program, "examples/train_catdog.py", "--device", device, "--out", str(folder), *options
        )
        assert status == 0, err
        assert f"\ndevice: {device}" in out
        history = np.genfromtxt(folder / "history.csv", delimiter=",", skip_header=1)[
            :, :5
        ]  # without the speed
        test_loss = json.loads((folder / "result.json").read_text())["test_loss"]
        found[device] = [*history.flat, test_loss]
    assert len(found["gpu"]) == 11
    np.testing.assert_allclose(found["gpu"], found["cpu"], rtol=0, atol=TOLERANCE)


def test_a_memory_limit_that_nothing_fits_in_is_one_line(tmp_path):
    status, _, err = run(
        "tests/helpers/tiny_run.py", "--out", str(tmp_path / "run"), "--memory-limit", "1MB"
    )
    assert status == 2 and len(err.splitlines()) == 1
    assert err.startswith(
        "error: --memory-limit 1.0 MB is too little: with one image at a time the program takes"
    )
    assert not (tmp_path / "run").exists()
