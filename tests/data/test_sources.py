"""`--data`: drawings, pets, a folder with train and test, a folder without."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bad_input import refused, snapshot
from minialex.data import open_source, sources
from minialex.errors import ConfigError, DataError


def make_folder(root, **counts):
    """root/<class>/<k>.png, each with a colour of its own."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (4, 3), (k, len(name), 0)).save(root / name / f"{k:03}.png")
    return root


def paths(dataset):
    """The files of a dataset, down through its subsets."""
    if hasattr(dataset, "samples"):
        return [path for path, _ in dataset.samples]
    below = paths(dataset.dataset)
    return [below[i] for i in dataset.indices]


def counts(dataset):
    return np.bincount(dataset.labels).tolist()


# ----------------------------------------------------------------------------------------- drawings


def test_drawings_have_disjoint_numbers_and_the_stated_lengths():
    source = open_source("drawings", seed=3)
    parts = (source.train, source.val, source.test)
    assert [len(p) for p in parts] == [2400, 300, 500]
    numbers = [set(range(p.start, p.start + p.length)) for p in parts]
    assert len(set.union(*numbers)) == 3200
    assert {p.seed for p in parts} == {3}
    assert source.classes == ["cat", "dog"] and source.messages == []
    assert "2,400" in source.description and "\n" not in source.description


def test_test_drawings_stay_when_the_limit_changes():
    short, long = (open_source("drawings", seed=0, limit=n) for n in (10, 50))
    assert (len(short.train), len(long.train)) == (10, 50)
    assert short.test.start == long.test.start and short.val.start == long.val.start
    assert np.array_equal(short.test[1][0], long.test[1][0])
    assert not np.array_equal(short.test[0][0], short.train[0][0])


def test_limit_of_drawings():
    source = open_source("drawings", seed=0, limit=40)
    assert [len(p) for p in (source.train, source.val, source.test)] == [40, 40, 40]
    assert [len(p) for p in (source.train, source.val)] == [40, 40]


# -------------------------------------------------------------------------------- folders of photos


def make_split_folder(root):
    make_folder(root / "train", cat=40, dog=20)
    make_folder(root / "test", cat=6, dog=8)
    return root


def test_folder_with_train_and_test(tmp_path):
    source = open_source(make_split_folder(tmp_path), seed=0)
    found = [counts(part) for part in (source.train, source.val, source.test)]
    assert np.add(*found[:2]).tolist() == [40, 20] and min(found[1]) >= 1
    assert found[2] == [6, 8]
    assert sorted(paths(source.train) + paths(source.val)) == sorted(
        str(p) for p in (tmp_path / "train").rglob("*.png")
    )
    assert all(path.startswith(str(tmp_path / "test")) for path in paths(source.test))
    assert source.classes == ["cat", "dog"] and source.messages == []
    assert f"{len(source.train)} for training" in source.description
    assert "cat, dog" in source.description
    image, label = source.val[len(source.val) - 1]
    assert image.mode == "RGB" and label == 1


def test_validation_depends_on_the_seed_alone(tmp_path):
    make_split_folder(tmp_path)
    first, again, other = (paths(open_source(str(tmp_path), seed=s).val) for s in (0, 0, 1))
    assert first == again != other


def test_folder_without_a_split_gets_a_seeded_one_and_says_so(tmp_path):
    make_folder(tmp_path, cat=50, dog=10)
    source = open_source(tmp_path, seed=4)
    parts = (source.train, source.val, source.test)
    assert sum(np.array(counts(p)) for p in parts).tolist() == [50, 10]
    assert all(min(counts(p)) >= 1 for p in parts)
    assert sorted(path for part in parts for path in paths(part)) == sorted(
        str(p) for p in tmp_path.rglob("*.png")
    )
    (message,) = source.messages
    assert "20%" in message and "seed 4" in message and "\n" not in message
    assert (
        paths(source.test)
        == paths(open_source(tmp_path, seed=4).test)
        != paths(open_source(tmp_path, seed=5).test)
    )


def test_limit_is_stratified_and_seeded(tmp_path):
    make_split_folder(tmp_path)
    source = open_source(tmp_path, seed=0, limit=9)
    found = [counts(p) for p in (source.train, source.val, source.test)]
    assert np.add(*found[:2]).tolist() == [6, 3] and found[2] == [4, 5]
    full = open_source(tmp_path, seed=0)
    assert set(paths(source.test)) < set(paths(full.test))
    used = {path for part in (source.train, source.val, source.test) for path in paths(part)}
    assert len(used) == 18
    assert paths(source.train) == paths(open_source(tmp_path, seed=0, limit=9).train)
    assert paths(source.test) != paths(open_source(tmp_path, seed=1, limit=9).test)


def test_limit_keeps_every_class(tmp_path):
    make_folder(tmp_path, rare=5, usual=100)
    source = open_source(tmp_path, seed=0, limit=6)
    assert [counts(p) for p in (source.train, source.val, source.test)] == [[1, 1]] * 3
    with refused(ConfigError, "limit 5 is too small, 2 classes need 6 photos"):
        open_source(tmp_path, seed=0, limit=5)


def test_other_folders_beside_train_and_test_are_mentioned(tmp_path):
    make_folder(make_split_folder(tmp_path) / "more", cat=3)
    (message,) = open_source(tmp_path, seed=0).messages
    assert "more" in message and "not used" in message


