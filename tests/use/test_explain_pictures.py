"""Pictures of what a network looks at: colours, places, rows, text."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from minialex.use import pictures
from minialex.use.pictures import (
    activation_sheet,
    different,
    font_for,
    fonts,
    heat,
    map_picture,
    overlay,
    picture_row,
    stack,
    write,
)


def test_heat():
    colours = heat(np.array([[-1.0, 0.0, 1.0], [1.5, 2.0, 3.0]]))
    assert colours.dtype == np.uint8
    assert colours[0].tolist() == [[0, 0, 0], [0, 0, 0], [255, 0, 0]]
    assert colours[1].tolist() == [[255, 127, 0], [255, 255, 0], [255, 255, 255]]
    assert not heat(np.zeros((2, 2))).any()


def test_maps_keep_their_places():
    values = np.array([[0.0, 1.0], [0.0, 0.0]])
    shown = np.asarray(map_picture(values, (40, 40)))
    assert shown[5, 35].tolist() == [255, 255, 255]
    assert not shown[5, 5].any() and not shown[35, 35].any()
    grey = np.asarray(overlay(Image.new("RGB", (40, 40), (200, 100, 0)), values)).astype(int)
    assert np.ptp(grey[35, 5]) < 5  # grey where the map is 0
    assert grey[5, 35].min() > grey[35, 5].max() + 50


def test_rows_and_stacks_hold_each_picture():
    red, blue = (Image.new("RGB", (10, 10), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    row = np.asarray(picture_row([(red, ""), (blue, "")], cell=20))
    assert row.shape == (20, 46, 3)
    assert row[10, 10].tolist() == [255, 0, 0] and row[10, 36].tolist() == [0, 0, 255]
    below = np.asarray(picture_row([(red, "text"), (blue, "")], cell=20))
    assert below.shape == (38, 46, 3)
    assert below[20:, :26].min() < 100 and below[20:, 40:].min() == 255
    sheet = np.asarray(stack([("", red), ("text", blue)]))
    assert sheet.shape == (6 + 16 + 20 + 16, 22, 3)
    assert sheet[10, 10].tolist() == [255, 0, 0] and sheet[50, 10].tolist() == [0, 0, 255]


def test_channels_that_look_alike_are_not_shown_twice():
    maps = np.zeros((4, 4, 5))
    maps[0, 0], maps[3, 3, 2] = (4, 5, 0, 4.5, 0), 3  # 0, 1 and 3 see the same
    assert different(maps, 2) == [1, 2]
    assert sorted(different(maps, 9)) == [0, 1, 2, 3, 4]
    assert different(maps - 9, 1) == [0]


def test_text_is_cut_to_its_place_and_written_in_letters_that_are_there(monkeypatch):
    def ink(text, width=60):
        sheet = Image.new("RGB", (200, 60), "white")
        write(ImageDraw.Draw(sheet), (0, 0), text, width)
        rows, columns = np.nonzero(np.asarray(sheet)[..., 0] < 200)
        return rows.max(), columns.max(), sheet.tobytes()

    assert ink("a long name of a class")[1] < 60 < ink("a long name of a class", 200)[1]
    assert ink("one\ntwo")[0] > ink("one")[0] + 10
    monkeypatch.setattr(pictures, "fonts", lambda: [ImageFont.load_default(size=13)])
    font_for.cache_clear()
    assert font_for("cat") is not None and font_for("猫") is None
    assert ink("猫 a", 200) == ink("\\u732b a", 200)
    font_for.cache_clear()


def test_a_font_that_has_the_letters_is_found(monkeypatch):
    cjk = [font for font in fonts()[1:] if font.getname()[0] != "DejaVu Sans"]
    if not cjk:
        pytest.skip("this machine has none of the fonts with Chinese letters")
    assert font_for("猫") is not None


def test_activations_show_the_strongest_channels_first():
    maps = np.zeros((2, 2, 3))
    maps[0, 0, 2], maps[1, 1, 1] = 5, 3
    sheet = np.asarray(activation_sheet(Image.new("RGB", (8, 8)), [maps], columns=2))
    top = sheet.shape[0] - 6 - 108
    first, second = sheet[top:, 6:114], sheet[top:, 120:228]
    assert first[10, 10].min() == 255 and first[90, 90].max() == 0
    assert second[10, 10].max() == 0 and second[90, 90].min() == 255
