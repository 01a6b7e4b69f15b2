"""The pet photos' download, against a server on the loopback with archives of the same form."""

import shutil
import tarfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from bad_input import refused, snapshot
from minialex.data import ImageFolder, download, pets
from minialex.errors import DataError
from pets_server import (
    ANNOTATIONS,
    ARRANGED,
    IMAGES,
    PHOTOS,
    TEST,
    Server,
    annotations,
    archive,
    images,
    photo,
)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.over.set()
    server.http.shutdown()
    server.http.server_close()
    server.thread.join()


def check_arranged(root):
    found = snapshot(root / "pets")
    assert b"CC BY-SA 4.0" in found.pop(type(root)("README.txt"))
    assert {p.as_posix() for p in found} == ARRANGED
    assert all(content == photo(p.stem) for p, content in found.items())
    # Archives and unfinished folders are gone.
    assert sorted(p.name for p in root.iterdir()) == ["pets"]


def test_download_arrange_and_do_nothing_the_second_time(tmp_path, server):
    assert server.get(tmp_path / "data") == tmp_path / "data" / "pets"
    check_arranged(tmp_path / "data")
    assert server.requests == [("annotations.tar.gz", None), ("images.tar.gz", None)]
    assert ImageFolder(tmp_path / "data/pets/train").labels.tolist() == [0, 1, 1]
    before = snapshot(tmp_path)
    server.get(tmp_path / "data")
    assert len(server.requests) == 2 and snapshot(tmp_path) == before


def test_a_lost_connection_is_resumed_where_it_broke(tmp_path, server):
    server.cut = 2000
    with refused(
        DataError,
        "images.tar.gz",
        "lost after 2,000",
        "again",
    ):
        server.get(tmp_path)
    part = tmp_path / "pets-download/images.tar.gz.part"
    assert part.read_bytes() == IMAGES[:2000]
    with refused(DataError, f"lost after 4,000 of {len(IMAGES):,} bytes"):
        server.get(tmp_path)
    assert part.read_bytes() == IMAGES[:4000] and not (tmp_path / "pets").exists()
    server.cut = None
    server.get(tmp_path)
    check_arranged(tmp_path)
    ranges = [asked for name, asked in server.requests if name == "images.tar.gz"]
    assert ranges == [None, "bytes=2000-", "bytes=4000-"]


def test_a_server_without_ranges_starts_over(tmp_path, server):
    server.cut, server.ranges = 2000, False
    for _ in range(2):
        with refused(DataError, "lost after 2,000"):
            server.get(tmp_path)
    server.cut = None
    server.get(tmp_path)
    check_arranged(tmp_path)
    assert server.requests[-1] == ("images.tar.gz", "bytes=2000-")


def test_a_part_that_is_complete_already(tmp_path, server):
    (tmp_path / "pets-download").mkdir()
    (tmp_path / "pets-download/images.tar.gz.part").write_bytes(IMAGES)
    server.get(tmp_path)
    check_arranged(tmp_path)


def test_archives_put_there_by_hand_need_no_network(tmp_path, server):
    (tmp_path / "pets-download").mkdir()
    for name, body in server.files.items():
        (tmp_path / "pets-download" / name).write_bytes(body)
    server.get(tmp_path)
    check_arranged(tmp_path)
    assert server.requests == []


def test_range_survives_a_redirect(tmp_path, server):
    old = server.url.replace("/pets/", "/old/")
    server.cut = 2000
    with refused(DataError, "lost"):
        server.get(tmp_path, base_url=old)
    server.cut = None
    server.get(tmp_path, base_url=old)
    check_arranged(tmp_path)
    assert server.requests[-1] == ("images.tar.gz", "bytes=2000-")


def test_an_archive_that_is_not_compressed_despite_its_name(tmp_path, server):
    photos = {f"images/{name}.jpg": photo(name) for name in PHOTOS}
    server.files["images.tar.gz"] = archive(photos, mode="w")
    server.get(tmp_path)
    check_arranged(tmp_path)


def test_progress_counts_every_byte_and_closes(tmp_path, server):
    bars = []

    class Bar:
        def __init__(self, **options):
            self.options, self.done, self.closed = options, options["initial"], False
            bars.append(self)

        def update(self, n):
            self.done += n

        def close(self):
            self.closed = True

    server.cut = 3000
    with refused(DataError, "lost"):
        server.get(tmp_path, progress=Bar)
    server.cut = None
    server.get(tmp_path, progress=Bar)
    assert [b.options["initial"] for b in bars] == [0, 0, 3000]
    assert [b.done for b in bars] == [len(ANNOTATIONS), 3000, len(IMAGES)]
    assert bars[2].options["total"] == len(IMAGES) and all(b.closed for b in bars)


