"""Layout -- what is what in a folder of photos: as you arrange it, or as data sets come.

    train/<class>/<photo>, test/<class>/<photo>     and perhaps val/<class>/<photo>; in any spelling
                                                    (Training, test_set, validation, seg_train)
    <class>/<photo>                                 parts are split off
    cat.0.jpg, dog.0.jpg                            the class is what stands before the number

Each may lie some folders deeper, where there is nothing else to choose from.
"""

import itertools
import re
from collections import Counter
from pathlib import Path

from minialex.data.files import has_photos, left_out_line, listing, plain_name
from minialex.data.folder import ImageFolder, Photos
from minialex.errors import DataError

PARTS = ("train", "val", "test")
SPELLINGS = r"(train|training)|(val|valid|validation)|(test|testing)"  # each with words around it
NAME = re.compile(rf"(?:.*[^a-z])?(?:{SPELLINGS})[^a-z]*(?:set|data|images)?[^a-z]*")
FLAT_NAME = re.compile(r"(.*[^\W\d].*)\.\d+\.\w+")  # "cat.0.jpg"


def part_of(name: str) -> str | None:
    """Which of PARTS a folder is for by its name, or None."""
    match = NAME.fullmatch(name.lower())
    return PARTS[match.lastindex - 1] if match and match.lastindex else None


def find_parts(folder: Path) -> tuple[dict[str, Photos], list[str]]:
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
