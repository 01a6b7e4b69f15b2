"""ImageFolder -- photos in one folder per class, and ways to take parts of such a dataset.

To use data of your own, you need no base class: a dataset is anything with `len(dataset)`,
`dataset[i] -> (image, label)`; a list of such pairs is one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from minialex.data.image import open_rgb
from minialex.errors import ConfigError, DataError

EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".mpo"))  # fmt: skip

_STREAM = 0x5B17  # keeps the draws of `split` apart from those of other users of the same seed


class Samples(Protocol):
    """What the loader needs.  `dataset[i]` may be called from several threads at once.

    It is a pair: a Pillow image or an array, whatever the transform takes, and the label, which is
    the index of a class, 0 or more.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Dataset(Samples, Protocol):
    """Samples that say what their classes are called, which the commands ask for."""

    @property
    def classes(self) -> list[str]:
        """The names of the classes; a label is an index into them."""


class LabelledDataset(Dataset, Protocol):
    """A dataset that knows its labels without opening an image."""

    @property
    def labels(self) -> np.ndarray:
        """The label of each sample, int64 (len,)."""


class ImageFolder:
    """root/<class>/**/<photo>: the folders right below `root` are the classes, as in torchvision.

    classes   list[str], sorted; the label of a photo is the index of its class in this list
    samples   list[(path, label)], class by class, sorted by path within each
    labels    int64 (len,)

    `folder[i]` is (RGB image, label); see `open_rgb` for the conversion and for `shorter_side`
    (pixels; None decodes JPEGs at full size).  Hidden files and folders, and files without one of
    EXTENSIONS, are skipped.

    Raises DataError where root is missing or not a folder, has no class folder, or a class has no
    photo.
    """

    def __init__(self, root: str | os.PathLike[str], shorter_side: int | None = 256) -> None:
        if shorter_side is not None and (type(shorter_side) is not int or shorter_side < 1):
            text = f"shorter_side must be a positive whole number, got {shorter_side!r}"
            raise ConfigError(f"ImageFolder: {text}")
        self.root, self.shorter_side = Path(root), shorter_side
        self.classes = class_names(self.root)
        self.samples: list[tuple[str, int]] = []
        for label, name in enumerate(self.classes):
            paths = _images_below(self.root / name)
            if not paths:
                text = f"class folder {str(self.root / name)!r} has no images"
                raise DataError(f"{text}; add some or remove the folder")
            self.samples += [(path, label) for path in paths]
        self.labels = np.array([label for _, label in self.samples], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = self.samples[index]
        return open_rgb(path, self.shorter_side), label

    def __repr__(self) -> str:
        found = f"{len(self):,} images of {len(self.classes)} classes"
        return f"ImageFolder({str(self.root)!r}, shorter_side={self.shorter_side}): {found}"


class Subset:
    """The samples `indices` of a dataset, in that order.

    `classes` are those of the whole, and `labels` those of the samples, where the dataset has any.
    """

    def __init__(self, dataset: Samples, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        if hasattr(dataset, "classes"):
            self.classes: list[str] = dataset.classes
        if hasattr(dataset, "labels"):
            self.labels: np.ndarray = np.asarray(dataset.labels)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __repr__(self) -> str:
        return f"Subset of {len(self):,} samples of {self.dataset!r}"


def split(dataset: LabelledDataset, fraction: float, seed: int) -> tuple[Subset, Subset]:
    """(rest, part), where `part` holds a seeded `fraction` of each class.

    It takes at least one sample of a class and never all, so that both parts have every class.
    Both keep the dataset's order.  The same seed and labels give the same split.

    Raises ConfigError for a fraction outside (0, 1), and DataError for a class of fewer than two
    samples.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the share to split off must lie between 0 and 1, got {fraction}")
    part = []
    for label, name in enumerate(dataset.classes):
        members = np.flatnonzero(np.asarray(dataset.labels) == label)
        if len(members) < 2:
            has = f"class '{name}' has {len(members)} images"
            raise DataError(f"{has}; at least 2 are needed to split some off")
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        part.append(np.random.default_rng([seed, label, _STREAM]).permutation(members)[:count])
    taken = np.zeros(len(dataset), dtype=bool)
    taken[np.concatenate(part)] = True
    return Subset(dataset, np.flatnonzero(~taken)), Subset(dataset, np.flatnonzero(taken))


def class_names(root: str | os.PathLike[str]) -> list[str]:
    """The folders right below `root`, sorted, hidden ones left out.

    Raises DataError where root is missing or not a folder, or has no folders.
    """
    folder = Path(root)
    if not folder.exists():
        text = f"there is no folder {str(root)!r}"
        raise DataError(f"{text}; expected one with a folder of images for each class")
    if not folder.is_dir():
        text = f"{str(root)!r} is a file; expected a folder with a folder of images for each class"
        raise DataError(text)
    try:
        folders = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
        names = sorted(name for name in folders if not name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot list folder {str(root)!r}: {error.strerror}") from None
    if not names:
        form = f"{Path(root).name}/<class>/<photo>"
        raise DataError(f"folder {str(root)!r} has no class folders; expected {form}")
    return names


def _images_below(folder: Path) -> list[str]:
    def refuse(error: OSError) -> None:
        raise DataError(f"cannot list folder {error.filename!r}: {error.strerror}") from None

    found: list[str] = []
    seen: set[str] = set()
    for parent, subfolders, files in os.walk(folder, followlinks=True, onerror=refuse):
        if os.path.realpath(parent) in seen:  # a link that leads back up would go round for ever
            subfolders.clear()
            continue
        seen.add(os.path.realpath(parent))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [os.path.join(parent, name) for name in files if _is_image_name(name)]
    return sorted(found)


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
