"""What the tables of the benchmark share: median steps, their lines, the title, the file."""

import json
import statistics
from pathlib import Path
from typing import Any

from minialex.errors import ConfigError
from minialex.files import write_text
from minialex.train.memory import show_bytes

Row = dict[str, Any]

PARTS = (
    "features_forward", "features_backward", "classifier_forward", "classifier_backward",
    "optimizer",
)  # fmt: skip
CASE = ("phase", "variant", "batch_size", "image_size", "lrn", "threads", "memory_limit")


def summary(steps: list[Row], batch_size: int) -> Row:
    """The median step of one process: of an even number the lower one, so that its parts add up."""
    times = [step["seconds"] for step in steps]
    median = statistics.median_low(times)
    return {
        "s": median, "lowest_s": min(times), "highest_s": max(times),
        "images_per_s": batch_size / median, "rss_mb": steps[-1]["rss_mb"],
        "parts_s": steps[times.index(median)]["parts"],
    }  # fmt: skip


def result_lines(results: dict[str, Row], phase: str) -> list[str]:
    """The `summary` of each process as a line, below a header."""
    parts = PARTS if phase == "train" else ()
    header = f"{'seconds per step':<34}"
    header += f"{'median':>8}{'lowest':>8}{'highest':>8}{'images/s':>9}{'MB':>7}"
    for part in parts:
        short = part.replace("features", "feat").replace("classifier", "cls")
        header += f"{short.replace('_', ' '):>14}"
    lines = [header]
    for name, result in results.items():
        line = f"{name:<34}"
        line += "".join(f"{result[key]:8.3f}" for key in ("s", "lowest_s", "highest_s"))
        line += f"{result['images_per_s']:9.1f}{result['rss_mb']:7,.0f}"
        lines.append(line + "".join(f"{result['parts_s'][part]:14.3f}" for part in parts))
    return lines


def title(settings: Row, rounds: int) -> str:
    """What a table is about."""
    phase = "training step" if settings["phase"] == "train" else "inference"
    lrn = ", LRN" if settings["lrn"] else ""
    limit = settings["memory_limit"]
    return (
        f"\n{phase}: {settings['variant']}{lrn}, {settings['image_size']} px,"
        f" batch {settings['batch_size']}, {rounds} rounds"
    ) + (f", minialex in {show_bytes(limit)}" if limit else "")


def check_file(path: Path | None) -> None:
    """Raise ConfigError where no file can be written; one that is there stays as it is."""
    if path:
        new = not path.exists()
        try:
            path.open("ab").close()
        except OSError as error:
            raise ConfigError(f"--json: {error.strerror}: {str(path)!r}") from None
        if new:
            path.unlink()


def save(rows: list[Row], path: Path | None) -> None:
    """The rows as JSON, where a file is asked for and there are any."""
    if path and rows:
        write_text(path, json.dumps(rows, indent=1) + "\n")