def test_a_folder_called_drawings(tmp_path, monkeypatch):
    make_folder(tmp_path / "drawings", a=5, b=5)
    monkeypatch.chdir(tmp_path)
    assert open_source("./drawings", seed=0).classes == ["a", "b"]
    assert open_source("drawings", seed=0).classes == ["cat", "dog"]


def test_pets_are_downloaded_and_then_read_as_a_folder(tmp_path, monkeypatch):
    asked = []

    def download(root, progress):
        asked.append((root, progress))
        pets = root / "pets"
        return pets if pets.exists() else make_split_folder(pets)

    monkeypatch.setattr(sources, "download_pets", download)
    lines = []
    for _ in range(2):  # the second time, nothing is downloaded
        source = open_source(
            "pets", seed=0, data_root=tmp_path, limit=10, progress=None, report=lines.append
        )
        assert len(source.train) + len(source.val) == 10 and "Oxford-IIIT Pet" in source.description
    assert asked == [(tmp_path, None)] * 2
    (line,) = lines
    assert "about 800 MB" in line and line.endswith(f"to {tmp_path / 'pets'}")


def test_downloads_go_to_data_in_a_clone(tmp_path, monkeypatch):
    (tmp_path / "minialex/data").mkdir(parents=True)
    (tmp_path / "minialex/data/sources.py").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "minialex/data/sources.py"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(sources.sys, "platform", "linux")
    assert sources.download_root() == tmp_path / "caches" / "minialex"  # as installed from a wheel
    (tmp_path / "pyproject.toml").touch()
    assert sources.download_root() == tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    assert sources.download_root() == Path("data")


@pytest.mark.parametrize(("platform", "variable", "caches"), [
    ("linux", "XDG_CACHE_HOME", ".cache"), ("darwin", None, "Library/Caches"),
    ("win32", "LOCALAPPDATA", "AppData/Local"),
])  # fmt: skip
def test_downloads_else_go_to_the_folder_for_caches(
    tmp_path, monkeypatch, platform, variable, caches
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "site/minialex/data/sources.py"))
    monkeypatch.setattr(sources.sys, "platform", platform)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert sources.download_root() == tmp_path / "home" / caches / "minialex"
    (tmp_path / "data/pets").mkdir(parents=True)
    assert sources.download_root() == tmp_path / "home" / caches / "minialex"  # it is empty
    (tmp_path / "data/pets/train").mkdir()  # as earlier versions left them
    assert sources.download_root() == Path("data")
    (tmp_path / "data/pets/train").rmdir()
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "mine"))
        assert sources.download_root() == tmp_path / "mine" / "minialex"


def test_the_default_is_data_where_it_has_photos_else_drawings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (None, "data", "data/train"):
        if folder:
            (tmp_path / folder).mkdir()
        data, line = sources.default_data()
        assert data == "drawings" and line.startswith(
            "data: drawings, for want of data/train/ and "
        )
    (tmp_path / "data/test").mkdir()
    data, line = sources.default_data()
    assert data == "data" and "data/, since it has train/ and test/" in line and "--data" in line


# ---------------------------------------------------------------------------------------- bad input


def test_bad_specs(tmp_path):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "nothing").mkdir()
    with refused(DataError, "no folder 'petz'", "drawings, pets"):
        open_source("petz", seed=0)
    with refused(DataError, "no folder", "file.txt"):
        open_source(tmp_path / "file.txt", seed=0)
    with refused(DataError, "no folder ''"):
        open_source("", seed=0)
    with refused(DataError, "nothing", "no class folders"):
        open_source(tmp_path / "nothing", seed=0)


def test_classes_that_differ_are_named(tmp_path):
    make_folder(make_split_folder(tmp_path) / "test", horse=1, cow=1)
    with refused(DataError, "'cow', 'horse'", "in test but not in train"):
        open_source(tmp_path, seed=0)
    make_folder(tmp_path / "train", horse=2, cow=2, hen=2)
    before = snapshot(tmp_path)
    with refused(DataError, "'hen'", "in train but not in test"):
        open_source(tmp_path, seed=0)
    assert snapshot(tmp_path) == before


def test_a_test_folder_alone(tmp_path):
    make_folder(tmp_path / "test", cat=3, dog=3)
    make_folder(tmp_path / "more", cat=3, dog=3)
    with refused(DataError, tmp_path, "has test but no train", "test/<class>/<photo>"):
        open_source(tmp_path, seed=0)


def test_too_few_classes_or_photos(tmp_path):
    make_folder(tmp_path / "one", cat=9)
    with refused(DataError, "one class only", "'cat'"):
        open_source(tmp_path / "one", seed=0)
    make_folder(tmp_path / "few", cat=9, dog=1)
    with refused(DataError, "'dog' has 1 photos", "at least 3"):
        open_source(tmp_path / "few", seed=0)
    make_folder(tmp_path / "empty", cat=9, dog=0)
    with refused(DataError, "dog", "no images"):
        open_source(tmp_path / "empty", seed=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 0, "limit": 0}, "limit"),
        ({"seed": 0, "limit": 1}, "limit"),
        ({"seed": 0, "limit": "9"}, "limit"),
    ],
)
def test_bad_options(options, says):
    with refused(ConfigError, says):
        open_source("drawings", **options)
