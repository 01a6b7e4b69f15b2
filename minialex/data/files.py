"""Which files are photos: the same for training, test and prediction.

Folders hold other things as well.  What is left out is counted by kind, so that it can be said.
"""

import contextlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from minialex.data.image import PhotoError, fingerprint
from minialex.errors import DataError

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "avif", "gif", "bmp", "dib"),
        *("tif", "tiff", "ppm", "pgm", "pbm", "pnm", "tga", "jp2", "mpo"),
    )
)
# Photos of cameras and phones that Pillow alone does not read.
OTHER_PHOTOS = frozenset({".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".psd"})
# Folders that other programs leave: thumbnails of network drives, macOS's half of archives, bins.
JUNK = frozenset({"@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "lost+found"})

SOME = 64  # photos that are looked at between two moves of the bar
THREADS = 8  # that look at files: most of their time they wait for the disk


def plain_name(path: str | os.PathLike[str]) -> str:
    """A relative path as every system writes it: with "/", and letters in one form (NFC)."""
    return unicodedata.normalize("NFC", Path(path).as_posix())


def folders_in(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the folders right below `folder`, sorted, without those that hold no data.

    Raises DataError where it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir() and not _is_junk(e.name)]
    except OSError as error:
        raise _cannot_list(error) from None
    return sorted(names, key=plain_name)


def photos_below(
    folder: str | os.PathLike[str], left_out: Counter[str] | None = None, deep: bool = True
) -> list[str]:
    """The paths of the photos in `folder`, and if `deep` in those below it, sorted by plain names.

    What is no photo is counted in `left_out`.  Raises DataError where a folder cannot be listed.
    """
    found: list[str] = []
    left_out = Counter() if left_out is None else left_out
    for parent, names in _walk(folder, left_out) if deep else _top(folder):
        for name in names:
            path = os.path.join(parent, name)
            if kind := _kind(path, name):
                left_out[kind] += kind != "-"
            else:
                found.append(path)
    return sorted(found, key=plain_name)


def has_photos(folder: str | os.PathLike[str]) -> bool:
    """Whether there is a photo in `folder` or below it."""
    files = ((parent, name) for parent, names in _walk(folder, Counter()) for name in names)
    return any(not _kind(os.path.join(parent, name), name) for parent, name in files)


def left_out_line(left_out: Counter[str]) -> str:
    """What was left out, by kind, in one line; "" for nothing."""
    kinds = [f"{count:,} {kind}" for kind, count in sorted(left_out.items()) if count]
    hint = ""
    if any(kind in OTHER_PHOTOS for kind in left_out):
        hint = "; make JPEGs of HEIC photos, for example with pillow-heif"
    return f"left out: {', '.join(kinds)}{hint}" if kinds else ""


def look_at(paths: Iterable[str], screen: Any = None) -> dict[str, str | PhotoError]:
    """The `fingerprint` of each photo, or what is wrong with it; `screen` shows a bar."""

    def look(path: str) -> str | PhotoError:
        try:
            return fingerprint(path)
        except PhotoError as error:
            return error

    paths = list(paths)
    found: dict[str, str | PhotoError] = {}
    with (
        ThreadPoolExecutor(THREADS, thread_name_prefix="minialex-look") as pool,
        screen.bar("looking at photos", len(paths)) if screen else contextlib.nullcontext() as bar,
    ):
        for start in range(0, len(paths), SOME):
            some = paths[start : start + SOME]
            try:
                results: Iterable[str | PhotoError] = pool.map(look, some)
            except RuntimeError:  # no thread can be started
                results = map(look, some)
            found.update(zip(some, results, strict=True))
            if bar:
                bar.update(len(some))
    return found


def _kind(path: str, name: str) -> str:
    """Of what kind a file is that is left out; "-" for one not worth a word, "" for a photo."""
    ending = os.path.splitext(name)[1].lower()
    if name.startswith("."):
        return "hidden" if ending in EXTENSIONS else "-"
    if os.path.islink(path) and not os.path.exists(path):
        return "dead links"
    return "" if ending in EXTENSIONS else ending or "without an ending"


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _top(folder: str | os.PathLike[str]) -> Iterator[tuple[str, list[str]]]:
    try:
        with os.scandir(folder) as entries:
            yield os.fspath(folder), [e.name for e in entries if not e.is_dir()]
    except OSError as error:
        raise _cannot_list(error) from None


def _walk(
    folder: str | os.PathLike[str], left_out: Counter[str]
) -> Iterator[tuple[str, list[str]]]:
    def refuse(error: OSError) -> None:
        raise _cannot_list(error) from None

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        if os.path.realpath(parent) in seen:  # a link that leads back up would go round for ever
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        for name in folders:
            if name.lower() in JUNK:
                inside = (len(names) for *_, names in os.walk(os.path.join(parent, name)))
                left_out[f"in {name}"] += sum(inside)
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        yield parent, files


def _cannot_list(error: OSError) -> DataError:
    return DataError(f"cannot list folder {error.filename!r}: {error.strerror}")
