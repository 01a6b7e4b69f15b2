"""minialex evaluate: the numbers, by hand; which images; one line where classes differ."""

import numpy as np
import pytest

from bad_input import refused, snapshot
from minialex.commands import evaluate
from minialex.commands.evaluate import fit, open_images, tables
from minialex.errors import CheckpointError, ConfigError
from minialex.train.config import Config
from trained import command, lenet, make_photos, make_run, sees_red


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    make_photos(folder / "photos", count=10)
    for part in ("train", "test"):
        make_photos(folder / "parts" / part, count=4)
    settings = {"data": str(folder / "photos"), "seed": 3, "limit": None}
    make_run(folder / "run", sees_red(), settings=settings)
    return folder


def test_the_test_images_of_the_run(folder, capsys):
    before = snapshot(folder)
    assert command("evaluate", folder / "run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("7 images: the test images of ")  # about a fifth of 20
    assert lines[1].startswith("loss 0.") and lines[1].endswith("accuracy 100.0%  (7 of 7)")
    assert lines[4].split() == ["blue", "5", "5", "100.0%"]
    assert [line.split() for line in lines[-2:]] == [["blue", "5", "0"], ["red", "0", "2"]]
    assert max(map(len, lines)) <= 80
    assert snapshot(folder) == before


def test_which_images_are_looked_at(folder):
    own, other, parts = (str(folder / name) for name in ("run/../photos", "photos", "parts"))
    settings, run = {"data": own, "seed": 3}, folder / "run"
    assert len(open_images(None, None, settings, run)[0]) == 7
    assert len(open_images(own, None, settings, run)[0]) == 7  # the same folder, by another name
    assert len(open_images(None, "val", settings, run)[0]) == 3
    assert len(open_images(other, None, {})[0]) == 20  # unknown to the run
    assert 4 <= len(open_images(other, "train", {})[0]) <= 18
    assert len(open_images(parts, None, settings, run)[0]) == 8
    of_today = {"data": "drawings", "limit": 10, "edition": Config.edition}
    drawn = open_images(None, "val", of_today)
    assert drawn[1] == "the val images of 'drawings'" and len(drawn[0]) == 10
    for nobody_says in ({}, {"fit": {"epochs": 2}}):  # of a checkpoint alone, of a run of mx.fit
        with refused(ConfigError, "not known what the network was trained on", "--data"):
            open_images(None, None, nobody_says)


def test_ten_crops(folder, capsys):
    assert command("evaluate", folder / "run", "--ten-crop") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("one crop:  loss") and lines[2].startswith("ten crops: loss")


def test_other_classes_are_refused(folder, tmp_path):
    make_photos(tmp_path / "photos", names=("green", "red"))
    with refused(ConfigError, "show green, red, the network knows blue, red"):
        command("evaluate", folder / "run", "--data", tmp_path / "photos")
    make_run(tmp_path / "bare", sees_red(), transform=None)
    with refused(CheckpointError, "no preprocessing"):
        command("evaluate", tmp_path / "bare", "--data", folder / "photos")


def test_without_names_the_number_of_classes_decides(folder, tmp_path, capsys):
    make_run(tmp_path / "two", sees_red(), classes=None)
    assert command("evaluate", tmp_path / "two", "--data", folder / "photos") == 0
    assert "(20 of 20)" in capsys.readouterr().out
    for classes in (1, 3):
        make_run(tmp_path / "other", lenet(classes), classes=None)
        with refused(ConfigError, "show blue, red, the network knows 0"):
            command("evaluate", tmp_path / "other", "--data", folder / "photos")
    make_run(tmp_path / "wrong", lenet(3), classes=("blue", "red"))
    with refused(CheckpointError, "2 names of 3 classes"):
        command("evaluate", tmp_path / "wrong", "--data", folder / "photos")


def test_the_tables():
    counts = np.zeros((10, 10), dtype=np.int64)
    counts[0, 1], counts[3, 3], counts[3, 0] = 1, 12345, 2
    names = ["a class with a long name"] * 9 + ["一只有很长名字的大猫在这里坐着"]
    lines = tables(counts, names)
    assert len(lines) == 2 + 10 + 2 + 10
    assert lines[3 + 2].split()[-3:] == ["12,345", "12,347", "100.0%"]
    assert lines[2].split()[-3:] == ["0", "1", "0.0%"] and lines[3].split()[-1] == "-"
    assert lines[-7].split()[-10:] == ["2", "0", "0", "12345", *"000000"]
    assert len(tables(np.eye(11, dtype=int), ["x"] * 11)) == 2 + 11
    assert fit("猫狗", 3) == "猫 " and fit("ab", 4, right=True) == "  ab"
    wide = [sum(2 if "一" <= c <= "鿿" else 1 for c in line) for line in lines]
    assert max(wide) <= 80


def test_the_help_has_an_example():
    parser = evaluate.parser()
    assert f"  {parser.prog} runs/first" in parser.format_help()
