"""The Oxford-IIIT Pet photos: downloaded from their official address, arranged by species.

Parkhi, Vedaldi, Zisserman, Jawahar (2012), "Cats and Dogs", CVPR: 37 breeds of cats and dogs,
about 200 photos each.  The data set is licensed CC BY-SA 4.0; its page is
https://www.robots.ox.ac.uk/~vgg/data/pets/.
"""

import gzip
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO, cast

from minialex.data.download import Progress, alone_in, download, one_line
from minialex.data.image import AnyPath
from minialex.errors import DataError

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
# Redirects to the host that keeps the archives, which has changed over the years.
ADDRESS = PAGE + "data/"
SIZES = {"annotations.tar.gz": 19_173_078, "images.tar.gz": 791_918_971}  # bytes
SHA256 = {
    "annotations.tar.gz": "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
    "images.tar.gz": "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
}
BY_HAND = f"put {' and '.join(SIZES)} from {PAGE} into the folder pets-download beside the data"

SPECIES = {"1": "cat", "2": "dog"}
_LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
_LINE = re.compile(r"([\w-]+)\s+\S+\s+([12])\s+\S+")  # "Abyssinian_1 1 1 1": third, the species
_README = """\
The Oxford-IIIT Pet data set, https://www.robots.ox.ac.uk/~vgg/data/pets/
O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar, "Cats and Dogs", CVPR 2012.
Licence: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/.  The copyright of each
photo remains with its owner.  Rearranged here by species into train/ (the data set's trainval list)
and test/; the photos are unchanged.
"""


def download_pets(root: AnyPath, base_url: str = ADDRESS,
    sha256: dict[str, str] | None = None, progress: Progress | None = None, timeout: float = 30.0
) -> Path:  # fmt: skip
    """Make root/pets/{train,test}/{cat,dog}/*.jpg unless it exists; returns the path of root/pets.

    About 810 MB are downloaded to root/pets-download and deleted once the photos are arranged, so
    you need up to twice that much disk for a while.  An interrupted download continues where it
    stopped; root/pets appears only when it is complete.  `sha256` maps the two archive names to
    their sums; `progress` and `timeout` are those of `download`.  Where another program is
    downloading them to the same place, it waits for that.

    Raises DataError where the download, a checksum or the disk fails: one line that says what to
    do.
    """
    target, store = Path(root, "pets"), Path(root, "pets-download")
    if has_pets(root):
        return target
    with alone_in(store, "about 1.7 GB"):
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
        text = f"the archives in {str(store)!r} cannot be unpacked ({one_line(error)}); delete them"
        raise DataError(text) from None
    (unfinished / "README.txt").write_text(_README, encoding="utf-8")
    if target.is_dir():
        target.rmdir()  # it is empty
    unfinished.rename(target)


def _read_lists(archive: Path) -> dict[str, str]:
    """Photo -> folder, {"images/Abyssinian_1.jpg": "train/cat", ...}, from the two lists."""
    folders: dict[str, str] = {}
    with tarfile.open(archive) as tar:
        for part, name in _LISTS.items():
            if name not in tar.getnames():
                text = f"{archive.name} has no {name}; it is not the archive that was expected"
                raise DataError(text)
            text = cast(IO[bytes], tar.extractfile(name)).read().decode("utf-8")
            for line in filter(None, map(str.strip, text.splitlines())):
                if match := _LINE.fullmatch(line):
                    folders[f"images/{match[1]}.jpg"] = f"{part}/{SPECIES[match[2]]}"
                elif not line.startswith("#"):
                    raise DataError(f"{name} has a line of an unknown form: {line[:60]!r}")
    return folders


def _unpack(archive: Path, folders: dict[str, str], root: Path) -> None:
    """Write each photo that `folders` names to its folder below `root`.

    The archive's own paths are not used, so a malicious one can lead nowhere.
    """
    missing = set(folders)
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name in missing and member.isreg() else None
            if file is not None:
                with (root / folders[member.name] / Path(member.name).name).open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                missing.remove(member.name)
    if missing:
        lack = f"lacks {len(missing)} of the listed photos, among them {min(missing)}"
        raise DataError(f"{archive.name} {lack}")
