"""ImageFolder, Subset and split."""

import numpy as np
from PIL import Image

from bad_input import refused
from minialex.data import ImageFolder, Subset, split
from minialex.errors import ConfigError, DataError


def make_folder(root, **counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (4, 3), (k, 0, 0)).save(root / name / f"{k:03}.png")
    return root


def test_folder_sorts_classes_and_samples_and_skips_the_rest(tmp_path):
    make_folder(tmp_path, dog=2, cat=1, Bird=1)
    (tmp_path / "cat" / "more" / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 3), (255, 0, 0)).save(tmp_path / "cat" / "more" / "deep" / "a.JPG")
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / ".cache").mkdir()
    (tmp_path / "cat" / ".cache" / "b.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / "readme.png").write_bytes(b"")

    folder = ImageFolder(tmp_path)
    assert folder.classes == ["Bird", "cat", "dog"]
    names = ["Bird/000.png", "cat/000.png", "cat/more/deep/a.JPG", "dog/000.png", "dog/001.png"]
    assert folder.samples == [
        (str(tmp_path / n), label) for n, label in zip(names, [0, 1, 1, 2, 2], strict=True)
    ]
    assert folder.labels.dtype == np.int64 and folder.labels.tolist() == [0, 1, 1, 2, 2]
    image, label = folder[4]
    assert (len(folder), label, image.getpixel((0, 0))) == (5, 2, (1, 0, 0))


def test_folder_survives_a_link_that_leads_back_up(tmp_path):
    make_folder(tmp_path, cat=2)
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat", target_is_directory=True)
    assert len(ImageFolder(tmp_path)) == 2


def test_folder_follows_linked_folders_and_leaves_out_dead_links(tmp_path):
    make_folder(tmp_path / "elsewhere", x=1)
    make_folder(tmp_path / "data", cat=1)
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere" / "x", target_is_directory=True)
    (tmp_path / "data" / "dog").joinpath("dead.png").symlink_to(tmp_path / "gone.png")
    folder = ImageFolder(tmp_path / "data")
    assert folder.labels.tolist() == [0, 1] and folder.left_out == {"dead links": 1}


def test_bad_folders(tmp_path):
    make_folder(tmp_path / "one", cat=1, empty=0)
    make_folder(tmp_path / "good", cat=1)
    (tmp_path / "none").mkdir()
    (tmp_path / "file").write_text("x")
    with refused(DataError, "nowhere", "no folder"):
        ImageFolder(tmp_path / "nowhere")
    with refused(DataError, "file", "is a file"):
        ImageFolder(tmp_path / "file")
    with refused(DataError, "none", "no class folders"):
        ImageFolder(tmp_path / "none")
    with refused(DataError, tmp_path / "one" / "empty", "no images"):
        ImageFolder(tmp_path / "one")
    for side in (0, -1, 2.5, "256"):
        with refused(ConfigError, "shorter_side"):
            ImageFolder(tmp_path / "good", side)


def test_split_is_stratified_seeded_and_complete(tmp_path):
    folder = ImageFolder(make_folder(tmp_path, a=30, b=10, c=2))
    rest, part = split(folder, 0.1, seed=3)
    assert np.bincount(part.labels).tolist() == [2, 1, 1]
    assert sorted([*rest.indices, *part.indices]) == list(range(42))
    assert rest.classes == part.classes == ["a", "b", "c"]
    assert part[0][1] == 0 and part[3][1] == 2
    assert part.names == [folder.names[i] for i in part.indices]
    again, other = split(folder, 0.1, seed=3)[1], split(folder, 0.1, seed=4)[1]
    assert part.indices.tolist() == again.indices.tolist() != other.indices.tolist()


def test_split_leaves_one_of_each_class_on_both_sides(tmp_path):
    folder = ImageFolder(make_folder(tmp_path, a=2, b=3))
    for fraction in (0.001, 0.999):
        rest, part = split(folder, fraction, seed=0)
        assert set(rest.labels) == set(part.labels) == {0, 1}


def test_bad_splits(tmp_path):
    folder = ImageFolder(make_folder(tmp_path, a=5, lonely=1))
    with refused(DataError, "lonely", "at least 2"):
        split(folder, 0.5, seed=0)
    for fraction in (0, 1, -0.5, 2):
        with refused(ConfigError, fraction):
            split(folder, fraction, seed=0)


def test_subset_of_a_list():
    pairs = [(np.zeros(2), k) for k in range(5)]
    part = Subset(pairs, [4, 1])
    assert len(part) == 2 and [label for _, label in part] == [4, 1]
    assert not hasattr(part, "classes") and not hasattr(part, "labels")


def test_reprs(tmp_path):
    folder = ImageFolder(make_folder(tmp_path, a=2, b=1))
    text = f"ImageFolder({str(tmp_path)!r}, shorter_side=None): 3 images of 2 classes"
    assert repr(folder) == text
    assert repr(Subset(folder, [0, 1])) == f"Subset of 2 samples of {text}"


def test_subset_of_a_subset(tmp_path):
    folder = ImageFolder(make_folder(tmp_path, a=3, b=3))
    inner = Subset(Subset(folder, [5, 4, 0]), [2, 0])
    assert inner.labels.tolist() == [0, 1] and [inner[k][1] for k in range(2)] == [0, 1]
    assert inner[1][0].getpixel((0, 0)) == (2, 0, 0)
