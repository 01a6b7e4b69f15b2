"""The Oxford-IIIT Pet photos: downloaded from their official address, arranged by species.

Parkhi, Vedaldi, Zisserman, Jawahar (2012), "Cats and Dogs", CVPR: 37 breeds of cats and dogs,
about 200 photos each.  The data set is licensed CC BY-SA 4.0; its page is
https://www.robots.ox.ac.uk/~vgg/data/pets/.  The copyright of each photo remains with its owner.
The photos are unchanged; train/ has those of the data set's trainval list.

A download that fails half-way continues where it stopped.  Whatever a server sends, the checksum
finds what is not that file, and nothing is used unverified.
"""

import contextlib
import gzip
import hashlib
import http.client
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minialex.data.image import AnyPath
from minialex.errors import DataError
from minialex.files import locked, reason

Progress = Callable[..., Any]  # tqdm, or anything that is called and used like it

_CHUNK = 1 << 20  # bytes read at a time
_SLOWEST = 1000  # bytes per second: a server that sends less for so long as the timeout is no use
_AGAIN = "run the same command again to continue"

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
# Redirects to the host that keeps the archives, which has changed over the years.
ADDRESS = PAGE + "data/"
SIZES = {"annotations.tar.gz": 19_173_078, "images.tar.gz": 791_918_971}  # bytes
SHA256 = {
    "annotations.tar.gz": "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
    "images.tar.gz": "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
}
BY_HAND = f"put {' and '.join(SHA256)} from {PAGE} into the folder pets-download beside the data"

BROKEN = gzip.BadGzipFile, EOFError, KeyError, ValueError  # what else a damaged archive raises
SPECIES = {"1": "cat", "2": "dog"}
_LINE = re.compile(r"([\w-]+)\s+\S+\s+([12])\s+\S+")  # "Abyssinian_1 1 1 1": third, the species
_LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}


def download_pets(root: AnyPath, base_url: str = ADDRESS,
    sha256: dict[str, str] | None = None, progress: Progress | None = None, timeout: float = 30.0
) -> Path:  # fmt: skip
    """Make root/pets/{train,test}/{cat,dog}/*.jpg unless it exists; returns the path of root/pets.

    About 810 MB are downloaded to root/pets-download and deleted once the photos are arranged, so
    you need up to twice that much disk for a while.  An interrupted download continues where it
    stopped; root/pets appears only when it is complete.  `sha256` maps the two archive names to
    their sums; `progress` and `timeout` are those of `download`.  Where another program is
    downloading them to the same place, it waits for that.

    Raises DataError where the download or a checksum fails, OSError where the disk does.
    """
    target, store = Path(root, "pets"), Path(root, "pets-download")
    if has_pets(root):
        return target
    store.mkdir(parents=True, exist_ok=True)
    with locked(store, wait=True):
        if has_pets(root):  # by another program, which we waited for
            return target
        for name, expected in (sha256 or SHA256).items():
            url = base_url.rstrip("/") + "/" + name
            download(url, store / name, expected, SIZES[name], progress, timeout,
                f"try again later, or {BY_HAND}")  # fmt: skip
        _arrange(store, target)
    shutil.rmtree(store, ignore_errors=True)
    return target


def has_pets(root: AnyPath) -> bool:
    """Whether root/pets is there, and not empty."""
    return any(Path(root, "pets").glob("*"))


