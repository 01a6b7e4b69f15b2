"""Prediction by a checkpoint of any network; filters as pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trained
from bad_input import refused
from device import DEVICE, on_device, on_host
from minialex.attach import accelerate
from minialex.data import CenterCrop, Compose, Drawings, ImageFolder, Normalize, Resize, ToArray
from minialex.data.ten_crops import MIDDLE_CROP, ten_crops
from minialex.errors import CheckpointError, DataError
from minialex.layers import Flatten, Linear, Sequential
from minialex.models import AlexNet
from minialex.train.checkpoint import save_checkpoint, state_dict
from minialex.use.pictures import filter_pictures
from minialex.use.predict import Predictor, find_photos, run_settings
from trained import lenet, make_photos, make_run

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


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"variant": "2013"}},
        {"classes": 5},
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


def test_a_run_folder_is_a_checkpoint(folder, tmp_path):
    predictor = Predictor(folder, DEVICE)
    assert predictor.path == folder / "best.safetensors" and predictor.classes == ["cat", "dog"]
    with refused(CheckpointError, "has no best.safetensors"):
        Predictor(tmp_path)
    assert run_settings(predictor.path) == {}


def test_a_network_of_our_layers_in_any_order(folder, tmp_path):
    model = lenet(3)
    make_run(tmp_path, model, classes=("a", "b", "c"))
    predictor, image = Predictor(tmp_path, DEVICE), Image.open(folder / "photos" / "0.png")
    z = model.train(False)(trained.TRANSFORM(image)[None])[0].astype(np.float64)
    expected = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(predictor.probabilities(image), expected, rtol=1e-4)
    assert predictor.crop(image).size == (16, 16)


class Halved(Linear):
    """A layer of the user's own."""

    def forward(self, x):
        y, cache = super().forward(x)
        return y / 2, cache


def test_a_network_with_layers_of_ones_own(folder, tmp_path):
    model = Sequential(Flatten(), Halved(768, 2))
    make_run(tmp_path, model)
    photo = folder / "photos" / "0.png"
    with refused(CheckpointError, "a layer of your own"):
        Predictor(tmp_path)
    answers = [
        Predictor(tmp_path, DEVICE, into=Sequential(Flatten(), kind(768, 2))).predict(photo)
        for kind in (Halved, Linear)
    ]
    halved, whole = ([answer["probabilities"][name] for name in ("blue", "red")]
                     for answer in answers)  # fmt: skip
    odds = [np.log(p[0] / p[1]) for p in (halved, whole)]
    assert odds[0] == pytest.approx(odds[1] / 2, rel=1e-3)


def test_without_names_classes_are_numbers(folder, tmp_path):
    make_run(tmp_path, lenet(3), classes=None)
    predictor = Predictor(tmp_path, DEVICE)
    answer = predictor.predict(folder / "photos" / "0.png")
    assert list(answer["probabilities"]) == ["0", "1", "2"] == predictor.classes
    assert answer["class"] in "012"
    make_run(tmp_path, lenet(3), classes=("a", "b"))
    with refused(CheckpointError, "2 names of 3 classes"):
        Predictor(tmp_path, DEVICE).predict(folder / "photos" / "0.png")


def test_without_a_preprocessing_one_can_be_given(folder, tmp_path):
    make_run(tmp_path, lenet(), transform=None)
    photo = folder / "photos" / "0.png"
    with refused(CheckpointError, "val=DataLoader(..., transform=...)", "mx.transforms"):
        Predictor(tmp_path, DEVICE).predict(photo)
    predictor = Predictor(tmp_path, DEVICE, transform=trained.TRANSFORM)
    assert predictor.predict(photo)["class"] in ("blue", "red")
    image = Image.open(photo)
    bare = Predictor(tmp_path, DEVICE, transform=ToArray())
    assert bare.crop(image) is image
    for ask in (bare.predict, lambda photo: bare.probabilities(Image.open(photo))):
        with refused(DataError, "the network cannot take this image: Linear: "):
            ask(photo)
    with refused(DataError, "differ in size"):
        bare.batch([image, image.resize((50, 50))])
    with refused(CheckpointError, "need a preprocessing with a CenterCrop"):
        bare.predict(photo, ten_crop=True)


def test_find_photos(folder, tmp_path):
    found = find_photos([folder / "photos", folder / "broken.jpg"], [])
    assert [(p.name, truth) for p, truth in found] == [
        ("0.png", None), ("1.png", None), ("broken.jpg", None),
    ]  # fmt: skip
    with pytest.raises(DataError, match="has no photos"):
        find_photos([tmp_path], [])


def test_photos_come_class_by_class_as_in_a_data_set(tmp_path):
    make_photos(tmp_path, names=("cat", "cat 2"), count=2)
    found = [str(path) for path, _ in find_photos([tmp_path], [])]
    assert found == [path for path, _ in ImageFolder(tmp_path).samples]
    assert found != sorted(found)


def test_folders_say_what_photos_show(tmp_path, monkeypatch):
    make_photos(tmp_path / "cat" / "all", names=("cat", "dog"), count=1)
    (tmp_path / "cat" / "all" / "dog" / "deeper").mkdir()
    photo = tmp_path / "cat" / "all" / "dog" / "0.png"
    photo.rename(photo.parent / "deeper" / "0.png")
    (photo.parent / "._0.png").write_bytes(b"what macOS leaves behind")
    names = ["cat", "dog"]
    assert [truth for _, truth in find_photos([tmp_path / "cat" / "all"], names)] == names
    assert [truth for _, truth in find_photos([photo.parent], names)] == ["dog"]
    files = [tmp_path / "cat" / "all" / "cat" / "0.png", photo.parent / "deeper" / "0.png"]
    assert [truth for _, truth in find_photos(files, names)] == ["cat", None]
    monkeypatch.chdir(tmp_path / "cat" / "all")
    assert [truth for _, truth in find_photos([Path(".")], names)] == names


def test_filters_are_shown_in_full_brightness():
    weight = on_device(np.zeros((3, 3, 3, 4), dtype=np.float32))
    weight[1, 1, 0, 2] = 5  # a red dot in the third filter
    first, _, third, _ = map(np.asarray, filter_pictures(weight))
    assert third.shape == (3, 3, 3) and third[1, 1].tolist() == [255, 127, 127]
    assert (first == 127).all() and third[0, 0].tolist() == [127, 127, 127]
    grey = np.asarray(filter_pictures(weight[:, :, :1])[2])
    assert grey[1, 1].tolist() == [255, 255, 255] and grey[0, 0].tolist() == [127, 127, 127]
    with pytest.raises(ValueError, match="filter_pictures"):
        filter_pictures(weight[:, :, :2])
