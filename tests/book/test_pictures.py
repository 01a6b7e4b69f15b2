"""The pictures of the book: they can be drawn again, and are small, light and shown."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
BOOK, PICTURES = ROOT / "docs" / "book", ROOT / "docs" / "figures" / "book"


def size(path):
    """The width and height of a picture."""
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize("name", ["loss", "activations", "convolution", "alexnet", "views"])
def test_pictures_can_be_drawn(figures, name, tmp_path):
    figures.FAST[name](tmp_path, **({"epochs": 30} if name == "loss" else {}))
    made, kept = size(tmp_path / f"{name}.png"), size(PICTURES / f"{name}.png")
    assert np.abs(np.subtract(made, kept)).max() <= 4


def test_pictures_of_trained_networks_can_be_drawn(figures, tmp_path):
    seen = figures.draw_curves(tmp_path, epochs=1, most=60)
    assert set(seen) == {*figures.RUNS, "best"}
    small = dict(side=99, width=0.1, drawings=32, epochs=1, val=8, test=8)
    seen = figures.draw_layers(tmp_path, small, columns=3)
    assert 0 <= seen["accuracy"] <= 1 and 0 < seen["dog"] < 1
    assert {path.stem for path in tmp_path.iterdir()} == set(figures.SLOW)


def test_pictures_are_small_light_and_shown(figures):
    chapters = [path.read_text("utf-8") for path in BOOK.glob("[0-9]*.md")]
    shown = {Path(target).stem for text in chapters
             for target in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)}  # fmt: skip
    assert {path.stem for path in PICTURES.glob("*")} == shown == {*figures.FAST, *figures.SLOW}
    for path in PICTURES.glob("*.png"):
        assert path.stat().st_size < 120_000
        with Image.open(path) as picture:
            corners = np.asarray(picture.convert("L"))[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.min() > 240
