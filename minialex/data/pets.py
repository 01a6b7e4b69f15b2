"""The Oxford-IIIT Pet photos: downloaded from their official address, arranged by species.

Parkhi, Vedaldi, Zisserman, Jawahar (2012), "Cats and Dogs", CVPR: 37 breeds of cats and dogs,
about 200 photos each.  The data set is licensed CC BY-SA 4.0; its page is
https://www.robots.ox.ac.uk/~vgg/data/pets/.
"""

import contextlib
import errno
import gzip
import hashlib
import http.client
import importlib
import os
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from minialex.errors import DataError

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
# Redirects to the host that keeps the archives, which has changed over the years.
ADDRESS = PAGE + "data/"
SIZES = {"annotations.tar.gz": 19_173_078, "images.tar.gz": 791_918_971}  # bytes
MD5 = {  # of the two archives, 19 and 792 MB, as torchvision checks them too
    "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
    "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c"}  # fmt: skip

SPECIES = {"1": "cat", "2": "dog"}  # the third column of annotations/trainval.txt and test.txt
_LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
_README = """\
The Oxford-IIIT Pet data set, https://www.robots.ox.ac.uk/~vgg/data/pets/
O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar, "Cats and Dogs", CVPR 2012.
Licence: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/.  The copyright of each
photo remains with its owner.  Rearranged here by species into train/ (the data set's trainval list)
and test/; the photos are unchanged.
"""

_CHUNK = 1 << 20  # bytes read at a time
_SLOWEST = 1000  # bytes per second: a server that sends less for so long as the timeout is no use
_AGAIN = "run the same command again to continue"

Progress = Callable[..., Any]  # tqdm, or anything that is called and used like it


def download_pets(root: str | os.PathLike[str], base_url: str = ADDRESS,
    md5: dict[str, str] | None = None, progress: Progress | None = None, timeout: float = 30.0
) -> Path:  # fmt: skip
    """Make root/pets/{train,test}/{cat,dog}/*.jpg unless it exists; returns the path of root/pets.

    About 810 MB are downloaded to root/pets-download and deleted once the photos are arranged, so
    you need up to twice that much disk for a while.  An interrupted download continues where it
    stopped; root/pets appears only when it is complete.  `md5` maps the two archive names to their
    sums, `progress` is tqdm or None to show nothing, and `timeout` is how many seconds to wait for
    the server.  Where another program is downloading them to the same place, it waits for that.

    Raises DataError where the download, a checksum or the disk fails: one line that says what to
    do.
    """
    root = Path(root)
    target, store = root / "pets", root / "pets-download"
    if has_pets(root):
        return target
    sums = MD5 if md5 is None else md5
    try:
        store.mkdir(parents=True, exist_ok=True)
        with _alone(store):
            if has_pets(root):  # by another program, which we waited for
                return target
            for name, expected in sums.items():
                if not (store / name).exists():
                    _fetch(base_url.rstrip("/") + "/" + name, store / name, progress, timeout)
                _verify(store / name, expected)
            _arrange(store, target)
        shutil.rmtree(store, ignore_errors=True)
    except OSError as error:
        # The network's errors have become DataError in `_network_errors`, so this is the disk.
        raise DataError(_disk_problem(error, root)) from None
    return target


def has_pets(root: str | os.PathLike[str]) -> bool:
    """Whether root/pets is there, and not empty."""
    return any(Path(root, "pets").glob("*"))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other program is in such a block; the system ends a lock with its program."""
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:  # Windows: two downloads at once disturb each other
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


# ----------------------------------------------------------------------------------------- download


class _StaysSafe(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from https to anything less."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, path: Path, progress: Progress | None, timeout: float) -> None:
    """Download `url` to path.part, then rename it: what fails half-way can be continued."""
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "minialex", **({"Range": f"bytes={have}-"} if have else {})}
    with _network_errors(url):
        response = _open(urllib.request.Request(url, headers=headers), timeout)
    if response is None:
        # Nothing is left after the part: it is complete, or wrong, as the checksum will tell.
        part.replace(path)
        return
    with contextlib.closing(response):
        if response.status != 206:
            have = 0  # the server sends the whole file whatever was asked for
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        most = SIZES.get(path.name, max(SIZES.values()))
        bar = progress and progress(total=total, initial=have, desc=path.name,
            unit="B", unit_scale=True, disable=None)  # fmt: skip
        try:
            with part.open("ab" if have else "wb") as file:
                have += _copy(response, file, url, bar, most - have, timeout)
        finally:
            if bar is not None:
                bar.close()
    if total is not None and have < total:
        text = f"the connection to {url} was lost after {have:,} of {total:,} bytes; {_AGAIN}"
        raise DataError(text)
    part.replace(path)


def _open(request: urllib.request.Request, timeout: float) -> Any:
    """The server's response; None for 416, "there is nothing from that byte on"."""
    try:
        response = urllib.request.build_opener(_StaysSafe).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        raise
    wanted = request.get_header("Range", "").replace("=", " ")  # "bytes 123-"
    if response.status == 206 and not response.headers.get("Content-Range", "").startswith(wanted):
        response.close()
        raise http.client.HTTPException("it sent another part of the file than was asked for")
    return response


