"""Crops that are scaled: along the rows first with every version of Pillow; and views of photos
elsewhere."""

import numpy as np
import pytest
from PIL import Image

from minialex.data import ColourShift, Compose, RandomCrop, RandomHorizontalFlip, RandomResizedCrop
from minialex.data import transforms as steps
from minialex.data.pixels import Elsewhere, ToBytes
from noise_pictures import generator, noise

BILINEAR = Image.Resampling.BILINEAR


def cases(count=150):
    """(image, box, size): photos of all shapes, the long and thin with them."""
    rng = generator(5)
    for k in range(count):
        W, H = np.exp(rng.uniform(0.7, 5.7, 2)).astype(int).tolist()
        if k % 10 == 0:
            W, H = int(rng.integers(1, 4)), int(rng.integers(300, 500))
        w, h = int(rng.integers(1, W + 1)), int(rng.integers(1, H + 1))
        left, top = int(rng.integers(W - w + 1)), int(rng.integers(H - h + 1))
        size = tuple(rng.integers(1, 150, 2).tolist())
        yield noise(W, H, k), (left, top, left + w, top + h), size


@pytest.mark.parametrize("known", [True, False], ids=["Pillow as it is", "a later Pillow"])
def test_rows_come_first(known, monkeypatch):
    monkeypatch.setattr(steps, "_KNOWN", known and steps._KNOWN)
    for image, box, (h, w) in cases():
        left, top, right, bottom = box
        rows = image.resize((w, image.height), BILINEAR, box=(left, 0, right, image.height))
        both = rows.resize((w, h), BILINEAR, box=(0, top, w, bottom))
        assert np.array_equal(steps.scaled(image, box, (h, w)), both), (image.size, box, (h, w))


def test_only_what_is_needed_is_cut_out():
    rows = steps.rows_to_cut(300, 1000, (0, 100, 300, 200), (50, 50))
    assert steps.rows_to_cut(300, 300, (0, 0, 300, 300), (50, 50)) is None or not steps._KNOWN
    assert rows is None or (rows.start, rows.stop) == (98, 202)  # the filter reaches two further


CROPS = [(), (RandomCrop(20),), (RandomCrop(30, padding=9),), (RandomResizedCrop(17, (0.1, 1)),)]


@pytest.mark.parametrize("mirror", [(), (RandomHorizontalFlip(),)])
@pytest.mark.parametrize("crop", CROPS)
def test_a_view_is_what_the_steps_do(crop, mirror):
    """Of a photo elsewhere the same numbers are drawn, in the same order."""
    to_bytes = ToBytes(Compose((*crop, *mirror)), ColourShift(((0.1, 0.2, 0.3),)), Compose(()))
    for seed in range(20):
        image, one, other = noise(25, 45, seed), generator(seed), generator(seed)
        pixels, colour = to_bytes(image, one)
        view, same_colour = to_bytes(Elsewhere(7, 25, 45), other)
        assert one.bit_generator.state == other.bit_generator.state
        assert np.array_equal(colour, same_colour) and view.dtype == np.int32
        number, first, width, height, left, top, right, bottom, mirrored = view.tolist()
        assert (number, width, height) == (7, 25, 45 - first)
        part = Image.fromarray(np.asarray(image)[first:]).crop((left, top, right, bottom))
        if part.size == pixels.shape[1::-1]:
            expected = np.asarray(part)
        else:
            box = (left, top + first, right, bottom + first)
            expected = np.asarray(steps.scaled(image, box, pixels.shape[:2]))
        assert np.array_equal(pixels, expected[:, ::-1] if mirrored else expected)
