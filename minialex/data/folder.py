"""ImageFolder -- photos in one folder per class, and ways to take parts of such a dataset.

To use data of your own, you need no base class: a dataset is anything with `len(dataset)`,
`dataset[i] -> (image, label)`; a list of such pairs is one.

A photo belongs to a part by its name alone: `share(seed, part, name)` is a number in [0, 1), and
those below 0.1, say, are for validation.  So a photo that comes or goes never moves another one
from one part to the other, and a network is not tested on what it was trained on.
"""

import copy
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from minialex.data.files import listing, photos_below, plain_name
from minialex.data.image import AnyPath, open_rgb
from minialex.errors import ConfigError, DataError, check, check_whole


class Samples(Protocol):
    """What the loader needs.  `dataset[i]` may be called from several threads at once.

    It is a pair: a Pillow image or an array, whatever the transform takes, and the label, which is
    the index of a class, 0 or more.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Dataset(Samples, Protocol):
    """Samples that say what their classes are called, which the commands ask for.

    To split it, its `labels` are asked for as well, int64 (len,): known without opening an image.
    """

    @property
    def classes(self) -> list[str]:
        """The names of the classes; a label is an index into them."""


class Photos:
    """Photos in files.

    classes   list[str]; the label of a photo is the index of its class in this list
    samples   list[(path, label)]
    names     list[str]: what each photo is called, whatever the machine, see share; their paths,
              unless you give others
    labels    int64 (len,)

    `photos[i]` is (RGB image, label); see `open_rgb` for the conversion and for `shorter_side`.
    """

    def __init__(self, classes: list[str], samples: list[tuple[str, int]],
        names: Sequence[str] = (), shorter_side: int | None = None) -> None:  # fmt: skip
        check_whole("ImageFolder: shorter_side", 1 if shorter_side is None else shorter_side, 1)
        self.classes, self.samples = classes, samples
        self.names = list(names) or [plain_name(path) for path, _ in samples]
        self.shorter_side = shorter_side
        self.labels = np.array([label for _, label in samples], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = self.samples[index]
        return open_rgb(path, self.shorter_side), label

    def __repr__(self) -> str:
        return f"{len(self):,} photos of {len(self.classes)} classes"


class ImageFolder(Photos):
    """root/<class>/**/<photo>: the folders right below `root` are the classes, as in torchvision.

    `classes` are sorted, and so are the photos, class by class and by name within each.
    `shorter_side` is the fewest pixels that a side of a photo keeps where JPEGs are decoded
    smaller; None leaves it to the loader, which knows from its transform how many are needed.

    Hidden files and folders, and files without one of EXTENSIONS, are left out: `left_out` counts
    them by kind.  Raises DataError where root is missing or not a folder, has no class folder, or a
    class has no photo.
    """

    def __init__(self, root: AnyPath, shorter_side: int | None = None) -> None:
        self.root, self.left_out = Path(root), Counter[str]()
        where, expected = repr(str(self.root)), f"expected {self.root.name}/<class>/<photo>"
        if not os.path.isdir(self.root):
            what = f"{where} is a file" if os.path.isfile(self.root) else f"no folder {where}"
            raise DataError(f"{what}; {expected}")
        folders, _ = listing(self.root)
        if not folders:
            raise DataError(f"folder {where} has no class folders; {expected}")
        samples: list[tuple[str, int]] = []
        for label, name in enumerate(folders):
            if not (paths := photos_below(self.root / name, self.left_out)):
                raise DataError(f"class folder {str(self.root / name)!r} has no images")
            samples += [(path, label) for path in paths]
        names = [plain_name(os.path.relpath(path, self.root)) for path, _ in samples]
        super().__init__([plain_name(name) for name in folders], samples, names, shorter_side)

    def __repr__(self) -> str:
        found = f"{len(self):,} images of {len(self.classes)} classes"
        return f"ImageFolder({str(self.root)!r}, shorter_side={self.shorter_side}): {found}"


class Subset:
    """The samples `indices` of a dataset, in that order.

    `classes` are those of the whole; `labels`, `names` and `samples` are the samples' own, where
    the dataset has any.
    """

    def __init__(self, dataset: Samples, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        if hasattr(dataset, "classes"):
            self.classes: list[str] = dataset.classes
        if hasattr(dataset, "labels"):
            self.labels: np.ndarray = np.asarray(dataset.labels)[self.indices]
        for name in ("names", "samples"):
            if hasattr(dataset, name):
                setattr(self, name, [getattr(dataset, name)[i] for i in self.indices.tolist()])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __repr__(self) -> str:
        return f"Subset of {len(self):,} samples of {self.dataset!r}"


def for_side(dataset: Any, side: int) -> Any:
    """The same dataset, of whose photos a user looks at `side` pixels; JPEGs are decoded smaller.

    A `shorter_side` that was given stays.
    """
    found = copy.copy(dataset)
    if isinstance(found, Subset):
        found.dataset = for_side(found.dataset, side)
    elif isinstance(found, Photos) and found.shorter_side is None:
        found.shorter_side = side
    else:
        return dataset
    return found


def share(seed: int, part: str, name: str) -> float:
    """Where the photo called `name`, such as "cat/1.jpg", stands in [0, 1) for a `part`: "val", ...

    The same on every machine, and independent of other photos, parts and seeds: a hash (BLAKE2).
    """
    text = f"{part}:{seed}:{name}".encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _turns(dataset: Any, label: int, seed: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The samples of a class in the order in which they are chosen for a part, and their shares."""
    members = np.flatnonzero(np.asarray(dataset.labels) == label)
    names = getattr(dataset, "names", None)
    shares = np.array([share(seed, part, names[i] if names else str(i)) for i in members.tolist()])
    order = np.argsort(shares, kind="stable")
    return members[order], shares[order]