def _copy(response: Any, file: IO[bytes], url: str, bar: Any, most: int, timeout: float) -> int:
    """Append what the server still sends to `file`, at most `most` bytes; returns their number."""
    copied, since, then = 0, time.monotonic(), 0
    while True:
        with _network_errors(url):
            chunk = response.read1(_CHUNK)
            if (now := time.monotonic()) - since > timeout:
                if chunk and copied - then < _SLOWEST * timeout:
                    raise TimeoutError
                since, then = now, copied
        copied += len(chunk)
        if copied > most:
            raise DataError(f"{url} is larger than it should be; it is another file, or a fault")
        if not chunk:
            return copied
        file.write(chunk)
        if bar is not None:
            bar.update(len(chunk))


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        put = f"put {' and '.join(MD5)} from {PAGE} into the folder pets-download beside the data"
        text = f"the server refused {url} (HTTP {error.code} {_line(error.reason)})"
        raise DataError(f"{text}; try again later, or {put}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        slow = "the server does not answer, or too slowly"
        why = slow if isinstance(reason, TimeoutError) else _line(reason)
        text = f"cannot download {url} ({why}); check the network, then {_AGAIN}"
        raise DataError(text) from None


def _verify(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        path.unlink()
        text = f"{path.name} was damaged on its way (md5 {found}, expected {expected})"
        again = "it was deleted: run the same command again to download it anew"
        raise DataError(f"{text}; {again}")


# ---------------------------------------------------------------------------------------- arranging


def _arrange(store: Path, target: Path) -> None:
    """Unpack the listed photos into a folder beside `target`, and rename it once it is complete."""
    unfinished = target.with_name(target.name + ".unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    try:
        folders = _read_lists(store / "annotations.tar.gz")
        for folder in set(folders.values()):
            (unfinished / folder).mkdir(parents=True)
        _unpack(store / "images.tar.gz", folders, unfinished)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        text = f"the archives in {str(store)!r} cannot be unpacked ({_line(error)}); delete them"
        raise DataError(text) from None
    (unfinished / "README.txt").write_text(_README, encoding="utf-8")
    if target.is_dir():
        target.rmdir()  # it is empty
    unfinished.rename(target)


def _read_lists(archive: Path) -> dict[str, str]:
    """Photo -> folder, {"images/Abyssinian_1.jpg": "train/cat", ...}, from the two lists.

    A line of a list reads "Abyssinian_1 1 1 1"; its third column is the species.
    """
    folders: dict[str, str] = {}
    with tarfile.open(archive, "r:*") as tar:
        for split, list_name in _LISTS.items():
            file = tar.extractfile(list_name) if list_name in tar.getnames() else None
            if file is None:
                text = f"{archive.name} has no {list_name}"
                raise DataError(f"{text}; it is not the archive that was expected")
            for line in file.read().decode("utf-8").splitlines():
                if not line.strip() or line.startswith("#"):
                    continue
                columns = line.split()
                if (len(columns) != 4 or columns[2] not in SPECIES
                        or not re.fullmatch(r"[\w-]+", columns[0])):  # fmt: skip
                    raise DataError(f"{list_name} has a line of an unknown form: {line[:60]!r}")
                folders[f"images/{columns[0]}.jpg"] = f"{split}/{SPECIES[columns[2]]}"
    return folders


def _unpack(archive: Path, folders: dict[str, str], root: Path) -> None:
    """Write each photo that `folders` names to its folder below `root`.

    The archive's own paths are not used, so a malicious one can lead nowhere.
    """
    missing = set(folders)
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name in missing and member.isreg() else None
            if file is not None:
                with (root / folders[member.name] / Path(member.name).name).open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                missing.remove(member.name)
    if missing:
        lack = f"lacks {len(missing)} of the listed photos, among them {min(missing)}"
        raise DataError(f"{archive.name} {lack}")


def _disk_problem(error: OSError, root: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {str(root)!r} is full; free about 1.7 GB, then {_AGAIN}"
    return f"cannot write to {str(root)!r} ({_line(error.strerror or error)})"


def _line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":")
