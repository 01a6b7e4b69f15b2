"""What `--data` means: the drawings, the pet photos, or a folder of one's own.

And what it means where you leave it out, and where a download goes.  What is what in a folder of
photos, as you arrange it, or as data sets come:

    train/<class>/<photo>, test/<class>/<photo>     and perhaps val/<class>/<photo>; in any spelling
                                                    (Training, test_set, validation, seg_train)
    <class>/<photo>                                 parts are split off
    cat.0.jpg, dog.0.jpg                            the class is what stands before the number

Each may lie some folders deeper, where there is nothing else to choose from.
"""

import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minialex.data.drawings import Drawings
from minialex.data.files import has_photos, left_out_line, listing, plain_name
from minialex.data.folder import Dataset, ImageFolder, Photos, at_most, split
from minialex.data.image import AnyPath
from minialex.data.pets import Progress, download_pets, has_pets
from minialex.errors import DataError, check_whole

# Drawings: how many, and at which number of the endless sequence each part starts.
DRAWN = {"train": (2_400, 0), "val": (300, 10_000_000), "test": (500, 20_000_000)}
# Of all photos, where a folder has no test photos of its own; then of those for training.
SHARES = {"test": 0.2, "val": 0.1}

CACHES = {"win32": ("LOCALAPPDATA", "AppData/Local"), "darwin": ("", "Library/Caches")}
PARTS = ("train", "val", "test")
SPELLINGS = r"(train|training)|(val|valid|validation)|(test|testing)"  # each with words around it
NAME = re.compile(rf"(?:.*[^a-z])?(?:{SPELLINGS})[^a-z]*(?:set|data|images)?[^a-z]*")
FLAT_NAME = re.compile(r"(.*[^\W\d].*)\.\d+\.\w+")  # "cat.0.jpg"


@dataclass(frozen=True)
class Source:
    """Three datasets with the same classes, which share no image.

    what          they are, in words
    messages      notes for the user, one line each: decisions that were made for them
    folder        where the photos are; None for drawings
    """

    train: Dataset
    val: Dataset
    test: Dataset
    classes: list[str]
    what: str
    messages: list[str] = field(default_factory=list)
    folder: Path | None = None

    @property
    def description(self) -> str:
        """One line: what was found and how much of it."""
        train, val, test = (f"{len(part):,}" for part in (self.train, self.val, self.test))
        counts = f"{train} for training, {val} for validation, {test} for testing"
        return f"{self.what}: {counts}; classes: {', '.join(self.classes)}"


def open_source(spec: AnyPath, *, seed: int, limit: int | None = None,
    data_root: AnyPath | None = None, progress: Progress | None = tqdm,
    report: Callable[[str], None] = print) -> Source:  # fmt: skip
    """The training, validation and test images that `spec` names.

    "drawings"   synthetic images of cats and dogs, as many as DRAWN says
    "pets"       the Oxford-IIIT Pet photos, downloaded into data_root the first time (default
                 download_root())
    a folder     with train/<class>/ and test/<class>/, or else with <class>/, of which about
                 a fifth become the test photos; see above for all forms.  If your folder is
                 itself called drawings or pets, write ./drawings.

    For photos, validation is about a tenth of the training photos, class by class, unless there is
    a folder for it; which ones, the seed and their names decide (`folder.share`).  `limit` is the
    most images to keep, of drawings of each of the three, of photos of each folder before parts
    are split off.  Before a download, `report` is called with a line that says where to and how
    large; `progress`, of the download, is tqdm or None.

    Raises ConfigError for an option that cannot work, and DataError for data that is missing or of
    another form.
    """
    check_whole("seed", seed, 0)
    check_whole("limit", 2 if limit is None else limit, 2)
    if spec == "drawings":
        # Cats and dogs alternate, so the first few are as balanced as all of them.
        drawn: dict[str, Any] = {name: Drawings(min(n, limit or n), seed=seed, start=at)
                                 for name, (n, at) in DRAWN.items()}  # fmt: skip
        return Source(**drawn, classes=drawn["train"].classes, what=f"drawings (seed {seed})")
    folder, what = Path(spec), f"photos in {str(Path(spec))!r}"
    if spec == "pets":
        root = download_root() if data_root is None else Path(data_root)
        if not has_pets(root):
            report(f"downloading the Oxford-IIIT Pet photos, about 800 MB, to {root / 'pets'}")
        folder, what = download_pets(root, progress=progress), "Oxford-IIIT Pet photos"
    elif not os.fspath(spec) or not folder.is_dir():
        raise DataError(f"no folder {os.fspath(spec)!r}; choose drawings, pets or a folder")
    return _photos(folder, what, seed, limit)


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
    variable, folder = CACHES.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))
    return Path(os.environ.get(variable) or Path.home() / folder) / "minialex"


