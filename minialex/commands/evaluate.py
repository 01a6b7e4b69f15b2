"""How good is a trained network?  Loss and accuracy, and what it takes for what.

The images are those that the run kept for its test.  All of a folder with a
folder per class are looked at; but where the run learned from that very folder,
only its test images count, since the others would show what it remembers.

example:
  %(prog)s runs/first
  %(prog)s runs/first --data my_photos --ten-crop
"""

import argparse
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from minialex.commands.predict import checkpoint_parser, screen
from minialex.data import Dataset
from minialex.data.sources import find_parts
from minialex.errors import ConfigError
from minialex.gpu.devices import choose_device
from minialex.train.evaluation import images_to_test, tally
from minialex.train.photos import data_of, run_source
from minialex.train.screen import shorten
from minialex.use.predict import Predictor, run_settings

WIDTH, MOST_CLASSES = 80, 10  # columns of the screen; classes of the table of answers


def parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = checkpoint_parser(__doc__)
    parser.add_argument("--data", help="drawings, pets, or a folder with test/<class>/, or with"
        " <class>/, whose photos are then all looked at (default: the data of the run)"
    )  # fmt: skip
    parser.add_argument("--split", choices=("test", "val", "train"), help="default test")
    parser.add_argument("--ten-crop", action="store_true", help="by ten crops of each image, too")
    return parser


def open_images(spec: str | None, part: str | None, settings: dict[str, Any],
    run: Path | None = None) -> tuple[Dataset, str]:  # fmt: skip
    """The images to look at, and which they are, in words.

    `settings` are those of the run in the folder `run`.
    """
    own = data_of(run or Path(), settings)
    what = spec or own or ""
    folder = Path(what)
    is_own = own is not None and os.path.realpath(what) == os.path.realpath(own)
    if part is None and what and folder.is_dir() and not is_own:
        parts, _ = find_parts(folder)
        if len(parts) == 1:
            return parts["train"], f"all photos in {spec!r}"
    part = part or "test"
    source = run_source(run or Path(), settings, spec, part)
    return getattr(source, part), f"the {part} images of {what!r}"


def check_classes(predictor: Predictor, dataset: Dataset, what: str) -> None:
    """Raise ConfigError unless a dataset has the classes of the network, in the same order."""
    theirs, named = list(dataset.classes), predictor.classes
    scores = predictor.probabilities(dataset[0][0])
    if not named and len(scores) == len(theirs):
        predictor.classes = theirs
    if theirs != predictor.classes:
        has, knows = (", ".join(names[:5]) for names in (theirs, predictor.classes))
        raise ConfigError(f"{what} show {has}, the network knows {knows}; choose others by --data")


def fit(text: str, width: int, right: bool = False) -> str:
    """`text` in `width` columns of a terminal, in which a Chinese letter takes two."""

    columns = [1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text]
    while sum(columns) > width:
        text, columns = text[:-1], columns[:-1]
    space = " " * (width - sum(columns))
    return space + text if right else text + space


def tables(counts: np.ndarray, classes: list[str]) -> list[str]:
    """Accuracy by class, and of a few classes the whole table `counts`: see `Tally`."""
    lines = ["", fit("class", 44) + "   right       of  accuracy"]
    for name, right, of in zip(classes, counts.diagonal(), counts.sum(axis=1), strict=True):
        share = f"{right / of:.1%}" if of else "-"
        lines.append(f"{fit(name, 44)}{right:8,}{of:9,}{share:>10}")
    if len(classes) <= MOST_CLASSES:
        cell = min(12, (WIDTH - 20) // len(classes))
        answers = "".join(" " + fit(name, cell - 1, right=True) for name in classes)
        lines += ["", fit("class \\ answer", 20) + answers]
        for name, row in zip(classes, counts, strict=True):
            lines.append(fit(name, 20) + "".join(f"{count:{cell}}" for count in row))
    return lines


def main(options: argparse.Namespace) -> int:
    """Print what was found; returns 0."""
    predictor = Predictor(options.checkpoint, choose_device(options.device)[0])
    settings = run_settings(predictor.path)
    dataset, what = open_images(options.data, options.split, settings, predictor.path.parent)
    check_classes(predictor, dataset, what)
    ten = options.ten_crop
    loader = images_to_test(dataset, 4 if ten else 32, predictor.transform, ten, workers=2)
    found = tally(predictor.model, loader, predictor.device, screen(), "images", ten_crops=ten)
    print(shorten(f"{len(dataset):,} images: {what}", WIDTH))
    for name, one in zip(("one crop", "ten crops"), found, strict=False):
        right = f"{one.counts.trace():,} of {len(dataset):,}"
        text = f"loss {one.loss:.4f}  accuracy {one.accuracy:.1%}  ({right})"
        print(f"{name + ':':<11}{text}" if ten else text)
    print("\n".join(tables(found[-1].counts, predictor.classes)))
    return 0
