"""The class of photos, and how probable it is, by a trained network.

Where photos lie in folders with the names of classes, also how many answers are
right; of a whole folder class by class, as `evaluate` says it.

example:
  %(prog)s runs/first my_cat.jpg
  %(prog)s runs/first --top 3 folder/with/photos
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from minialex.commands.main import Formatter
from minialex.data import Photos
from minialex.data.files import left_out_line
from minialex.errors import check
from minialex.fast.threads import spare_memory
from minialex.files import check_ours, write_whole
from minialex.gpu.devices import choose_device
from minialex.train.screen import Screen, Silent, on_terminal
from minialex.use.answers import Answers, as_csv, headlines, tables
from minialex.use.predict import Prediction, Predictor, find_photos


def checkpoint_parser(what: str | None) -> argparse.ArgumentParser:
    """A parser for a command about a checkpoint; its help begins with `what`."""
    parser = argparse.ArgumentParser(description=what, formatter_class=Formatter)
    parser.add_argument("checkpoint", type=Path, metavar="RUN",
        help="the folder of a run, or a .safetensors file")  # fmt: skip
    parser.add_argument("--device", default="auto", help="cpu, gpu or auto (default)")
    return parser


def screen() -> Silent:
    """Bars on a terminal, and nothing elsewhere."""
    return Screen() if on_terminal(sys.stderr) else Silent()


def parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = checkpoint_parser(__doc__)
    parser.add_argument("photos", type=Path, nargs="+", help="photos, or folders of photos")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="show the K best classes")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line per photo, as CSV")
    parser.add_argument("--ten-crop", action="store_true", help="mean over ten crops of each photo")
    return parser


def line(answer: Prediction, top: int) -> str:
    """What `Predictor.predict` found, for a reader: the `top` best classes, and the photo."""
    if top == 1:
        return f"{answer['class']}  {answer['probability']:6.1%}  {answer['file']}"
    best = sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:top]
    return ", ".join(f"{name} {p:.1%}" for name, p in best) + f"  {answer['file']}"


def main(options: argparse.Namespace) -> int:
    """A line for each photo.  Returns 2 where one could not be read, else 0."""
    check(options.top >= 1, "--top must be at least 1", options.top)
    check_ours(options.csv, as_csv([]))
    spare_memory()  # else the C library keeps that of the largest photos
    predictor = Predictor(options.checkpoint, choose_device(options.device)[0])
    left_out = Counter[str]()
    photos = find_photos(options.photos, predictor.classes, left_out)
    if line_of_them := left_out_line(left_out):
        print(line_of_them, file=sys.stderr)
    known, images = Answers(predictor.classes), Photos([], [(str(path), 0) for path, _ in photos])
    answers = predictor.answers(images, options.ten_crop)
    for (path, truth), found in zip(photos, answers, strict=True):
        if isinstance(found, Exception):  # one bad photo does not stop the rest
            print(f"error: {found}", file=sys.stderr)
            continue
        answer = predictor.named(path, np.exp(found[-1]))
        answer |= {"truth": truth} if truth is not None else {}
        print(json.dumps(answer) if options.json else line(answer, options.top))
        known.classes = predictor.classes  # now named, where the checkpoint does not do it
        label = None if truth is None else known.classes.index(truth)
        known.note(str(path), label, found[-1])
    if options.csv:
        write_whole(options.csv, [as_csv(known.images)])
    if (count := int(known.counts.sum())) and not options.json:
        print(f"{count:,} photo{'s' * (count > 1)} in folders named like classes:")
        in_folders = any(path.is_dir() for path in options.photos)
        print("\n".join([*headlines({"": known}), *(tables(known) if in_folders else ())]))
    return 2 if len(known.images) < len(photos) else 0
