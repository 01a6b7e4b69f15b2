"""What `--data` means: the drawings, the pet photos, or a folder of one's own.

And what it means where you leave it out, and where a download goes.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minialex.data.drawings.scenes import Drawings
from minialex.data.folder import Dataset, ImageFolder, LabelledDataset, Subset, class_names, split
from minialex.data.pets import Progress, download_pets
from minialex.errors import ConfigError, DataError

# Drawings: how many, and at which number of the endless sequence each part starts.
TRAIN_DRAWINGS, VAL_DRAWINGS, TEST_DRAWINGS = 2_400, 300, 500
TRAIN_START, VAL_START, TEST_START = 0, 10_000_000, 20_000_000

VAL_SHARE = 0.1  # of the training photos
TEST_SHARE = 0.2  # of all photos, where a folder has no test photos of its own

_STREAM = 0x11A1  # keeps the draws of `_at_most` apart from those of other users of the same seed


@dataclass(frozen=True)
class Source:
    """Three datasets with the same classes, which share no image.

    description   one line: what was found and how much of it
    messages      notes for the user, one line each: decisions that were made for them
    """

    train: Dataset
    val: Dataset
    test: Dataset
    classes: list[str]
    description: str
    messages: list[str] = field(default_factory=list)


def open_source(spec: str | os.PathLike[str], *, seed: int, limit: int | None = None,
    data_root: str | os.PathLike[str] | None = None, length: int | None = None,
    progress: Progress | None = tqdm, report: Callable[[str], None] = print
) -> Source:  # fmt: skip
    """The training, validation and test images that `spec` names.

    "drawings"   synthetic images of cats and dogs, `length` of them for training (default
                 TRAIN_DRAWINGS)
    "pets"       the Oxford-IIIT Pet photos, downloaded into `data_root` the first time (default
                 `download_root()`)
    a folder     with train/<class>/ and test/<class>/, or else with <class>/, of which a seeded
                 TEST_SHARE becomes the test photos.  If your folder is itself called drawings or
                 pets, write ./drawings.

    For photos, validation is a seeded VAL_SHARE of the training photos, class by class.  `limit`
    is the most images to keep of each of the three, chosen by the seed, each class in its
    proportion.  Before a download, `report` is called with a line that says where to and how
    large; `progress`, of the download, is tqdm or None.

    Raises ConfigError for an option that cannot work, and DataError for data that is missing or of
    another form.
    """
    if type(seed) is not int or seed < 0:
        raise ConfigError(f"seed must be a whole number of 0 or more, got {seed!r}")
    if limit is not None and (type(limit) is not int or limit < 2):
        raise ConfigError(f"limit must be a whole number of at least 2, got {limit!r}")
    if spec == "drawings":
        return _drawings(seed, limit, TRAIN_DRAWINGS if length is None else length)
    if length is not None:
        raise ConfigError("length applies to the drawings only; use limit for photos")
    if spec == "pets":
        root = download_root() if data_root is None else Path(data_root)
        if not (root / "pets").is_dir():
            report(f"downloading the Oxford-IIIT Pet photos, about 800 MB, to {root / 'pets'}")
        pets = download_pets(root, progress=progress)
        return _photos(pets, "Oxford-IIIT Pet photos", seed, limit)
    folder = Path(spec)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{os.fspath(spec)!r} {what}; choose drawings, pets, or a folder of photos")
    return _photos(folder, f"photos in {str(folder)!r}", seed, limit)


def default_data() -> tuple[str, str]:
    """What to train on where nobody says: its name, and a line that says what and why.

    It is data/ where that has train and test folders, and else the drawings.
    """
    if Path("data/train").is_dir() and Path("data/test").is_dir():
        return "data", "data: photos in data/, since it has train/ and test/ (or choose --data)"
    return "drawings", "data: drawings, for want of data/train/ and data/test/ (or use --data)"


def download_root() -> Path:
    """Where downloads go: data/ in a clone of this project, else the user's folder for caches.

    The clone is the current folder, or the one that minialex is imported from.  Photos that are in
    data/ here already stay in use.
    """
    if Path("data/pets").is_dir():
        return Path("data")
    for clone in (Path(), Path(__file__).parents[2]):
        if (clone / "pyproject.toml").is_file() and (clone / "minialex/data/sources.py").is_file():
            return clone / "data"
    if sys.platform == "win32":
        caches = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local"
    elif sys.platform == "darwin":
        caches = Path.home() / "Library/Caches"
    else:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "minialex"


def _drawings(seed: int, limit: int | None, length: int) -> Source:
    if type(length) is not int or not 2 <= length <= VAL_START:
        raise ConfigError(f"length must be a whole number from 2 to {VAL_START:,}, got {length!r}")
    # Cats and dogs alternate, so the first few are as balanced as all of them.
    lengths = (length, VAL_DRAWINGS, TEST_DRAWINGS)
    starts = (TRAIN_START, VAL_START, TEST_START)
    most = limit or length + VAL_DRAWINGS + TEST_DRAWINGS
    train, val, test = (Drawings(min(n, most), seed=seed, start=at)
        for n, at in zip(lengths, starts, strict=True))  # fmt: skip
    text = _describe(f"drawings (seed {seed})", train, val, test)
    return Source(train, val, test, train.classes, text)


def _photos(folder: Path, what: str, seed: int, limit: int | None) -> Source:
    messages: list[str] = []
    train: LabelledDataset
    test: LabelledDataset
    has_train, has_test = (folder / "train").is_dir(), (folder / "test").is_dir()
    if has_train and has_test:
        train, test = ImageFolder(folder / "train"), ImageFolder(folder / "test")
        _same_classes(folder, train.classes, test.classes)
        others = [name for name in class_names(folder) if name not in ("train", "test")]
        if others:
            unused = f"{', '.join(others)} in {str(folder)!r}"
            messages.append(f"not used: {unused}, beside train and test")
    elif has_train or has_test:
        found, missing = ("train", "test") if has_train else ("test", "train")
        remedy = f"add {missing}/<class>/, or give {str(folder / found)!r} to split its photos"
        raise DataError(f"{str(folder)!r} has a folder {found} but no {missing}; {remedy}")
    else:
        train, test = split(ImageFolder(folder), TEST_SHARE, seed)
        how = f"a random {TEST_SHARE:.0%} of each class (seed {seed}) became the test photos"
        messages.append(f"{str(folder)!r} has no train and test folders: {how}")
    if len(train.classes) < 2:
        only = f"photos of one class only, {train.classes[0]!r}"
        raise DataError(f"{str(folder)!r} has {only}; add a second class")
    train, val = (_at_most(limit, part, seed) for part in split(train, VAL_SHARE, seed))
    test = _at_most(limit, test, seed)
    return Source(train, val, test, train.classes, _describe(what, train, val, test), messages)


def _same_classes(folder: Path, train: list[str], test: list[str]) -> None:
    for name, other, has, lacks in (("train", "test", train, test), ("test", "train", test, train)):
        extra = [c for c in has if c not in lacks]
        if extra:
            text = f"class {', '.join(map(repr, extra))} is in {name} but not in {other}"
            raise DataError(f"{str(folder)!r}: {text}; both need the same class folders")


def _at_most(limit: int | None, dataset: LabelledDataset, seed: int) -> LabelledDataset:
    """`limit` samples, every class in its proportion, and one of each before any class has two."""
    if limit is None or len(dataset) <= limit:
        return dataset
    # A shuffled class of n takes its turns at 0, 1/n, 2/n, ...; the earliest turns are kept.
    turn = np.empty(len(dataset), dtype=np.float64)
    for label in range(len(dataset.classes)):
        members = np.flatnonzero(dataset.labels == label)
        rng = np.random.default_rng([seed, label, _STREAM])
        turn[members] = rng.permutation(len(members)) / len(members)
    chosen = np.argsort(turn, kind="stable")[:limit]
    return Subset(dataset, np.sort(chosen))


def _describe(what: str, train: Dataset, val: Dataset, test: Dataset) -> str:
    counts = f"{len(train):,} for training, {len(val):,} for validation, {len(test):,} for testing"
    return f"{what}: {counts}; classes: {', '.join(train.classes)}"
