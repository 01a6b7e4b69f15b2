"""minialex evaluate: the numbers, by hand; which images; one line where classes differ."""

import json

import pytest

from bad_input import refused, snapshot
from device import DEVICE
from minialex.commands import evaluate, main
from minialex.commands.evaluate import open_images
from minialex.errors import CheckpointError, ConfigError, DataError
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
    assert lines[4].split() == ["all", "7", "7", "100.0%", "64.6%", "to", "100.0%"]
    assert lines[5].split()[:4] == ["blue", "5", "5", "100.0%"]
    assert [line.split() for line in lines[-4:-1]] == [["blue", "5", "0"], ["red", "0", "2"], []]
    run = str(folder / "run")
    assert lines[-1].startswith("a page about it: ")
    assert lines[-1].endswith(f"minialex evaluate {run} --report report.html")
    assert max(map(len, lines[:-1])) <= 80
    assert snapshot(folder) == before


def test_which_images_are_looked_at(folder):
    own, other, parts = (str(folder / name) for name in ("run/../photos", "photos", "parts"))
    settings, run = {"data": own, "seed": 3}, folder / "run"
    assert len(open_images(None, None, settings, run)[0]) == 7
    assert len(open_images(own, None, settings, run)[0]) == 7  # the same folder, by another name
    assert len(open_images(None, "val", settings, run)[0]) == 3
    assert len(open_images(other, None, {}, folder)[0]) == 20  # unknown to the run
    assert 4 <= len(open_images(other, "train", {}, folder)[0]) <= 18
    assert len(open_images(parts, None, settings, run)[0]) == 8
    of_today = {"data": "drawings", "limit": 10, "edition": Config.edition}
    drawn = open_images(None, "val", of_today, folder)
    assert drawn[1] == "the val images of 'drawings'" and len(drawn[0]) == 10
    for nobody_says in ({}, {"fit": {"epochs": 2}}):  # of a checkpoint alone, of a run of mx.fit
        with refused(ConfigError, "not known what the network was trained on", "--data"):
            open_images(None, None, nobody_says, folder)


def test_a_folder_has_its_place_and_had_an_option(folder, capsys):
    texts = []
    for words in (("photos",), ("--data", "photos"), ("--json", "photos"), ("photos", "--json")):
        words = [str(folder / word) if word == "photos" else word for word in words]
        assert main.main(["evaluate", str(folder / "run"), *words, "--device", DEVICE]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and texts[2] == texts[3]
    numbers = json.loads(texts[2])
    assert set(numbers) == {"images", "checkpoint", "one_crop"}
    assert numbers["one_crop"]["confusion"] == [[5, 0], [0, 2]]
    assert [one["accuracy"] for one in numbers["one_crop"]["classes"]] == [1, 1]
    assert numbers["one_crop"]["interval"] == pytest.approx([0.645670, 1], abs=1e-6)


def test_a_damaged_photo_ends_it_with_its_name(folder, tmp_path):
    make_photos(tmp_path / "photos")
    (tmp_path / "photos" / "red" / "1.png").write_bytes(b"no photo")
    with refused(DataError, "1.png"):
        command("evaluate", folder / "run", tmp_path / "photos", "--csv", tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


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


def test_the_help_has_an_example():
    parser = evaluate.parser()
    assert f"  {parser.prog} runs/first" in parser.format_help()
