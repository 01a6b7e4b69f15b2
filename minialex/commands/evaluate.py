"""How good is a trained network?  Loss and accuracy, and what it takes for what.

The images are those that the run kept for its test.  All of a folder with a
folder per class are looked at; but where the run learned from that very folder,
only its test images count, since the others would show what it remembers.

example:
  %(prog)s runs/first
  %(prog)s runs/first my_photos --ten-crop
  %(prog)s runs/first --report runs/first/report.html
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from minialex.commands.main import command_line
from minialex.commands.predict import checkpoint_parser, screen
from minialex.data import Dataset
from minialex.data.sources import find_parts
from minialex.errors import ConfigError
from minialex.files import check_ours, write_whole
from minialex.gpu.devices import choose_device
from minialex.page import HEAD, write_page
from minialex.train.photos import data_of, run_source
from minialex.train.screen import shorten
from minialex.use.answers import WIDTH, Answers, as_csv, headlines, tables
from minialex.use.predict import Predictor, run_settings
from minialex.use.report import report


def parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = checkpoint_parser(__doc__)
    parser.add_argument("data", nargs="?", metavar="FOLDER", default=argparse.SUPPRESS,
        help="drawings, pets, or a folder with test/<class>/, or with <class>/, whose photos are"
        " then all looked at (default: the data of the run)"
    )  # fmt: skip
    parser.add_argument("--data", help="the same as FOLDER")
    parser.add_argument("--split", choices=("test", "val", "train"), help="default test")
    parser.add_argument("--ten-crop", action="store_true", help="by ten crops of each image, too")
    parser.add_argument("--json", action="store_true", help="all numbers as one JSON object")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line per image, as CSV")
    parser.add_argument("--report", type=Path, metavar="FILE",
        help="write a page for a browser: curves, confusions, mistakes with Grad-CAM, settings"
    )  # fmt: skip
    return parser


def open_images(spec: str | None, part: str | None, settings: dict[str, Any],
    run: Path) -> tuple[Dataset, str]:  # fmt: skip
    """The images to look at, and which they are, in words.

    `settings` are those of the run in the folder `run`.
    """
    own = data_of(run, settings)
    is_own = own is not None and os.path.realpath(spec or own) == os.path.realpath(own)
    if part is None and spec and os.path.isdir(spec) and not is_own:
        parts, _ = find_parts(Path(spec))
        if len(parts) == 1:
            return parts["train"], f"all photos in {spec!r}"
    part = part or "test"
    source = run_source(run, settings, spec, part)
    return getattr(source, part), f"the {part} images of {spec or own!r}"


def check_classes(predictor: Predictor, dataset: Dataset, what: str) -> None:
    """Raise ConfigError unless a dataset has the classes of the network, in the same order."""
    theirs, named = list(dataset.classes), predictor.classes
    scores = predictor.probabilities(dataset[0][0])
    if not named and len(scores) == len(theirs):
        predictor.classes = theirs
    if theirs != predictor.classes:
        has, knows = (", ".join(names[:5]) for names in (theirs, predictor.classes))
        raise ConfigError(f"{what} show {has}, the network knows {knows}; choose another FOLDER")


def answers_to(predictor: Predictor, dataset: Dataset, ten_crop: bool) -> dict[str, Answers]:
    """What the network answers to all images of `dataset`, by one crop, and by ten.

    Raises DataError for one that cannot be read.
    """
    names = ("one crop", "ten crops")[: 1 + ten_crop]
    found = {name: Answers(predictor.classes) for name in names}
    files = getattr(dataset, "samples", None) or [(str(i), 0) for i in range(len(dataset))]
    with screen().bar("images", len(dataset)) as bar:
        for (file, _), answer in zip(files, predictor.answers(dataset, ten_crop), strict=True):
            if isinstance(answer, Exception):
                raise answer
            label, *log_ps = answer
            for one, log_p in zip(found.values(), log_ps, strict=True):
                one.note(file, label, log_p)
            bar.update(1, acc=f"{one.accuracy:.1%}")
    return found


def main(options: argparse.Namespace) -> int:
    """Print what was found, and write the files that were asked for; returns 0."""
    check_ours(options.csv, as_csv([]))
    check_ours(options.report, HEAD)
    predictor = Predictor(options.checkpoint, choose_device(options.device)[0])
    settings = run_settings(predictor.path)
    dataset, what = open_images(options.data, options.split, settings, predictor.path.parent)
    check_classes(predictor, dataset, what)
    what = f"{len(dataset):,} images: {what}"
    found = answers_to(predictor, dataset, options.ten_crop)
    *_, last = found.values()
    # The files first: whoever reads what is printed, such as `head`, may go early.
    if options.csv:
        write_whole(options.csv, [as_csv(last.images)])
    if options.report:
        sections = report(predictor, dataset, found, what)
        write_page(options.report, f"Report of {options.checkpoint}", sections)
    if options.json:
        numbers = {name.replace(" ", "_"): one.summary() for name, one in found.items()}
        print(json.dumps({"images": what, "checkpoint": str(predictor.path), **numbers}, indent=2))
    else:
        page = command_line("evaluate", options.checkpoint, "--report", "report.html")
        about = f"\na page about it: {options.report or page}"
        print("\n".join([shorten(what, WIDTH), *headlines(found), *tables(last), about]))
    return 0
