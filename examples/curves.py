"""The learning curves of several runs in one picture, side by side (needs matplotlib)."""

import argparse
from pathlib import Path

from minialex.cli import run_main
from minialex.errors import MinialexError
from minialex.train.run import RunFolder
from minialex.use.pictures import plot_curves


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="default curves.png")
    options = parser.parse_args()
    histories = {run.name: RunFolder(run).read_history() for run in options.runs}
    try:
        plot_curves(histories, options.out)
    except ImportError:
        raise MinialexError(
            "the picture needs matplotlib; install it with: pip install -e '.[plot]'"
        ) from None
    print(options.out)
    return 0


if __name__ == "__main__":
    run_main(main)
