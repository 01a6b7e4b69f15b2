"""Layout -- what is what in a folder of photos: as you arrange it, or as data sets come.

    train/<class>/<photo>, test/<class>/<photo>     and perhaps val/<class>/<photo>; in any spelling
                                                    (Training, test_set, validation, seg_train)
    <class>/<photo>                                 parts are split off
    cat.0.jpg, dog.0.jpg                            the class is what stands before the number

Each may lie some folders deeper, where there is nothing else to choose from.
"""

import itertools
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from minialex.data.files import folders_in, has_photos, photos_below, plain_name
from minialex.data.folder import ImageFolder, Photos
from minialex.errors import DataError

SPELLINGS = {
    "train": "train", "training": "train", "trainset": "train", "trainingset": "train",
    "val": "val", "valid": "val", "validation": "val", "valset": "val", "validationset": "val",
    "test": "test", "testing": "test", "testset": "test", "testingset": "test",
}  # fmt: skip
FLAT_NAME = re.compile(r"(.*[^\W\d].*)\.\d+\.\w+")  # "cat.0.jpg"


@dataclass
class Layout:
    """The photos of each part, None where a folder has no such part; and what is worth a line."""

    train: Photos
    val: Photos | None = None
    test: Photos | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)


def find_layout(folder: Path) -> Layout:
    """The parts of `folder`.  Raises DataError, which shows what is expected, for another form."""
    left_out = Counter[str]()
    root = _deeper(folder)
    parts = _parts(root)
    if not parts:
        train = labelled(root, left_out)
        if train is None:
            raise _other_form(folder, f"{str(root)!r} has photos without a class")
        return Layout(train, left_out=left_out)
    if "train" not in parts:
        raise _other_form(
            folder, f"it has a folder {parts.popitem()[1].name} but none for training"
        )
    found = {part: labelled(_deeper(path), left_out) for part, path in parts.items()}
    if found["train"] is None:
        raise _other_form(folder, f"{str(parts['train'])!r} has photos without a class")
    used = [parts[part].name for part, photos in found.items() if photos is not None]
    others = [name for name in folders_in(root) if name not in used]
    messages = []
    if others:
        messages.append(
            f"not used: {', '.join(others)} in {str(root)!r}, beside {' and '.join(used)}"
        )
    return Layout(found["train"], found.get("val"), found.get("test"), left_out, messages)


def labelled(root: Path, left_out: Counter[str]) -> Photos | None:
    """The photos of `root` with their classes, None where there are none to be seen."""
    folders, photos = folders_in(root), photos_below(root, deep=False)
    if not folders and photos:
        return _flat(root, photos, left_out)
    for name in folders:
        inside = {part for below in folders_in(root / name) if (part := part_of(below))}
        if len(inside) > 1:
            raise _other_form(root, f"its folder {name} has {' and '.join(sorted(inside))}")
    found = ImageFolder(root)
    left_out.update(found.left_out)
    left_out["beside the folders of classes"] += len(photos)
    return found


def part_of(name: str) -> str | None:
    """Which part a folder is for by its name: "train", "val", "test", or None."""
    words = re.findall("[a-z]+", name.lower()) or [""]
    joined = "".join(words).removesuffix("data").removesuffix("images")
    return SPELLINGS.get(joined, SPELLINGS.get(words[-1]))


def _parts(root: Path) -> dict[str, Path]:
    """The folders of parts in `root`; {} where its folders are classes."""
    named = [(part, root / name) for name in folders_in(root) if (part := part_of(name))]
    # A class may be called "train": then it holds photos, and no classes.
    if not any(_has_classes(path) for _, path in named):
        return {}
    found: dict[str, Path] = {}
    for part, path in named:
        if part in found:
            raise _other_form(root, f"{found[part].name} and {path.name} are both for {part}")
        found[part] = path
    return found


def _has_classes(folder: Path) -> bool:
    if photos := photos_below(folder, deep=False):
        return all(FLAT_NAME.fullmatch(os.path.basename(path)) for path in photos)
    return bool(folders_in(folder))


def _deeper(folder: Path) -> Path:
    """Where the classes or parts of a folder begin: one deeper while there is no choice."""
    if photos_below(folder, deep=False):
        return folder
    below = (folder / name for name in folders_in(folder))
    inside = list(itertools.islice(filter(has_photos, below), 2))
    return _deeper(inside[0]) if len(inside) == 1 and _has_classes(inside[0]) else folder


def _flat(root: Path, paths: list[str], left_out: Counter[str]) -> Photos | None:
    names = [os.path.basename(path) for path in paths]
    matches = [FLAT_NAME.fullmatch(name) for name in names]
    classes = sorted({plain_name(match[1]) for match in matches if match})
    if not all(matches) or len(classes) < 2:
        return None
    photos_below(root, left_out, deep=False)
    shown = [plain_name(match[1]) for match in matches if match]
    samples = sorted(
        (classes.index(name), plain_name(path), path)
        for name, path in zip(shown, paths, strict=True)
    )
    return Photos(
        classes,
        [(path, label) for label, _, path in samples],
        [f"{classes[label]}/{os.path.basename(name)}" for label, name, _ in samples],
    )


def _other_form(folder: Path, why: str) -> DataError:
    return DataError(
        f"{str(folder)!r}: {why}; expected train/<class>/<photo> and test/<class>/<photo> in it, or"
        " <class>/<photo>"
    )