def _photos(folder: Path, what: str, seed: int, limit: int | None) -> Source:
    parts, messages = find_parts(folder)
    classes, missing = parts["train"].classes, [name for name in SHARES if name not in parts]
    if len(classes) < 2:
        raise DataError(f"{str(folder)!r} has one class only, {classes[0]!r}; add a second class")
    for name, part in parts.items():
        both = (("train", classes), (name, part.classes))
        for (here, has), (there, lacks) in itertools.permutations(both):
            if extra := ", ".join(repr(one) for one in has if one not in lacks):
                raise DataError(f"{str(folder)!r}: class {extra} is in {here} but not in {there}")
    for name, part in parts.items():
        parts[name] = at_most(limit, part, seed, 1 + len(missing) * (name == "train"))
    for name in missing:
        parts["train"], parts[name] = split(parts["train"], SHARES[name], seed, name)
    if "test" in missing:
        how = f"about {SHARES['test']:.0%} of each class, chosen by their names and seed {seed}"
        messages.append(f"{str(folder)!r} has no test folder: {how}, became the test photos")
    return Source(**parts, classes=classes, what=what, messages=messages, folder=folder)


# ------------------------------------------------------------------------------- folders of photos


def part_of(name: str) -> str | None:
    """Which of PARTS a folder is for by its name, or None."""
    match = NAME.fullmatch(name.lower())
    return PARTS[match.lastindex - 1] if match and match.lastindex else None


def find_parts(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The photos of the parts that `folder` has, at least of "train"; and lines for the user.

    Raises DataError, which says what is expected, for a folder of another form.
    """
    left_out, root = Counter[str](), _deeper(folder)
    places: dict[str, Path] = {}
    for name in listing(root)[0]:
        if part := part_of(name):
            places.setdefault(part, root / name)
    # A class may be called "train": then it holds photos, and no classes.
    if not any(map(_has_classes, places.values())):
        places = {"train": root}
    if "train" not in places:
        raise _other_form(folder, f"has {', '.join(p.name for p in places.values())} but no train")
    parts = {part: _labelled(_deeper(place), left_out) for part, place in places.items()}
    found = {part: photos for part, photos in parts.items() if photos is not None}
    if "train" not in found:
        raise _other_form(folder, f"has no class folders in {places['train'].name}, only photos")
    used = [places[part].name for part in found]
    unused = [name for name in listing(root)[0] if name not in used and root not in places.values()]
    line = f"not used: {', '.join(unused)} in {str(root)!r}, beside {' and '.join(used)}"
    return found, [text for text in (line * bool(unused), left_out_line(left_out)) if text]


def _labelled(root: Path, left_out: Counter[str]) -> Photos | None:
    """The photos of `root` with their classes, None where no class is to be seen."""
    folders, photos = listing(root)
    if not folders and photos:
        return _flat(root, photos)
    for name in folders:
        inside = sorted({part for below in listing(root / name)[0] if (part := part_of(below))})
        if len(inside) > 1:
            raise _other_form(root, f"has a folder {name} with {' and '.join(inside)}")
    found = ImageFolder(root)
    left_out.update(found.left_out)
    left_out["beside the folders of classes"] += len(photos)
    return found


def _flat(root: Path, files: list[str]) -> Photos | None:
    """Photos whose names begin with their class, as in "cat.0.jpg"; None where they do not."""
    names = list(map(plain_name, files))
    shown = [match[1] for name in names if (match := FLAT_NAME.fullmatch(name))]
    classes = sorted(set(shown))
    if len(shown) < len(files) or len(classes) < 2:
        return None
    found = sorted(zip(shown, names, files, strict=True))
    samples = [(str(root / file), classes.index(name)) for name, _, file in found]
    return Photos(classes, samples, [f"{name}/{file}" for name, file, _ in found])


def _has_classes(folder: Path) -> bool:
    folders, photos = listing(folder)
    return _flat(folder, photos) is not None if photos else bool(folders)


def _deeper(folder: Path) -> Path:
    """Where the classes or parts of a folder begin: one deeper while there is no choice."""
    folders, photos = listing(folder)
    found = list(itertools.islice(filter(has_photos, map(folder.joinpath, folders)), 2))
    if photos or len(found) != 1:
        return folder
    return _deeper(found[0]) if _has_classes(found[0]) else folder


def _other_form(folder: Path, why: str) -> DataError:
    form = "train/<class>/<photo> and test/<class>/<photo>, or <class>/<photo> alone"
    return DataError(f"{str(folder)!r} {why}; expected {form}")
