"""Prediction by a checkpoint, the pictures, and the example program that prints them."""

import json
import subprocess
import sys
from pathlib import Path

import curves
import numpy as np
import pytest
from minialex.cli import draw_curves
from PIL import Image

from device import DEVICE, on_device, on_host
from minialex.attach import accelerate
from minialex.data import CenterCrop, Compose, Drawings, Normalize, Resize, ToArray
from minialex.data.ten_crops import MIDDLE_CROP, ten_crops
from minialex.errors import CheckpointError, DataError
from minialex.models import AlexNet
from minialex.train.checkpoint import save_checkpoint, state_dict
from minialex.train.run import COLUMNS, RunFolder
from minialex.use.pictures import filter_sheet, plot_curves
from minialex.use.predict import Predictor, find_photos

EXAMPLE = Path(__file__).parents[2] / "examples" / "predict.py"
TRANSFORM = Compose((Resize(76), CenterCrop(67), ToArray(), Normalize((0.5,) * 3, (0.25,) * 3)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a checkpoint and three photos, one of them damaged."""
    folder = tmp_path_factory.mktemp("predict")
    model = AlexNet(2, width=1 / 16, image_size=67, seed=3)
    header = {"model": model.config, "classes": ["cat", "dog"], "transform": TRANSFORM.to_config()}
    save_checkpoint(folder / "best.safetensors", state_dict(model), header)
    drawings = Drawings(2, seed=1, size=100)
    (folder / "photos").mkdir()
    for i in range(2):
        drawings[i][0].save(folder / "photos" / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"not a photo")
    return folder


def run(*arguments):
    command = [sys.executable, EXAMPLE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_prediction_is_the_softmax_of_the_evaluated_network(folder):
    predictor = Predictor(folder / "best.safetensors", DEVICE)
    photo = folder / "photos" / "0.png"
    model = AlexNet(2, width=1 / 16, image_size=67, seed=3)
    model.train(False)
    z = model(TRANSFORM(Image.open(photo), None)[None])[0].astype(np.float64)
    answer = predictor.predict(photo)
    expected = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected, rtol=1e-5)
    assert answer["class"] == ["cat", "dog"][int(expected.argmax())]
    assert answer["probability"] == max(answer["probabilities"].values())


@pytest.mark.parametrize("options", [{"activation": "tanh", "pooling": "average"}, {}])
def test_a_checkpoint_carries_the_settings_of_its_model(tmp_path, options):
    model = AlexNet(2, width=1 / 16, image_size=67, seed=3, init="glorot", **options)
    header = {"model": model.config, "classes": ["cat", "dog"], "transform": TRANSFORM.to_config()}
    save_checkpoint(tmp_path / "any.safetensors", state_dict(model), header)
    read = Predictor(tmp_path / "any.safetensors", "cpu").model
    x = np.random.default_rng(0).standard_normal((2, *model.input_shape), dtype=np.float32)
    accelerate(model.train(False))  # as a Predictor does
    np.testing.assert_array_equal(read(x), model(x))
    assert read.config == model.config


def test_ten_crops_lie_in_the_corners_and_the_middle_each_with_its_mirror_image():
    pixels = np.arange(80 * 100, dtype=np.uint16).reshape(80, 100)
    channels = np.stack([pixels // 256, pixels % 256, pixels * 0], axis=2)
    image = Image.fromarray(channels.astype(np.uint8))
    crops = ten_crops(image, Compose((CenterCrop((60, 70)), ToArray())))
    assert len(crops) == 10
    first = [round(c[0, 0, 0] * 255) * 256 + round(c[0, 0, 1] * 255) for c in crops[::2]]
    assert first == [0, 30, 2000, 2030, 1015]  # rows 0, 20 and 10; columns 0, 30 and 15
    for crop, mirror in zip(crops[::2], crops[1::2], strict=True):
        assert crop.shape == (60, 70, 3)
        np.testing.assert_array_equal(crop[:, ::-1], mirror)


def test_ten_crops_of_the_paper_lie_in_the_middle_square():
    pixels = np.mgrid[:20, :40].transpose(1, 2, 0)  # (row, column) as red and green
    image = Image.fromarray(np.dstack([pixels, pixels[..., :1]]).astype(np.uint8))
    crops = ten_crops(image, Compose((CenterCrop(20), CenterCrop(12), ToArray())))
    corners = [(np.rint(c[0, 0, :2] * 255)).tolist() for c in crops[::2]]
    assert corners == [[0, 10], [0, 18], [8, 10], [8, 18], [4, 14]]
    middle = Compose((CenterCrop(20), CenterCrop(12), ToArray()))(image)
    np.testing.assert_array_equal(crops[MIDDLE_CROP], middle)


def test_ten_crop_prediction_is_the_mean(folder):
    predictor = Predictor(folder / "best.safetensors", DEVICE)
    image = Image.open(folder / "photos" / "1.png")
    crops = ten_crops(image, TRANSFORM)
    single = [on_host(predictor.model(on_device(crop[None]))) for crop in crops]
    p = [np.exp(z[0].astype(np.float64)) / np.exp(z[0].astype(np.float64)).sum() for z in single]
    found = predictor.probabilities(image, ten_crop=True)
    np.testing.assert_allclose(found, np.mean(p, axis=0), rtol=1e-4)


def test_the_program_prints_a_line_for_each_photo(folder):
    done = run(folder / "best.safetensors", folder / "photos")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("%" in line for line in lines)
    assert {line.split()[0] for line in lines} <= {"cat", "dog"}


def test_the_program_prints_json_and_reports_a_bad_photo_without_stopping(folder):
    photos = (folder / "broken.jpg", folder / "photos")
    done = run("--json", "--ten-crop", folder / "best.safetensors", *photos)
    assert done.returncode == 2
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(a["file"]).name for a in answers] == ["0.png", "1.png"]
    assert abs(sum(answers[0]["probabilities"].values()) - 1) < 1e-6
    assert done.stderr.startswith("error: ") and "broken.jpg" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_program_refuses_what_is_no_checkpoint(folder):
    for path in (folder / "broken.jpg", folder, folder / "missing.safetensors"):
        done = run(path, folder / "photos")
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"variant": "2013"}},
        {"classes": None},
        {"transform": [{"name": "Rotate"}]},
        {"model": {"depth": 9}},
    ],
)
def test_a_strange_header_is_refused_in_one_line(folder, tmp_path, change):
    model = AlexNet(2, width=1 / 16, image_size=67)
    header = {"model": model.config, "classes": ["cat", "dog"]}
    header |= {"transform": TRANSFORM.to_config(), **change}
    save_checkpoint(tmp_path / "x.safetensors", state_dict(model), header)
    with pytest.raises(CheckpointError, match=r"^[^\n]*$"):
        Predictor(tmp_path / "x.safetensors")


def test_find_photos(folder, tmp_path):
    assert [p.name for p in find_photos([folder / "photos", folder / "broken.jpg"])] == [
        "0.png",
        "1.png",
        "broken.jpg",
    ]
    with pytest.raises(DataError, match="has no photos"):
        find_photos([tmp_path])


def test_curves_are_drawn(tmp_path):
    rows = [
        {"epoch": e, "train_loss": 1 / e, "train_acc": 1 - 0.5 / e}
        | {"val_loss": 1.2 / e, "val_acc": 1 - 0.6 / e}
        for e in range(1, 6)
    ]
    for histories in ({"": rows}, {"one": rows, "two": rows[:3]}):
        plot_curves(histories, tmp_path / "curves.png")
        pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).reshape(-1, 3)
        for colour in ((31, 119, 180), (255, 127, 14)):  # both lines, or both runs, are there
            assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 8).sum() > 200


def test_curves_of_several_runs(tmp_path, capsys, monkeypatch):
    rows = [dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch} for epoch in (1, 2)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).write_history(rows)
    assert RunFolder(tmp_path / "a").read_history() == rows
    out = tmp_path / "both.png"
    arguments = [tmp_path / "a", tmp_path / "b", "--out", out]
    monkeypatch.setattr("sys.argv", ["curves.py", *map(str, arguments)])
    assert curves.main() == 0
    with Image.open(out) as picture:
        assert picture.width > 500
    for text in (None, "", "epoch\n1\n", ",".join(COLUMNS) + "\n"):
        if text is None:
            (tmp_path / "b" / "history.csv").unlink()
        else:
            (tmp_path / "b" / "history.csv").write_text(text)
        with pytest.raises(CheckpointError, match=r"'.*b' has not? "):
            curves.main()


def test_without_matplotlib_a_run_goes_on_without_curves(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    draw_curves([{"epoch": 1}], tmp_path / "curves.png")
    line = "no curves.png: matplotlib is not installed (pip install 'minialex[plot]')\n"
    assert capsys.readouterr().out == line
    assert not (tmp_path / "curves.png").exists()


def test_filter_sheet_shows_each_filter():
    weight = on_device(np.zeros((3, 3, 3, 4), dtype=np.float32))
    weight[1, 1, 0, 2] = 5  # a red dot in the third filter
    sheet = np.asarray(filter_sheet(weight, scale=2, columns=2))
    assert sheet.shape == (18, 18, 3)
    assert tuple(sheet[2 + 8 + 2 + 1, 2 + 2 + 1]) == (255, 127, 127)
    assert tuple(sheet[3, 3]) == (127, 127, 127)
    with pytest.raises(ValueError, match="filter_sheet"):
        filter_sheet(weight[:, :, :2])
