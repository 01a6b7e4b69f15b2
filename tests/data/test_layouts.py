"""Folders as public data sets come: classes and parts, or one line with what is expected."""

import os

import pytest
from PIL import Image

from bad_input import refused
from minialex.data import ImageFolder, open_source
from minialex.data.sources import part_of
from minialex.errors import DataError


def tree(root, *folders, count=4, suffix="png"):
    """`count` photos in each folder, all of them different."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            path = root / folder / f"{k}.{suffix}"
            Image.new("RGB", (3, 3), (k, len(str(path)) % 256, hash(folder) % 256)).save(path)
    return root


def parts(source, root):
    """{part: the folders that its photos lie in}."""
    return {
        part: {os.path.relpath(os.path.dirname(path), root) for path, _ in photos.samples}
        for part in ("train", "val", "test")
        if (photos := getattr(source, part))
    }


LAYOUTS = {  # name: (folders for training, for validation, for test)
    "kaggle": ("training_set/training_set/{}s", None, "test_set/test_set/{}s"),
    "spelled out": ("training/{}", None, "testing/{}"),
    "capitals": ("Train/{}", None, "Test/{}"),
    "shouted": ("TRAIN_DATA/{}", "VALIDATION-SET/{}", "TEST_DATA/{}"),
    "intel": ("seg_train/seg_train/{}", None, "seg_test/seg_test/{}"),
    "three": ("train/{}", "val/{}", "test/{}"),
    "valid": ("train/{}", "valid/{}", "test/{}"),
    "a folder deeper": ("data/photos/train/{}", None, "data/photos/test/{}"),
    "deeper classes": ("train/{}/2024/may", None, "test/{}/2025"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_parts_of_any_spelling(tmp_path, name):
    places = dict(zip(("train", "val", "test"), LAYOUTS[name], strict=True))
    for place in filter(None, places.values()):
        tree(tmp_path, place.format("cat"), place.format("dog"))
    source = open_source(tmp_path, seed=0)
    assert source.classes == (["cats", "dogs"] if name == "kaggle" else ["cat", "dog"])
    places["val"] = places["val"] or places["train"]
    found = parts(source, tmp_path)
    assert found == {p: {place.format(c) for c in ("cat", "dog")} for p, place in places.items()}
    assert len(source.test) == 8 and not any("not used" in line for line in source.messages)


@pytest.mark.parametrize("name", ["val", "validation", "Valid"])
def test_training_and_validation_alone(tmp_path, name):
    tree(tmp_path / "cats_and_dogs", "train/cat", "train/dog", f"{name}/cat", f"{name}/dog")
    source = open_source(tmp_path, seed=0)
    assert len(source.val) == 8 and len(source.train) + len(source.test) == 8
    assert "no test folder" in source.messages[0]


@pytest.mark.parametrize("root", ["PetImages", "train", "101_ObjectCategories", "a/b/c"])
def test_classes_a_level_deeper(tmp_path, root):
    tree(tmp_path, f"{root}/Cat", f"{root}/Dog")
    tree(tmp_path, "docs", suffix="txt", count=0)
    source = open_source(tmp_path, seed=0)
    assert source.classes == ["Cat", "Dog"]
    assert len(source.train) + len(source.val) + len(source.test) == 8


def flat(root, *names):
    root.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        Image.new("RGB", (3, 3), (k, 0, len(root.name))).save(root / name)


def test_flat_names_of_kaggle(tmp_path):
    names = [f"{kind}.{k}.jpg" for kind in ("cat", "dog") for k in range(6)]
    flat(tmp_path / "train", *names)
    flat(tmp_path / "test1", *(f"{k}.jpg" for k in range(5)))
    source = open_source(tmp_path, seed=0)
    assert source.classes == ["cat", "dog"]
    assert len(source.train) + len(source.val) + len(source.test) == 12
    for part in (source.train, source.val, source.test):
        for path, label in part.samples:
            assert os.path.basename(path).startswith(source.classes[label])
    assert any("not used: test1" in line for line in source.messages)
    assert open_source(tmp_path / "train", seed=0).test.names == source.test.names


@pytest.mark.parametrize("names", [
    ("0.jpg", "1.jpg"), ("IMG_1.jpg", "DSC_2.jpg"), ("cat.0.jpg", "cat.1.jpg"),
    ("cat.0.jpg", "x.jpg"),
])  # fmt: skip
def test_photos_without_a_class_are_refused(tmp_path, names):
    flat(tmp_path / "photos", *names)
    with refused(DataError, "has no class folders", "train/<class>/<photo>"):
        open_source(tmp_path / "photos", seed=0)
    tree(tmp_path, "test/cat", "test/dog")
    flat(tmp_path / "train", *names)
    with refused(DataError, "has no class folders", "train/<class>/<photo>"):
        open_source(tmp_path, seed=0)


def test_parts_below_classes_are_refused(tmp_path):
    tree(tmp_path, "cat/train", "cat/test", "dog/train", "dog/test")
    with refused(DataError, "folder cat with test and train", "expected train/<class>/<photo>"):
        open_source(tmp_path, seed=0)


def test_a_class_may_be_called_train_or_test(tmp_path):
    tree(tmp_path, "bus", "car", "train", "test")
    assert open_source(tmp_path, seed=0).classes == ["bus", "car", "test", "train"]
    names = (
        "test",
        "Testing",
        "test_set",
        "test1",
        "test-images",
        "crash test",
        "test tube",
        "tests",
    )
    assert [part_of(name) for name in names] == ["test"] * 6 + [None] * 2
    assert [part_of(name) for name in ("strain", "cat", "evaluation", "3")] == [None] * 4


def test_what_is_left_out_is_said_by_kind(tmp_path):
    tree(tmp_path, "cat", "dog", count=5)
    for name in ("cat/a.HEIC", "cat/b.heic", "dog/notes.txt", "dog/none", "dog/._0.png",
                 "dog/.DS_Store"):  # fmt: skip
        (tmp_path / name).write_bytes(b"x")
    tree(tmp_path, "cat/@eaDir/0.png", count=3)
    tree(tmp_path, "__MACOSX/cat", ".git/x", count=1)
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    Image.new("RGB", (3, 3)).save(tmp_path / "logo.png")
    source = open_source(tmp_path, seed=0)
    assert source.classes == ["cat", "dog"]
    line = next(line for line in source.messages if "left out" in line)
    for words in ("2 .heic", "1 .txt", "1 without an ending", "1 dead links", "2 hidden",
                  "3 in @eaDir", "1 beside the folders of classes", "pillow-heif"):  # fmt: skip
        assert words in line and "\n" not in line
    assert len(ImageFolder(tmp_path)) == 10


def test_the_order_of_photos_is_that_of_their_names(tmp_path, monkeypatch):
    tree(tmp_path, "cat/b", "cat/a", "dog")
    expected = ImageFolder(tmp_path).names
    assert expected == sorted(expected)
    real, walk = os.scandir, os.walk

    def backwards(top, *more, **options):
        for parent, folders, files in walk(top, *more, **options):
            folders.reverse()
            yield parent, folders, files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert ImageFolder(tmp_path).names == expected and os.scandir is real
