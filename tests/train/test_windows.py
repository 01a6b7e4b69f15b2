"""Under Windows' rules for files, signals and encodings (helpers/windows_rules.py), all works."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device import DEVICE
from minialex.train.checkpoint import load_checkpoint

HELPERS = Path(__file__).parents[1] / "helpers"
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists() or DEVICE == "gpu", reason="the rules are imposed on Linux"
)
TRAIN = "import windows_rules, tiny_run, sys; from minialex.commands.main import run_main;"
TRAIN += "run_main(lambda: tiny_run.main(sys.argv[1:]))"
COMMAND = "import windows_rules, sys; sys.argv[0] = 'minialex';"
COMMAND += "from minialex.commands.main import run; run()"


def windows(code, *arguments, folder=None):
    """What a program prints under the rules; it must end well."""
    path = os.pathsep.join([str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode("cp1252")


def test_a_run_is_begun_stopped_and_resumed_to_the_same_bits(tmp_path):
    import tiny_run

    tiny_run.training(tmp_path / "here", epochs=2, keep_last=True).train()
    windows(TRAIN, "--out", "there", "--epochs=1", folder=tmp_path)
    windows(TRAIN, "--out", "whole", "--epochs=2", folder=tmp_path)
    ours, _ = load_checkpoint(tmp_path / "here" / "last.safetensors")
    theirs, _ = load_checkpoint(tmp_path / "whole" / "last.safetensors")
    for name, array in ours.items():
        np.testing.assert_array_equal(theirs[name], array)
    out = windows(TRAIN, "--resume", "there", "--epochs=2", folder=tmp_path)
    assert "test accuracy" in out
    assert sorted(os.listdir(tmp_path / "there")) == sorted(os.listdir(tmp_path / "whole"))


def test_a_second_program_is_refused_there_too(tmp_path):
    code = (
        "import windows_rules, pathlib; from minialex.files import locked\n"
        "from minialex.errors import CheckpointError\n"
        "folder = pathlib.Path('.')\n"
        "with locked(folder):\n"
        "    try:\n"
        "        with locked(folder): print('twice')\n"
        "    except CheckpointError as error: print(error)\n"
        "with locked(folder): print('again')\n"
    )
    out = windows(code, folder=tmp_path).splitlines()
    assert "another program is writing to" in out[0] and out[1:] == ["again"]
    assert os.listdir(tmp_path) == [".lock"]


def test_the_commands_work_with_names_that_the_terminal_lacks(tmp_path):
    from trained import lenet, make_photos, make_run

    names = ("caf\u00e9", "\u732b")
    make_run(tmp_path / "run", lenet(), classes=names)
    make_photos(tmp_path / "\u5199\u771f", names=names, count=2)
    out = windows(COMMAND, "predict", "run", "\u5199\u771f", "--device=cpu", folder=tmp_path)
    assert len(out.splitlines()) == 15 and "\\u5199" in out and "caf\u00e9" in out
    windows(COMMAND, "pictures", "run", "\u5199\u771f", "--device=cpu", folder=tmp_path)
    assert "trains, losses" in windows(COMMAND, "doctor", folder=tmp_path)
