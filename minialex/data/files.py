"""Which files are photos: the same for training, test and prediction.

Folders hold other things as well.  What is left out is counted by kind, so that it can be said.
"""

import contextlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

from minialex.data.ahead import ahead
from minialex.data.image import AnyPath, PhotoError, fingerprint
from minialex.errors import DataError

EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".mpo",
})  # fmt: skip
# Photos of cameras and phones that Pillow alone does not read.
OTHER_PHOTOS = frozenset({".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw"})
# Folders that other programs leave: thumbnails of network drives, macOS's half of archives, bins.
JUNK = frozenset({"@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "lost+found"})

THREADS = 8  # that look at files: most of their time they wait for the disk


def plain_name(path: AnyPath) -> str:
    """A relative path as every system writes it: with "/", and letters in one form (NFC)."""
    return unicodedata.normalize("NFC", Path(path).as_posix())


def listing(folder: AnyPath, left_out: Counter[str] | None = None) -> tuple[list[str], list[str]]:
    """The names of the folders and of the photos right in `folder`, sorted by plain names.

    What is neither is counted in `left_out`, and folders that hold no data are left out.  Raises
    DataError where the folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot list folder {error.filename!r}: {error.strerror}") from None

    _, folders, files = next(os.walk(folder, onerror=refuse))
    left_out, photos = Counter() if left_out is None else left_out, []
    for name in files:
        ending = os.path.splitext(name)[1].lower()
        path = os.path.join(folder, name)
        if os.path.islink(path) and not os.path.exists(path):
            left_out["dead links"] += 1
        elif ending in EXTENSIONS and not name.startswith("."):
            photos.append(name)
        else:
            left_out["hidden" if name.startswith(".") else ending or "without an ending"] += 1
    for name in folders:
        if name.lower() in JUNK:
            left_out[f"in {name}"] += sum(len(found[2]) for found in os.walk(f"{folder}/{name}"))
    folders = [name for name in folders if name.lower() not in JUNK and name[0] != "."]
    return sorted(folders, key=plain_name), sorted(photos, key=plain_name)


def photos_below(folder: AnyPath, left_out: Counter[str] | None = None) -> list[str]:
    """The paths of the photos in `folder` and below it, sorted by plain names; see `listing`."""
    return sorted(_photos(folder, left_out), key=plain_name)


def has_photos(folder: AnyPath) -> bool:
    """Whether there is a photo in `folder` or below it."""
    return any(_photos(folder))


def left_out_line(left_out: Counter[str]) -> str:
    """What was left out, by kind, in one line; "" for nothing."""
    kinds = {kind: f"{count:,} {kind}" for kind, count in sorted(left_out.items()) if count}
    hint = "; make JPEGs of HEIC photos, for example with pillow-heif"
    hint *= not OTHER_PHOTOS.isdisjoint(kinds)
    return f"left out: {', '.join(kinds.values())}{hint}" if kinds else ""


def look_at(paths: Iterable[str], screen: Any, decode: bool = False) -> dict[str, str | PhotoError]:
    """The `fingerprint` of each photo, or what is wrong with it; `screen` shows a bar."""

    def look(path: str) -> str | PhotoError:
        try:
            return fingerprint(path, decode)
        except PhotoError as error:
            error.__context__ = None  # it and the traceback would keep the image in memory
            return error.with_traceback(None)

    paths, found = list(paths), dict[str, str | PhotoError]()
    looks = ahead(look, paths, THREADS, 4 * THREADS, "look", Event())
    with contextlib.closing(looks), screen.bar("looking at photos", len(paths)) as bar:
        for path, seen in zip(paths, looks, strict=True):
            found[path] = seen
            bar.update(1)
    return found


def _photos(folder: AnyPath, left_out: Counter[str] | None = None) -> Iterator[str]:
    waiting, seen = [os.fspath(folder)], set[str]()
    while waiting:
        parent = waiting.pop()
        if (real := os.path.realpath(parent)) not in seen:  # a link up would go round for ever
            folders, photos = listing(parent, left_out)
            yield from (os.path.join(parent, name) for name in photos)
            waiting += [os.path.join(parent, name) for name in reversed(folders)]
            seen.add(real)
