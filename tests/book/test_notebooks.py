"""The notebooks run as programs: on one core, without threads, and without marimo itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))


def run(name, **environment):
    paths = os.pathsep.join([str(Path(__file__).parent / "stand_in"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "notebooks" / f"{name}.py")],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_four():
    assert [path.stem for path in NOTEBOOKS] == ["convolution", "filters", "learning", "photos"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_plain_marimo_file_and_says_how_to_open_it(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("app = marimo.App(") == 1 and text.endswith("    app.run()\n")
    assert f"marimo edit docs/notebooks/{path.name}" in text


def test_the_loss_falls_step_by_step():
    before, after, right = re.search(
        r"loss ([\d.]+) -> ([\d.]+), ([\d.]+)% right", run("learning")
    ).groups()
    assert before == "0.693" and float(after) < 0.25 and float(right) > 90


def test_a_pixel_moves_what_its_windows_hold():
    out = run("convolution")
    assert "'x': 1," in out and "'W': 0" in out and "'X': 9" in out
    moved, backward = re.search(
        r"pixel: ([-\d.]+) by moving it, ([-\d.]+) by backward", out
    ).groups()
    assert moved == backward


def test_the_filters_change_while_the_network_learns():
    out = run("filters", STEPS="12")
    moved = re.search(r"the filters moved by (\d+)% of their size", out)
    assert int(moved[1]) >= 1


def test_the_photos_are_told_apart_and_the_mistakes_are_shown():
    out = run("photos")
    assert "1000 photos to learn from, 200 to try: cat, dog" in out
    loss, right, wrong, count = re.search(
        r"loss ([\d.]+), ([\d.]+)% right, (\d+) mistakes of (\d+)", out
    ).groups()
    assert float(loss) < 0.5 and float(right) > 80
    assert int(wrong) == round(200 - 2 * float(right)) and count == "200"
