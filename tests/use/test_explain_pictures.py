"""Pictures of what a network looks at: colours, places, pages."""

import numpy as np
from PIL import Image

from minialex.page import pictures, write_page
from minialex.use.pictures import different, heat, overlay
from trained import read_page


def test_heat():
    colours = np.asarray(heat(np.array([[-1.0, 0.0, 1.0], [1.5, 2.0, 3.0]])))
    assert colours[0].tolist() == [[0, 0, 0], [0, 0, 0], [255, 0, 0]]
    assert colours[1].tolist() == [[255, 127, 0], [255, 255, 0], [255, 255, 255]]
    assert not np.asarray(heat(np.zeros((2, 2)))).any()


def test_maps_keep_their_places():
    values = np.array([[0.0, 1.0], [0.0, 0.0]])
    grey = np.asarray(overlay(Image.new("RGB", (40, 40), (200, 100, 0)), values)).astype(int)
    assert np.ptp(grey[35, 5]) < 5  # grey where the map is 0
    assert grey[5, 35].min() > grey[35, 5].max() + 50


def test_a_page_holds_its_pictures_and_texts(tmp_path):
    colours = (255, 0, 0), (0, 0, 255)
    red, blue = (Image.new("RGB", (10, 8), colour) for colour in colours)
    rows = [("one & two", [(red, ""), (blue, "\u732b\n<b>")]), ("", [(red, "3")])]
    write_page(tmp_path / "page.html", "a title", (pictures(*row) for row in rows))
    headings, found = read_page(tmp_path / "page.html")
    assert headings == ["one & two"]
    assert [text for _, text in found] == ["", "\u732b\n<b>", "3"]
    assert all(picture.shape == (8, 10, 3) for picture, _ in found)
    assert [tuple(picture[4, 4]) for picture, _ in found] == [*colours, colours[0]]


def test_channels_that_look_alike_are_not_shown_twice():
    maps = np.zeros((4, 4, 5))
    maps[0, 0], maps[3, 3, 2] = (4, 5, 0, 4.5, 0), 3  # 0, 1 and 3 see the same
    assert different(maps, 2) == [1, 2]
    assert sorted(different(maps, 9)) == [0, 1, 2, 3, 4]
    assert different(maps - 9, 1) == [0]
