"""minialex pictures: what is drawn for which network, and what is left out with a line."""

import numpy as np
import pytest

from bad_input import refused
from minialex.commands import pictures
from minialex.commands.pictures import some_photos, verdict
from minialex.data import CenterCrop, Compose, Resize, ToArray
from minialex.errors import CheckpointError, ConfigError
from minialex.models import AlexNet
from minialex.train.config import Config
from minialex.use.predict import Predictor
from trained import command, lenet, make_photos, make_run, perceptron, read_page

ALL = ["the image", "convolution 1", "convolution 2", "what the", "saliency", "Grad-CAM",
    "the nearest", "the 12"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    make_photos(folder / "photos", count=6)
    settings = {"data": str(folder / "photos"), "seed": 0, "limit": None}
    make_run(folder / "run", lenet(), settings=settings)
    make_run(folder / "alone", lenet())
    return folder


def drawn(capsys, out, *arguments):
    """The headings of the page, and the lines beside its name."""
    assert command("pictures", *arguments, "--out", out) == 0
    *lines, name = capsys.readouterr().out.splitlines()
    assert name == str(out / "index.html")
    headings, pictures = read_page(out / "index.html")
    assert all(picture.shape[2] == 3 for picture, _ in pictures)
    assert np.mean([picture.std() > 10 for picture, _ in pictures]) > 0.5
    return [heading for heading in headings if heading], lines


def same(headings, expected):
    return len(headings) == len(expected) and all(map(str.startswith, headings, expected))


def test_test_images_and_neighbours_come_from_the_data_of_the_run(folder, tmp_path, capsys):
    headings, lines = drawn(capsys, tmp_path / "new" / "folder", folder / "run")
    assert same(headings, ALL) and not lines
    photo = folder / "photos" / "red" / "0.png"
    headings, lines = drawn(capsys, tmp_path / "out", folder / "run", photo)
    assert same(headings, ALL) and not lines


@pytest.mark.parametrize("more", [(), ("--limit", 9)])
def test_pictures_of_a_run_on_drawings(tmp_path, capsys, more):
    settings = {"data": "drawings", "seed": 0, "limit": 12, "edition": Config.edition}
    make_run(tmp_path / "run", lenet(), classes=("cat", "dog"), settings=settings)
    headings, lines = drawn(capsys, tmp_path / "out", tmp_path / "run", *more)
    assert same(headings, ALL) and not lines


def test_without_data_neighbours_are_left_out(folder, tmp_path, capsys):
    photos = folder / "photos"
    make_run(tmp_path / "fit", lenet(), settings={"fit": {"epochs": 3}})
    for run in (folder / "alone", tmp_path / "fit"):
        headings, lines = drawn(capsys, tmp_path / "out", run, photos)
        assert same(headings, [*ALL[:6], *ALL[7:]])
        assert lines[0] == "8 of 12 photos, evenly spaced"
        assert lines[1].startswith("neighbours: ") and "--data" in lines[1]
        headings, lines = drawn(capsys, tmp_path / "out", run, "--data", photos)
        assert same(headings, ALL) and not lines
        with refused(ConfigError, "--data"):
            command("pictures", run, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_network_without_convolutions(folder, tmp_path, capsys):
    make_run(tmp_path / "run", perceptron())
    headings, lines = drawn(capsys, tmp_path / "out", tmp_path / "run", "--data", folder / "photos")
    assert same(headings, ["what the", "saliency", "the nearest"])
    assert [line.split(": ")[0] for line in lines] == ["activations", "attention", "filters"]


def test_what_training_changed(tmp_path, capsys):
    model = AlexNet(2, "owt", width=1 / 16, image_size=67, seed=5)
    model.features[0].params["weight"][0, 0, 0, 0] += 1  # the only thing that "training" changed
    transform = Compose((Resize(76), CenterCrop(67), ToArray()))
    make_photos(tmp_path / "photos")
    pages = []
    for settings in (None, {"init": "he", "seed": 5}):
        run = make_run(tmp_path / "run", model, transform=transform, settings=settings)
        drawn(capsys, tmp_path / "out", run, tmp_path / "photos")
        pages.append([picture for picture, _ in read_page(tmp_path / "out" / "index.html")[1]])
    one, two = pages
    assert len(two) == len(one) + 4
    dot, *others = two[-4:]  # 4 filters: a red dot in the first, and nothing elsewhere
    assert dot.shape == (11, 11, 3) and dot[0, 0].tolist() == [255, 127, 127]
    assert all((other == 127).all() for other in others)


def test_truths_and_choices(folder, capsys):
    assert [verdict("a", truth) for truth in ("a", "b", None)] == ["  right", "  is: b", ""]
    predictor = Predictor(folder / "run")
    chosen = some_photos([folder / "photos"], predictor)
    assert [truth for *_, truth in chosen] == ["blue"] * 4 + ["red"] * 4
    assert {picture.size for picture, *_ in chosen} == {(16, 16)}  # nothing larger is kept
    predictor.classes = []
    chosen = some_photos([folder / "photos" / "red" / "0.png"], predictor)
    assert [truth for *_, truth in chosen] == [None]


def test_a_page_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "out" / "index.html").mkdir(parents=True)
    with refused(CheckpointError, "index.html"):
        command("pictures", folder / "run", "--out", tmp_path / "out")


def test_a_folder_that_cannot_be_made(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with refused(ConfigError, "cannot make"):
        command("pictures", folder / "run", "--out", tmp_path / "file")


def test_the_help_has_an_example():
    parser = pictures.parser()
    assert f"  {parser.prog} runs/first" in parser.format_help()
