"""Loss and accuracy over the epochs, of one run or of several in one picture.

The picture is an SVG file, which any browser shows.

example:
  %(prog)s runs/first runs/second --out both.svg
"""

import argparse
import os
from pathlib import Path

from minialex.commands.main import Formatter
from minialex.errors import ConfigError
from minialex.files import write_text
from minialex.train.chart import picture
from minialex.train.run import RunFolder


def parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Formatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="the folders of runs")
    parser.add_argument("--out", type=Path, default=Path("curves.svg"), help="default curves.svg")
    return parser


def names(runs: list[Path]) -> dict[str, Path]:
    """The runs, each once, by the end of its path: as many folders as tell them all apart."""
    # Not by Path.resolve, which refuses links in a circle.
    paths = list({Path(os.path.realpath(run)): None for run in runs})
    length = 1
    while len(found := {"/".join(path.parts[-length:]): path for path in paths}) < len(paths):
        length += 1
    return found


def main(options: argparse.Namespace) -> int:
    """Draw the picture; returns 0."""
    runs = names(options.runs)
    histories = {name: RunFolder(path).read_history() for name, path in runs.items()}
    if options.out.suffix.lower() != ".svg":
        line = f"cannot write {str(options.out)!r}: curves are SVG; let the name end with .svg"
        raise ConfigError(line)
    write_text(options.out, picture(histories))
    print(options.out)
    return 0
