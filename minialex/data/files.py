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

EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".mpo",
})  # fmt: skip
# Photos of cameras and phones that Pillow alone does not read.
OTHER_PHOTOS = frozenset({".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw"})
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
    _, folders, _ = next(_walk(folder))
    return sorted((name for name in folders if not _is_junk(name)), key=plain_name)


def photos_below(
    folder: str | os.PathLike[str], left_out: Counter[str] | None = None, deep: bool = True
) -> list[str]:
    """The paths of the photos in `folder`, and if `deep` in those below it, sorted by plain names.

    What is no photo is counted in `left_out`.  Raises DataError where a folder cannot be listed.
    """
    return sorted(
        _photos(folder, Counter() if left_out is None else left_out, deep), key=plain_name
    )


def has_photos(folder: str | os.PathLike[str]) -> bool:
    """Whether there is a photo in `folder` or below it."""
    return next(_photos(folder, Counter()), None) is not None


def left_out_line(left_out: Counter[str]) -> str:
    """What was left out, by kind, in one line; "" for nothing."""
    kinds = {kind: f"{count:,} {kind}" for kind, count in sorted(left_out.items()) if count}
    hint = "; make JPEGs of HEIC photos, for example with pillow-heif"
    hint *= not OTHER_PHOTOS.isdisjoint(kinds)
    return f"left out: {', '.join(kinds.values())}{hint}" if kinds else ""


def look_at(
    paths: Iterable[str], screen: Any = None, decode: bool = False
) -> dict[str, str | PhotoError]:
    """The `fingerprint` of each photo, or what is wrong with it; `screen` shows a bar."""

    def look(path: str) -> str | PhotoError:
        try:
            return fingerprint(path, decode)
        except PhotoError as error:
            error.__context__ = None  # it and the traceback would keep the image in memory
            return error.with_traceback(None)

    paths, found = list(paths), dict[str, str | PhotoError]()
    with (
        ThreadPoolExecutor(THREADS, thread_name_prefix="minialex-look") as pool,
        screen.bar("looking at photos", len(paths)) if screen else contextlib.nullcontext() as bar,
    ):
        for start in range(0, len(paths), SOME):
            some = paths[start : start + SOME]
            try:
                found.update(zip(some, pool.map(look, some), strict=True))
            except RuntimeError:  # no thread can be started
                found.update((path, look(path)) for path in some)
            if bar:
                bar.update(len(some))
    return found


def _photos(
    folder: str | os.PathLike[str], left_out: Counter[str], deep: bool = True
) -> Iterator[str]:
    seen: set[str] = set()
    for parent, folders, files in _walk(folder):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back up would go round for ever
            folders.clear()
            continue
        seen.add(real)
        for name in folders if deep else ():
            if name.lower() in JUNK:
                inside = os.walk(os.path.join(parent, name))
                left_out[f"in {name}"] += sum(len(names) for *_, names in inside)
        folders[:] = sorted(name for name in folders if deep and not _is_junk(name))
        for name in files:
            path, ending = os.path.join(parent, name), os.path.splitext(name)[1].lower()
            if name.startswith("."):
                left_out["hidden"] += ending in EXTENSIONS
            elif os.path.islink(path) and not os.path.exists(path):
                left_out["dead links"] += 1
            elif ending in EXTENSIONS:
                yield path
            else:
                left_out[ending or "without an ending"] += 1


def _walk(folder: str | os.PathLike[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    def refuse(error: OSError) -> None:
        raise DataError(f"cannot list folder {error.filename!r}: {error.strerror}") from None

    return os.walk(folder, followlinks=True, onerror=refuse)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK
