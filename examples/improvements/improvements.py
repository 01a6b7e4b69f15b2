"""AlexNet's improvements, measured: pairs of training runs that differ in one respect.

Each comparison has error bars and a verdict.  Writes results.json, table.md and a picture of each
experiment.  `examples/improvements/claims.py` says what is compared.  The default is a small
AlexNet on few drawings, which two cores train within the budget; --full takes the published size,
which needs a budget of many hours.
"""

import argparse
import contextlib
import itertools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from claims import EXPERIMENTS
from device_comparison import compare_devices
from minialex.commands.main import run_main
from minialex.errors import ConfigError
from minialex.files import write_text
from minialex.train.config import Config
from plan import FULL, PHOTOS, SMALL
from plots import draw
from programme import run_programme
from report import rows_of, rule, table


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(description=__doc__)
    add = result.add_argument
    add("experiment", choices=[*EXPERIMENTS, "all"])
    add(
        "--budget",
        type=float,
        default=60,
        metavar="MINUTES",
        help="wall-clock time for all of it (default 60)",
    )
    add("--seeds", type=int, default=5, help="pairs of each comparison, at least 3 (default 5)")
    add("--full", action="store_true", help="AlexNet as published, instead of a small one")
    add(
        "--data",
        default="drawings",
        help="drawings (default), pets, or a folder of photos, as in training",
    )
    add("--out", type=Path, help="new folder (default runs/improvements-<number>)")
    return result


def make_folder(path: Path | None) -> Path:
    """The folder for the results.

    Raises ConfigError where it holds some already, or cannot be made.
    """
    numbers = itertools.count(1)
    while path is None:
        with contextlib.suppress(FileExistsError):  # another program may be as fast
            Path(folder := f"runs/improvements-{next(numbers)}").mkdir(parents=True)
            path = Path(folder)
    try:
        if (path / "results.json").exists():
            raise ConfigError(f"{str(path)!r} holds results already; choose another --out")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {str(path)!r}: {error.strerror}") from None
    return path


def draw_all(
    experiments: list[str], rows: list[dict[str, Any]], runs: list[Any], out: Path
) -> None:
    """A PNG of each experiment that has rows, where matplotlib is installed."""
    for name in experiments:
        if any(row["seeds"] for row in rows if row["experiment"] == name):
            try:
                draw(name, rows, runs, out / f"{name}.png")
            except ImportError:
                print("no pictures: matplotlib is not installed (pip install 'minialex[plot]')")
                return


def main() -> int:
    began = time.time()
    options = parser().parse_args()
    if not 3 <= options.seeds <= 100 or not 0 < options.budget < 1e6:
        raise ConfigError("--seeds must be from 3 to 100, and --budget a number of minutes above 0")
    # These become an exception, so that all processes are ended on the way out.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    design = FULL if options.full else SMALL if options.data == "drawings" else PHOTOS
    experiments = list(EXPERIMENTS) if options.experiment == "all" else [options.experiment]
    out = make_folder(options.out)
    results: dict[str, Any] = {"runs": []}
    if "gpu" in experiments:
        # Always a step of the published network, since a small one leaves a GPU idle.
        results["gpu"] = compare_devices(Config(batch_size=128, workers=0))
        print(results["gpu"]["line"], flush=True)
    trained = [name for name in experiments if name != "gpu"]

    def keep(found: dict[str, Any]) -> list[dict[str, Any]]:
        """Write what there is so far; the rows of the table."""
        rows, found = rows_of(trained, found["runs"]), results | found
        text = json.dumps({"comparisons": rows, **found}, indent=1)
        write_text(out / "results.json", text + "\n")
        return rows

    if trained:
        results |= run_programme(
            trained, options.data, options.seeds, 60 * options.budget, design, began,
            report=lambda line: print(line, flush=True), keep=keep,
        )  # fmt: skip
    rows = keep(results)
    if rows:
        text = f"{table(rows)}\n\n{rule(rows)}\n"
        write_text(out / "table.md", text)
        print(text)
        draw_all(trained, rows, results["runs"], out)
    print(f"results: {out} ({(time.time() - began) / 60:.1f} min)")
    return 0


if __name__ == "__main__":
    run_main(main)