def split(dataset: Any, fraction: float, seed: int, part: str = "val") -> tuple[Subset, Subset]:
    """(rest, part), where `part` holds the samples whose `share` is below `fraction`.

    They are about that fraction of each class, at least one and never all, so that both parts have
    every class.  Both keep the dataset's order.  Samples without names are called by their number.

    Raises ConfigError for a fraction outside (0, 1), and DataError for a class of fewer than two
    samples.
    """
    check(0 < fraction < 1, "the share to split off must lie between 0 and 1", fraction)
    taken = np.zeros(len(dataset), dtype=bool)
    for label, name in enumerate(dataset.classes):
        order, shares = _turns(dataset, label, seed, part)
        n = len(order)
        if n < 2:
            raise DataError(f"class '{name}' has {n} images; a part needs at least 2")
        count = int((shares < fraction).sum())
        taken[order[: min(max(count, 1), n - 1)]] = True
    return Subset(dataset, np.flatnonzero(~taken)), Subset(dataset, np.flatnonzero(taken))


def at_most(limit: int | None, dataset: Any, seed: int, least: int = 0) -> Any:
    """`limit` samples: those of the smallest `share`, every class in its proportion.

    `least` of each class come first.  Raises DataError where a class has not so many, ConfigError
    where they are more than the limit.
    """
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if counts.min() < least:
        has = f"class {dataset.classes[counts.argmin()]!r} has {counts.min()} photos"
        each = "one for each of training, validation and test that has no folder of its own"
        raise DataError(f"{has}; at least {least} are needed, {each}")
    if limit is None or len(dataset) <= limit:
        return dataset
    if limit < (needed := least * len(counts)):
        raise ConfigError(f"limit {limit} is too small, {len(counts)} classes need {needed} photos")
    # A class of n takes its turns at 0, 1/n, 2/n, ...; the earliest turns are kept.
    turn = np.empty(len(dataset), dtype=np.float64)
    for label, count in enumerate(counts.tolist()):
        order, _ = _turns(dataset, label, seed, "limit")
        turn[order] = np.arange(count) / max(1, count)
        turn[order[:least]] = -1
    return Subset(dataset, np.sort(np.argsort(turn, kind="stable")[:limit]))
