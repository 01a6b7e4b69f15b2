"""What the archives of the pet photos may hold, such as links; and a crash."""

import shutil
import tarfile

import pytest

from minialex.data import pets
from pets_server import check_arranged, images


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
