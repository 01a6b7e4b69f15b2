"""Training runs on a handful of tiny photos, for the tests of bad input.

`make(w)` fills a folder with `photos` of two classes, with `run`, the folder of a run on them that
was stopped after its only epoch and before its test, and with `file`.  In command lines and
expected words, {w} stands for that folder.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bad_input import snapshot
from device import DEVICE
from minialex.commands import main as program

SMALL = ("--width=0.02", "--image-size=67", "--batch-size=4", "--epochs=1", "--workers=0")
HERE = ("--device", DEVICE)
PHOTOS = (*SMALL, *HERE, "--data", "{w}/photos", "--out", "{w}/new")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
as_root = pytest.mark.skipif(IS_ROOT, reason="root may read everything")


def make(w):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = w / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (72, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(w)
        assert train([*SMALL, *HERE, "--data", "photos", "--out", "run", "--keep-last"]) == 0
    (w / "run" / "result.json").unlink()
    (w / "file").write_text("a file")
    return w


def move(template, w):
    """A copy of such a folder that knows where its photos are."""
    shutil.copytree(template, w, dirs_exist_ok=True)
    photos = w / "run" / "photos.json"
    photos.write_text(photos.read_text().replace(str(template), str(w)))


def nothing(w):
    """For cases that spoil no file."""


def train(arguments):
    """As `minialex train`, in this process: its exit status."""
    with pytest.raises(SystemExit) as end:
        program.run_main(lambda: program.main(["train", *arguments]))
    return end.value.code


def check(w, capsys, arguments, *words, may_start=False):
    """The command must end with status 2, one line on stderr with these words, all files as before.

    Where training `may_start`, a new run folder may appear, but without a result.
    """
    before = snapshot(w)
    assert train([a.format(w=w) for a in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    for word in words:
        assert word.format(w=w) in lines[0], lines[0]
    after = snapshot(w)
    new = {name for name in after if name not in before and name.parts[0] != "stub"}
    assert {name: after.get(name) for name in before} == before
    if may_start:
        assert {name.parts[0] for name in new} <= {"new"} and Path("new/result.json") not in new
    else:
        assert not new
        assert not (w / "new").exists()


STUB = """
import types
class Product:
    def __add__(self, other): return self
    def __matmul__(self, other): return self
    def sum(self): return 16.0
def fail(text):
    raise RuntimeError(text)
def ones(shape, dtype):
    return Product()
runtime = types.SimpleNamespace(
    driverGetVersion=lambda: 12080, runtimeGetVersion=lambda: 12090, getDeviceCount=lambda: 1
)
cuda = types.SimpleNamespace(runtime=runtime)
"""


def stub_cupy(w, change):
    """A stand-in for CuPy in the folder w / "stub", with a line of its own."""
    (w / "stub" / "cupy").mkdir(parents=True)
    (w / "stub" / "cupy" / "__init__.py").write_text(STUB + change + "\n")
