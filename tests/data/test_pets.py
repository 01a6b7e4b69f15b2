"""The pet photos' download, against a server on the loopback with archives of the same form."""

import io
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from bad_input import refused, snapshot
from minialex.data import ImageFolder, pets
from minialex.errors import DataError
from pets_server import (
    ANNOTATIONS,
    IMAGES,
    PHOTOS,
    archive,
    check_arranged,
    photo,
)


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


@pytest.mark.parametrize("status", [404, 403, 503])
def test_refused_by_the_server(tmp_path, server, status):
    server.status = status
    with refused(DataError, f"HTTP {status}", "annotations.tar.gz", "robots.ox.ac.uk"):
        server.get(tmp_path)


def test_timeout(tmp_path, server):
    server.silent = True
    with refused(DataError, "timed out", "again"):
        server.get(tmp_path, timeout=0.1)


def test_no_network(tmp_path, server):
    with refused(DataError, "cannot download", "check the network"):
        server.get(tmp_path, base_url="http://127.0.0.1:9/")
    with refused(DataError, "cannot download"):
        server.get(tmp_path, base_url="no address at all")


def test_disk_full_keeps_the_part(tmp_path, server):
    (tmp_path / "pets-download").mkdir()
    (tmp_path / "pets-download/images.tar.gz.part").symlink_to("/dev/full")
    with refused(DataError, "No space left", "the disk", "again"):
        server.get(tmp_path)
    assert (tmp_path / "pets-download/images.tar.gz.part").is_symlink()
    assert not (tmp_path / "pets").exists()


def test_a_root_that_is_a_file(tmp_path, server):
    (tmp_path / "data").write_text("keep me")
    with pytest.raises(OSError, match="data"):
        server.get(tmp_path / "data")
    assert (tmp_path / "data").read_text() == "keep me"


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


class Elsewhere(io.BytesIO):
    """A response of another address than was asked for."""

    url, status, length, read1 = "http://example.org/images.tar.gz", 200, None, io.BytesIO.read


def test_https_is_not_left(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **options: Elsewhere(b"secret"))
    with refused(DataError, "is not https"):
        pets.download("https://example.org/images.tar.gz", tmp_path / "x", "", most=100)
    assert not list(tmp_path.iterdir())
