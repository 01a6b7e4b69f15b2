"""Curves as SVG: every point at its place, axes with round numbers, names of any kind."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from minialex.train.chart import BOTTOM, LEFT, RIGHT, TOP, chart, charts, picture, ticks

SVG = "{http://www.w3.org/2000/svg}"


def rows(count, validation=True):
    parts = {"train": 0.5, "val": 0.6} if validation else {"train": 0.5}
    values = {f"{part}_{what}": k for part, k in parts.items() for what in ("loss", "acc")}
    return [
        {"epoch": e, **{key: k / e if "loss" in key else 1 - k / e for key, k in values.items()}}
        for e in range(1, count + 1)
    ]


ROWS = rows(5)


def lines(drawn, kind="training run0"):
    """The points of the curves of a kind, in pixels."""
    found = re.findall(f'd="M([^"]*)" class="{kind}"', drawn)
    return [[tuple(map(float, p.split(","))) for p in d.split("L")] for d in found if "h" not in d]


def words(drawn, kind):
    return re.findall(f'class="{kind}">(.*?)<', drawn)


def test_a_point_stands_where_its_epoch_and_its_value_are():
    (points,) = lines(chart("accuracy", {"": ROWS}))
    across = [LEFT + (RIGHT - LEFT) * e / 5 for e in range(1, 6)]
    up = [BOTTOM - (BOTTOM - TOP) * (0.6 - 0.5 / e) / 0.6 for e in range(1, 6)]  # from 40 %
    np.testing.assert_allclose(points, np.transpose([across, up]), atol=0.051)
    (points,) = lines(chart("loss", {"": ROWS}), "validation run0")
    up = [BOTTOM - (BOTTOM - TOP) * 0.6 / e / 0.6 for e in range(1, 6)]
    np.testing.assert_allclose(points, np.transpose([across, up]), atol=0.051)


def test_axes_have_round_numbers_and_end_with_what_is_perfect():
    loss, accuracy = charts({"": ROWS})
    assert words(loss, "x") == ["epoch", "0", "1", "2", "3", "4", "5"]
    assert words(loss, "y") == ["0", "0.2", "0.4", "0.6"]
    assert words(accuracy, "y") == ["40%", "60%", "80%", "100%"]
    assert words(chart("accuracy", {"": ROWS[-1:]}), "y") == ["85%", "90%", "95%", "100%"]
    assert words(chart("loss", {"": rows(1234)}), "x")[1:] == ["0", "500", "1,000"]


@pytest.mark.parametrize(
    "low, high", [(0, 1), (0, 2.5), (-3, 7e5), (0, 1e-3), (88, 100), (0, 1e98)]
)
def test_ticks_reach_from_end_to_end(low, high):
    found = ticks(low, high)
    step = found[1] - found[0]
    assert found[0] <= low < found[0] + step and found[-1] - step < high <= found[-1]
    assert 3 <= len(found) <= 7 and f"{step:.0e}"[0] in "125"


def test_the_legend_says_the_last_values():
    loss, accuracy = charts({"": ROWS})
    assert words(loss, "value") == ["training 0.1", "validation 0.12"]
    assert words(accuracy, "value") == ["training 90.0%", "validation 88.0%"]
    assert words(loss, "name") == ["epoch 5"]
    assert words(chart("loss", {"": rows(5, validation=False)}), "value") == ["training 0.1"]


def test_several_runs_have_a_colour_each_and_their_names():
    histories = {f"run {i}": rows(3 + i) for i in range(9)}
    for drawn in charts(histories):
        assert 'class="chart several"' in drawn and words(drawn, "name") == list(histories)
        assert [len(line) for line in lines(drawn, "training run0")] == [3, 11]  # 8 colours
        assert [len(line) for line in lines(drawn, "validation run7")] == [10]
    assert 'class="chart"' in chart("loss", {"one": ROWS})


def test_what_is_no_number_is_left_out():
    broken = [dict(row) for row in ROWS]
    broken[2]["train_loss"], broken[3]["val_loss"] = math.nan, math.inf
    del broken[4]["val_loss"]
    drawn = chart("loss", {"": broken})
    assert len(*lines(drawn)) == 4 and len(*lines(drawn, "validation run0")) == 3
    for some in ([], [{"epoch": 1, "train_loss": math.inf}]):
        assert not re.search('class="(training|value)', chart("loss", {"": some}))


def test_odd_histories_and_names_are_drawn_all_the_same():
    odd = [{"epoch": -1, "train_loss": -1e98, "train_acc": -4}, {"epoch": 10**9, "val_loss": 1e98}]
    names = ["<b>&\"'", "\x00\udcff\n", "训练/第一次", 30 * "x" + "end", ""]
    root = ElementTree.fromstring(picture(dict.fromkeys(names, odd)))
    shown = [one.text for one in root.iter(f"{SVG}text") if one.get("class") == "name"]
    assert shown == 2 * ["<b>&\"'", "???", "训练/第一次", 9 * "x" + "…" + 9 * "x" + "end", None]


def test_the_file_has_light_and_dark_colours_and_loads_nothing():
    text = picture({"": ROWS})
    assert "prefers-color-scheme: dark" in text and "url(" not in text and "href" not in text
    root = ElementTree.fromstring(text)
    *_, width, height = map(float, root.get("viewBox").split())
    assert (str(int(width)), str(int(height))) == (root.get("width"), root.get("height"))
