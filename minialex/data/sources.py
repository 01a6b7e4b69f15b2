"""What `--data` means: the drawings, the pet photos, or a folder of one's own.

And what it means where you leave it out, and where a download goes.
"""

import itertools
import os
import sys
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minialex.data.checks import check, check_whole
from minialex.data.download import Progress
from minialex.data.drawings.scenes import Drawings
from minialex.data.folder import Dataset, at_most, split, without
from minialex.data.image import AnyPath
from minialex.data.layout import find_parts
from minialex.data.pets import download_pets, has_pets
from minialex.errors import ConfigError, DataError

# Drawings: how many, and at which number of the endless sequence each part starts.
TRAIN_DRAWINGS, VAL_DRAWINGS, TEST_DRAWINGS = 2_400, 300, 500
TRAIN_START, VAL_START, TEST_START = 0, 10_000_000, 20_000_000

VAL_SHARE = 0.1  # of the training photos
TEST_SHARE = 0.2  # of all photos, where a folder has no test photos of its own
SHARES = {"test": TEST_SHARE, "val": VAL_SHARE}


@dataclass(frozen=True)
class Source:
    """Three datasets with the same classes, which share no image.

    description   one line: what was found and how much of it
    messages      notes for the user, one line each: decisions that were made for them
    folder        where the photos are; None for drawings
    unused        the files of photos beyond the limit
    """

    train: Dataset
    val: Dataset
    test: Dataset
    classes: list[str]
    description: str
    messages: list[str] = field(default_factory=list)
    folder: Path | None = None
    unused: set[str] = field(default_factory=set)


def open_source(spec: AnyPath, *, seed: int, limit: int | None = None,
    data_root: AnyPath | None = None, length: int | None = None,
    progress: Progress | None = tqdm, report: Callable[[str], None] = print,
    leave_out: Container[str] = ()) -> Source:  # fmt: skip
    """The training, validation and test images that `spec` names.

    "drawings"   synthetic images of cats and dogs, `length` of them for training (default
                 TRAIN_DRAWINGS)
    "pets"       the Oxford-IIIT Pet photos, downloaded into `data_root` the first time (default
                 `download_root()`)
    a folder     with train/<class>/ and test/<class>/, or else with <class>/, of which about
                 TEST_SHARE become the test photos; `layout.py` has all forms.  If your folder is
                 itself called drawings or pets, write ./drawings.

    For photos, validation is about VAL_SHARE of the training photos, class by class, unless there
    is a folder for it; which ones, the seed and their names decide (`folder.share`).  `limit` is
    the most images to keep, of drawings of each of the three, of photos of each folder before
    parts are split off.  The photos in the files `leave_out` count as not there.  Before a
    download, `report` is called with a line that says where to and how large; `progress`, of the
    download, is tqdm or None.

    Raises ConfigError for an option that cannot work, and DataError for data that is missing or of
    another form.
    """
    check_whole("seed", seed, 0)
    check_whole("limit", 2 if limit is None else limit, 2)
    if spec == "drawings":
        return _drawings(seed, limit, TRAIN_DRAWINGS if length is None else length)
    if length is not None:
        raise ConfigError("length applies to the drawings only; use limit for photos")
    if spec == "pets":
        root = download_root() if data_root is None else Path(data_root)
        if not has_pets(root):
            report(f"downloading the Oxford-IIIT Pet photos, about 800 MB, to {root / 'pets'}")
        folder, what = download_pets(root, progress=progress), "Oxford-IIIT Pet photos"
        return _photos(folder, what, seed, limit, leave_out)
    folder = Path(spec)
    if not os.fspath(spec) or not folder.is_dir():
        what = "is a file" if os.path.isfile(spec) else "does not exist"
        raise DataError(f"{os.fspath(spec)!r} {what}; choose drawings, pets, or a folder of photos")
    what = f"photos in {str(folder)!r}"
    return _photos(folder, what, seed, limit, leave_out)


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
    if has_pets(Path("data")):
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
    check_whole("length", length, 2)
    check(length <= VAL_START, f"length must be at most {VAL_START:,}", length)
    # Cats and dogs alternate, so the first few are as balanced as all of them.
    lengths = (length, VAL_DRAWINGS, TEST_DRAWINGS)
    starts = (TRAIN_START, VAL_START, TEST_START)
    most = limit or length + VAL_DRAWINGS + TEST_DRAWINGS
    train, val, test = (Drawings(min(n, most), seed=seed, start=at)
        for n, at in zip(lengths, starts, strict=True))  # fmt: skip
    text = describe(f"drawings (seed {seed})", train, val, test)
    return Source(train, val, test, train.classes, text)


def _photos(
    folder: Path, what: str, seed: int, limit: int | None, leave_out: Container[str]
) -> Source:
    found, messages = find_parts(folder)
    parts: dict[str, Any] = {name: without(part, leave_out) for name, part in found.items()}
    classes, missing = parts["train"].classes, [name for name in SHARES if name not in parts]
    if len(classes) < 2:
        only = f"photos of one class only, {classes[0]!r}"
        raise DataError(f"{str(folder)!r} has {only}; add a second class")
    for name, part in parts.items():
        both = (("train", classes), (name, part.classes))
        for (here, has), (there, lacks) in itertools.permutations(both):
            if extra := ", ".join(repr(one) for one in has if one not in lacks):
                text = f"class {extra} is in {here} but not in {there}"
                raise DataError(f"{str(folder)!r}: {text}; both need the same class folders")
    everything = {path for part in parts.values() for path, _ in part.samples}
    for name, part in parts.items():
        parts[name] = at_most(limit, part, seed, 1 + len(missing) * (name == "train"))
    unused = everything - {path for part in parts.values() for path, _ in part.samples}
    for name in missing:
        parts["train"], parts[name] = split(parts["train"], SHARES[name], seed, name)
    if "test" in missing:
        how = f"about {TEST_SHARE:.0%} of each class, chosen by their names and seed {seed}"
        messages.append(f"{str(folder)!r} has no test folder: {how}, became the test photos")
    text = describe(what, parts["train"], parts["val"], parts["test"])
    return Source(**parts, classes=classes, description=text, messages=messages, folder=folder,
                  unused=unused)  # fmt: skip


def describe(what: str, train: Dataset, val: Dataset, test: Dataset) -> str:
    """One line: what was found and how much of it."""
    counts = f"{len(train):,} for training, {len(val):,} for validation, {len(test):,} for testing"
    return f"{what}: {counts}; classes: {', '.join(train.classes)}"