def _arrange(store: Path, target: Path) -> None:
    """Unpack the listed photos into a folder beside `target`, and rename it once it is complete.

    The archive's own paths are not used, so a malicious one can lead nowhere.
    """
    unfinished = target.with_name(target.name + ".unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    try:
        folders = _read_lists(store / "annotations.tar.gz")
        with tarfile.open(store / "images.tar.gz") as tar:
            for member in filter(tarfile.TarInfo.isreg, tar):
                if folder := folders.pop(member.name, None):
                    (unfinished / folder).mkdir(parents=True, exist_ok=True)
                    content: Any = tar.extractfile(member)
                    with (unfinished / folder / Path(member.name).name).open("wb") as copy:
                        shutil.copyfileobj(content, copy)
    except (tarfile.TarError, zlib.error, *BROKEN) as error:
        text = f"the archives in {str(store)!r} cannot be unpacked ({reason(error)}); delete them"
        raise DataError(text) from None
    if folders:
        lack = f"lacks {len(folders)} of the listed photos, among them {min(folders)}"
        raise DataError(f"images.tar.gz {lack}")
    (unfinished / "README.txt").write_text(__doc__ or "", encoding="utf-8")
    if target.is_dir():
        target.rmdir()  # it is empty
    unfinished.rename(target)


def _read_lists(archive: Path) -> dict[str, str]:
    """Photo -> folder, {"images/Abyssinian_1.jpg": "train/cat", ...}, from the two lists."""
    folders: dict[str, str] = {}
    with tarfile.open(archive) as tar:
        for part, name in _LISTS.items():
            content: Any = tar.extractfile(name)
            for line in content.read().decode().splitlines():
                if match := _LINE.fullmatch(line.strip()):
                    folders[f"images/{match[1]}.jpg"] = f"{part}/{SPECIES[match[2]]}"
                elif line.strip() and not line.startswith("#"):
                    raise DataError(f"{name} has a line of an unknown form: {line[:60]!r}")
    return folders


# ------------------------------------------------------------------------------------- downloads


def download(url: str, path: Path, sha256: str, most: int, progress: Progress | None = None,
    timeout: float = 30.0, else_do: str = "try again later") -> None:  # fmt: skip
    """Download `url` to `path`, unless it is there; either way its SHA-256 must be right.

    `sha256` may be its first digits alone, where a file's name has them.
    The bytes go to path.part, which becomes `path` once it is whole.  `most` is how many they can
    be, `progress` is tqdm or None to show nothing, `timeout` is how many seconds to wait for the
    server, and `else_do` what to do where it refuses.

    Raises DataError where the network, the disk or the checksum fails.
    """
    part = path if path.exists() else path.with_name(path.name + ".part")
    if part is not path:
        try:
            _fetch(url, part, most, progress, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416:  # nothing is left to send: the part is whole, or a wrong one
                text = f"the server refused {url} (HTTP {error.code} {error.reason}); {else_do}"
                raise DataError(text) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            text = f"cannot download {url} to {str(part)!r} ({reason(error)})"
            raise DataError(f"{text}; check the network and the disk, then {_AGAIN}") from None
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        part.unlink()
        text = f"{path.name} was damaged on its way (sha256 {found}, expected {sha256})"
        again = "it was deleted: run the same command again to download it anew"
        raise DataError(f"{text}; {again}")
    part.replace(path)


def _fetch(url: str, part: Path, most: int, progress: Progress | None, timeout: float) -> None:
    """Append to `part` what it lacks: no more than `most` bytes in all, and none too slowly."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "minialex"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise ValueError(f"it redirects to {response.url}, which is not https")
        sent = response.headers.get("Content-Range", "")
        if response.status == 206 and not sent.startswith(f"bytes {have}-"):
            raise ValueError("it sent another part of the file than was asked for")
        have *= response.status == 206  # else it sends the whole file whatever was asked for
        total = None if response.length is None else have + response.length
        bar = (progress or tqdm)(total=total, initial=have, desc=part.stem, unit="B",
            unit_scale=True, disable=None if progress else True)  # fmt: skip
        since, had = time.monotonic(), have
        with contextlib.closing(bar), part.open("ab" if have else "wb") as file:
            while chunk := response.read1(_CHUNK):
                have += len(chunk)
                if have > most:
                    raise DataError(f"{url} is larger than it should be; it is another file")
                if (now := time.monotonic()) - since > timeout:
                    if have - had < _SLOWEST * timeout:
                        raise TimeoutError("the server sends too slowly")
                    since, had = now, have
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and have < total:
        raise DataError(f"{url}: connection lost after {have:,} of {total:,} bytes; {_AGAIN}")
