"""What the archives of the pet photos may hold, such as links; and a crash."""

import shutil
import tarfile

import pytest

from bad_input import refused
from minialex.data import pets
from minialex.errors import DataError
from pets_server import IMAGES, PHOTOS, TEST, annotations, archive, check_arranged, images, photo


def link(path, target):
    member = tarfile.TarInfo(path)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def test_nothing_is_written_outside(tmp_path, server):
    evil = {
        "../evil.jpg": b"x",
        "/tmp/minialex-evil.jpg": b"x",
        "images/link.jpg": link("images/link.jpg", "/etc/passwd"),
    }
    server.files["images.tar.gz"] = images(**evil)
    server.get(tmp_path / "data")
    check_arranged(tmp_path / "data")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_crash_while_arranging_leaves_nothing_half_made(tmp_path, server, monkeypatch):
    copies = []

    def crash(source, target):
        copies.append(target)
        if len(copies) == 3:
            raise KeyboardInterrupt
        real(source, target)

    real = shutil.copyfileobj
    monkeypatch.setattr(pets.shutil, "copyfileobj", crash)
    with pytest.raises(KeyboardInterrupt):
        server.get(tmp_path)
    assert not (tmp_path / "pets").exists()
    monkeypatch.setattr(pets.shutil, "copyfileobj", real)
    server.get(tmp_path)
    check_arranged(tmp_path)
    assert len(server.requests) == 2  # the archives were kept


@pytest.mark.parametrize(
    ("trainval", "says"),
    [
        ("../../evil 1 1 1\n", "unknown form"),
        ("beagle_2 5 3 4\n", "unknown form"),
        ("beagle_2 5\n", "unknown form"),
        ("absent_1 1 1 1\n", "lacks 1 of the listed photos"),
    ],
)
def test_bad_lists(tmp_path, server, trainval, says):
    server.files["annotations.tar.gz"] = annotations(trainval)
    with refused(DataError, says):
        server.get(tmp_path / "data")
    assert not (tmp_path / "data/pets").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_listed_photo_that_is_a_link_counts_as_missing(tmp_path, server):
    files = {f"images/{name}.jpg": photo(name) for name in PHOTOS}
    files["images/beagle_3.jpg"] = link("images/beagle_3.jpg", "/etc/passwd")
    server.files["images.tar.gz"] = archive(files)
    with refused(DataError, "images/beagle_3.jpg"):
        server.get(tmp_path)


@pytest.mark.parametrize("name", ["annotations.tar.gz", "images.tar.gz"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_archives_that_are_no_archives(tmp_path, server, name, share):
    whole = server.files[name]
    server.files[name] = whole[: int(share * len(whole))] or b"<html>hello</html>"
    with refused(DataError, "pets-download", "cannot be unpacked"):
        server.get(tmp_path)
    assert not (tmp_path / "pets").exists()


def test_a_list_that_is_not_there(tmp_path, server):
    server.files["annotations.tar.gz"] = archive({"annotations/test.txt": TEST.encode()})
    with refused(DataError, "annotations/trainval.txt", "cannot be unpacked"):
        server.get(tmp_path)


def test_a_server_that_sends_another_range_is_not_trusted(tmp_path, server):
    server.cut = 2000
    with refused(DataError, "lost"):
        server.get(tmp_path)
    server.cut, server.shift = None, 7
    with refused(DataError, "another part"):
        server.get(tmp_path)
    assert (tmp_path / "pets-download/images.tar.gz.part").read_bytes() == IMAGES[:2000]
