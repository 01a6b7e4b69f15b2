"""minialex pictures: what is drawn for which network, and what is left out with a line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bad_input import refused
from minialex.commands import pictures
from minialex.commands.pictures import some_photos, verdict
from minialex.data import CenterCrop, Compose, Resize, ToArray
from minialex.errors import ConfigError, DataError
from minialex.models import AlexNet
from minialex.use.predict import Predictor
from trained import command, lenet, make_photos, make_run, perceptron

ALL = ["activations.png", "attention.png", "neighbours.png", "filters.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    make_photos(folder / "photos", count=6)
    settings = {"data": str(folder / "photos"), "seed": 0, "limit": None}
    make_run(folder / "run", lenet(), settings=settings)
    make_run(folder / "alone", lenet())
    return folder


def drawn(capsys, out, *arguments):
    """The names of the pictures, and the other lines."""
    assert command("pictures", *arguments, "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [Path(line).name for line in lines if line.startswith(str(out))]
    for name in names:
        picture = np.asarray(Image.open(out / name))
        assert picture.std() > 10 and picture.shape[2] == 3
    return names, [line for line in lines if not line.startswith(str(out))]


def test_test_images_and_neighbours_come_from_the_data_of_the_run(folder, tmp_path, capsys):
    assert drawn(capsys, tmp_path / "new" / "folder", folder / "run") == (ALL, [])
    photo = folder / "photos" / "red" / "0.png"
    assert drawn(capsys, tmp_path / "out", folder / "run", photo) == (ALL, [])


@pytest.mark.parametrize("more", [(), ("--limit", 9)])
def test_pictures_of_a_run_on_drawings(tmp_path, capsys, more):
    settings = {"data": "drawings", "seed": 0, "limit": 12}
    make_run(tmp_path / "run", lenet(), classes=("cat", "dog"), settings=settings)
    assert drawn(capsys, tmp_path / "out", tmp_path / "run", *more) == (ALL, [])


def test_without_data_neighbours_are_left_out(folder, tmp_path, capsys):
    photos = folder / "photos"
    make_run(tmp_path / "fit", lenet(), settings={"fit": {"epochs": 3}})
    for run in (folder / "alone", tmp_path / "fit"):
        names, lines = drawn(capsys, tmp_path / "out", run, photos)
        assert names == [name for name in ALL if name != "neighbours.png"]
        assert lines[0] == "8 of 12 photos, evenly spaced"
        assert lines[1].startswith("no neighbours.png: ") and "--data" in lines[1]
        assert drawn(capsys, tmp_path / "out", run, "--data", photos) == (ALL, [])
        with refused(DataError, "--data"):
            command("pictures", run, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_network_without_convolutions(folder, tmp_path, capsys):
    make_run(tmp_path / "run", perceptron())
    names, lines = drawn(capsys, tmp_path / "out", tmp_path / "run", "--data", folder / "photos")
    assert names == ["attention.png", "neighbours.png"]
    assert [line.split(": ")[0] for line in lines] == [
        "no activations.png", "attention.png", "no filters.png",
    ]  # fmt: skip


def test_what_training_changed(tmp_path, capsys):
    model = AlexNet(2, "owt", width=1 / 16, image_size=67, seed=5)
    model.features[0].params["weight"][0, 0, 0, 0] += 1  # the only thing that "training" changed
    transform = Compose((Resize(76), CenterCrop(67), ToArray()))
    make_photos(tmp_path / "photos")
    pictures = []
    for settings in (None, {"init": "he", "seed": 5}):
        run = make_run(tmp_path / "run", model, transform=transform, settings=settings)
        drawn(capsys, tmp_path / "out", run, tmp_path / "photos")
        pictures.append(np.asarray(Image.open(tmp_path / "out" / "filters.png")))
    one, two = pictures
    assert two.shape == (2 * len(one) - 6, *one.shape[1:])
    change = two[len(one) + 20 :]  # 4 filters: a red dot in the first, and nothing elsewhere
    assert change[2, 8].tolist() == [255, 127, 127]
    assert {tuple(p) for p in change[2:46, 54:98].reshape(-1, 3).tolist()} == {(127, 127, 127)}


def test_truths_and_choices(folder, capsys):
    assert [verdict("a", truth) for truth in ("a", "b", None)] == ["  right", "  is: b", ""]
    predictor = Predictor(folder / "run")
    chosen = some_photos([folder / "photos"], predictor)
    assert [truth for *_, truth in chosen] == ["blue"] * 4 + ["red"] * 4
    assert {picture.size for picture, *_ in chosen} == {(16, 16)}  # nothing larger is kept
    predictor.classes = []
    chosen = some_photos([folder / "photos" / "red" / "0.png"], predictor)
    assert [truth for *_, truth in chosen] == [None]


def test_a_picture_that_cannot_be_written_costs_no_other(folder, tmp_path, capsys):
    (tmp_path / "out" / "activations.png").mkdir(parents=True)
    names, lines = drawn(capsys, tmp_path / "out", folder / "run")
    assert names == ALL[1:] and lines == ["no activations.png: Is a directory"]


def test_a_folder_that_cannot_be_made(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with refused(ConfigError, "cannot make"):
        command("pictures", folder / "run", "--out", tmp_path / "file")


def test_the_help_has_an_example():
    parser = pictures.parser()
    assert f"  {parser.prog} runs/first" in parser.format_help()
