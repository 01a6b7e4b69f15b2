"""minialex predict: lines, the best classes, JSON, bad photos, how many are right."""

import json

import pytest

from bad_input import refused
from minialex.commands import predict
from minialex.errors import CheckpointError, ConfigError, DataError
from minialex.layers import Sequential
from minialex.train.model_file import save
from trained import command, lenet, make_photos, make_run, sees_red


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    make_run(folder / "run", sees_red())
    make_photos(folder / "photos")
    (folder / "broken.jpg").write_bytes(b"not a photo")
    return folder


def test_a_line_for_each_photo_and_how_many_are_right(folder, capsys):
    assert command("predict", folder / "run", folder / "photos") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("%" in line for line in lines[:6])
    assert [line.split()[0] for line in lines[:6]] == ["blue"] * 3 + ["red"] * 3
    assert lines[6] == "6 photos in folders named like classes:"
    assert lines[7].endswith("accuracy 100.0%  (6 of 6)")
    assert lines[10].split() == ["all", "6", "6", "100.0%", "61.0%", "to", "100.0%"]
    assert [line.split() for line in lines[-2:]] == [["blue", "3", "0"], ["red", "0", "3"]]
    assert command("predict", folder / "run", folder / "photos" / "red" / "0.png") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("accuracy 100.0%  (1 of 1)")
    (folder / "other").mkdir()
    photo = folder / "other" / "0.png"
    photo.write_bytes((folder / "photos" / "red" / "0.png").read_bytes())
    assert command("predict", folder / "run" / "best.safetensors", photo) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("red ") and line.endswith("0.png")


def test_the_best_classes(tmp_path, folder, capsys):
    make_run(tmp_path / "three", lenet(3), classes=("a", "b", "c"))
    photo = folder / "photos" / "red" / "0.png"
    assert command("predict", tmp_path / "three", photo, "--top", 2) == 0
    line = capsys.readouterr().out.removesuffix(f"  {photo}\n")
    shown = {part.split()[0]: float(part.split()[1].strip("%")) for part in line.split(", ")}
    assert len(shown) == 2 and list(shown.values()) == sorted(shown.values(), reverse=True)
    with refused(ConfigError, "--top must be at least 1, got 0"):
        command("predict", tmp_path / "three", photo, "--top", 0)


def test_json_and_a_bad_photo_that_stops_nothing(folder, capsys):
    photos = (folder / "broken.jpg", folder / "photos" / "red")
    assert command("predict", "--json", "--ten-crop", folder / "run", *photos) == 2
    printed = capsys.readouterr()
    answers = [json.loads(line) for line in printed.out.splitlines()]
    assert [answer["class"] for answer in answers] == ["red"] * 3
    assert [answer["truth"] for answer in answers] == ["red"] * 3
    assert abs(sum(answers[0]["probabilities"].values()) - 1) < 1e-6
    assert printed.err.startswith("error: ") and "broken.jpg" in printed.err
    assert len(printed.err.splitlines()) == 1


def test_memory_of_large_photos_is_given_back(folder, monkeypatch):
    called = []
    monkeypatch.setattr(predict, "spare_memory", lambda: called.append(True))
    assert command("predict", folder / "run", folder / "photos") == 0
    assert called


def test_what_is_no_checkpoint_is_refused(folder, tmp_path):
    for path, words in (
        (folder / "broken.jpg", "damaged"),
        (folder / "photos", "has no best.safetensors"),
        (folder / "missing.safetensors", "does not exist"),
    ):
        with refused(CheckpointError, words):
            command("predict", path, folder / "photos")
    with refused(DataError, "has no photos"):
        command("predict", folder / "run", tmp_path)
    save(tmp_path / "bare.safetensors", lenet())
    with refused(CheckpointError, "no preprocessing for photos"):
        command("predict", tmp_path / "bare.safetensors", folder / "photos")

    class Own(Sequential):
        """A layer of the user's own."""

    save(tmp_path / "own.safetensors", Own(lenet()))
    with refused(CheckpointError, "a layer of your own"):
        command("predict", tmp_path / "own.safetensors", folder / "photos")


def test_the_help_has_an_example():
    parser = predict.parser()
    assert f"  {parser.prog} runs/first my_cat.jpg" in parser.format_help()