# ----------------------------------------------------------------------------------------- failures


def test_a_wrong_checksum_deletes_the_file_and_says_so(tmp_path, server):
    sums = {**server.sums(), "images.tar.gz": "0" * 64}
    with refused(DataError, "images.tar.gz", "0" * 64, "deleted", "again"):
        server.get(tmp_path, sha256=sums)
    assert [p.name for p in (tmp_path / "pets-download").iterdir()] == ["annotations.tar.gz"]
    server.get(tmp_path)
    check_arranged(tmp_path)


def test_a_part_of_another_file_is_found_out(tmp_path, server):
    (tmp_path / "pets-download").mkdir()
    (tmp_path / "pets-download/images.tar.gz.part").write_bytes(b"x" * 100)
    with refused(DataError, "damaged", "deleted"):
        server.get(tmp_path)
    server.get(tmp_path)
    check_arranged(tmp_path)


def test_a_server_that_sends_another_range_is_not_trusted(tmp_path, server):
    server.cut = 2000
    with refused(DataError, "lost"):
        server.get(tmp_path)
    server.cut, server.shift = None, 7
    with refused(DataError, "another part"):
        server.get(tmp_path)
    assert (tmp_path / "pets-download/images.tar.gz.part").read_bytes() == IMAGES[:2000]


@pytest.mark.parametrize("status", [404, 403, 503])
def test_refused_by_the_server(tmp_path, server, status):
    server.status = status
    with refused(DataError, f"HTTP {status}", "annotations.tar.gz", "robots.ox.ac.uk"):
        server.get(tmp_path)


def test_timeout(tmp_path, server):
    server.silent = True
    with refused(DataError, "does not answer", "again"):
        server.get(tmp_path, timeout=0.1)


def test_no_network(tmp_path, server):
    with refused(DataError, "cannot download", "check the network"):
        server.get(tmp_path, base_url="http://127.0.0.1:9/")
    with refused(DataError, "cannot download"):
        server.get(tmp_path, base_url="no address at all")


def test_disk_full_keeps_the_part(tmp_path, server):
    (tmp_path / "pets-download").mkdir()
    (tmp_path / "pets-download/images.tar.gz.part").symlink_to("/dev/full")
    with refused(DataError, "full", "free", "again"):
        server.get(tmp_path)
    assert (tmp_path / "pets-download/images.tar.gz.part").is_symlink()
    assert not (tmp_path / "pets").exists()


def test_a_root_that_is_a_file(tmp_path, server):
    (tmp_path / "data").write_text("keep me")
    with refused(DataError, tmp_path / "data", "cannot write"):
        server.get(tmp_path / "data")
    assert (tmp_path / "data").read_text() == "keep me"


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
    with refused(DataError, "annotations/trainval.txt"):
        server.get(tmp_path)


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


def test_the_official_sums_have_the_form_of_sha256():
    assert set(pets.SHA256) == {"annotations.tar.gz", "images.tar.gz"}
    assert all(len(s) == 64 and int(s, 16) for s in pets.SHA256.values())
    assert pets.ADDRESS.startswith("https://") and pets.ADDRESS.endswith("/")


def test_an_empty_folder_is_not_the_pets(tmp_path, server):
    (tmp_path / "pets").mkdir()
    server.get(tmp_path)
    check_arranged(tmp_path)


def test_a_body_without_an_end_is_cut(tmp_path, server, monkeypatch):
    monkeypatch.setattr(pets, "SIZES", {name: 5000 for name in pets.SIZES})
    server.files["images.tar.gz"] = bytes(1_000_000)
    server.endless = True
    with refused(DataError, "images.tar.gz is larger than it should be"):
        server.get(tmp_path)
    store = tmp_path / "pets-download"
    assert sum(path.stat().st_size for path in store.iterdir()) <= 10_000


def test_a_drip_ends(tmp_path, server):
    server.drip = 0.05  # seconds for each byte
    with refused(DataError, "too slowly", "again"):
        server.get(tmp_path, timeout=0.5)
    assert (tmp_path / "pets-download/annotations.tar.gz.part").stat().st_size > 0


def test_two_at_once_both_succeed(tmp_path, server):
    server.slow = 0.3
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: server.get(tmp_path), range(3)))
    assert found == [tmp_path / "pets"] * 3
    check_arranged(tmp_path)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "to", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd"]
)
def test_https_is_not_left(to):
    request = urllib.request.Request("https://example.org/images.tar.gz")
    with pytest.raises(urllib.error.URLError, match="not https"):
        download._StaysSafe().redirect_request(request, None, 302, "", {}, to)
    assert download._StaysSafe().redirect_request(
        request, None, 302, "", {}, "https://example.org/y"
    )
