"""The tables of the book that are counted or measured: `python docs/book/tables.py` writes them.

Each stands in a chapter between <!-- table NAME --> and <!-- end -->.  A test compares.
"""

import argparse
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
for room in ("benchmarks", "examples"):
    if str(ROOT / room) not in sys.path:
        sys.path.append(str(ROOT / room))

import differences as experiment  # noqa: E402
from minialex.layers import Conv2d, Linear  # noqa: E402
from minialex.models import AlexNet  # noqa: E402
from paper_numbers import count  # noqa: E402

NUMBER = re.compile(r"([-+]?[\d,.]+( %| ± [\d.]+)?)?")  # or nothing
CLAIMS = {  # improvement: the starts of its rows in docs/improvements.md
    "ReLU": ("ReLU learns faster than tanh", "ReLU learns faster than sigmoid"),
    "overlapping max pooling": ("max pooling errs", "windows that overlap"),
    "LRN": ("LRN lowers",),
    "augmentation": ("crops and mirrors lower", "the colour shift lowers"),
    "GPUs": ("a GPU makes",),
    "dropout": ("dropout lowers",),
}


def rows(cells):
    """A Markdown table of rows, the first of which is its head."""
    head, *rest = ("| " + " | ".join(row) + " |" for row in cells)
    columns = zip(*cells[1:], strict=True)
    sides = ["---:" if all(map(NUMBER.fullmatch, column)) else "---" for column in columns]
    return "\n".join([head, "| " + " | ".join(sides) + " |", *rest])


def shapes():
    """AlexNet of 2012, layer by layer."""
    model = AlexNet(1000, "2012")
    weighted = [layer for _, layer in model.leaves() if layer.params]
    cells = [("layer", "window", "output", "parameters", "multiply-adds (million)", "sees")]
    numbers = count(model)
    for row, layer in zip(numbers, weighted, strict=True):
        window = "all to all"
        if isinstance(layer, Conv2d):
            K, S, P, G = layer.kernel_size, layer.stride, layer.padding, layer.groups
            window = f"{K} x {K}" + f", stride {S}" * (S > 1) + f", padding {P}" * (P > 0)
            window += ", 2 groups" * (G > 1)
        output = " x ".join(f"{n:,}" for n in row.shape)
        field = "all" if isinstance(layer, Linear) else f"{row.field} x {row.field}"
        products = f"{row.connections / 1e6:.1f}"
        cells.append((row.name, window, output, f"{row.parameters:,}", products, field))
    total = sum(row.parameters for row in numbers), sum(row.connections for row in numbers)
    cells.append(("all", "", "", f"{total[0]:,}", f"{total[1] / 1e6:.1f}", ""))
    return rows(cells)


def results():
    """What came out here for each improvement, a line each, from docs/improvements.md."""
    text = (ROOT / "docs" / "improvements.md").read_text("utf-8")
    seen = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in text.splitlines() if line.startswith("| ")]  # fmt: skip
    lines = [("improvement", "what came out here")]
    for name, starts in CLAIMS.items():
        parts = []
        for start in starts:
            [row] = [row for row in seen if row[0].startswith(start)]
            claim, with_it, without, difference, verdict = row
            claim = re.sub(r" \(`\w+`\)", "", re.sub(r"`\w+`; ", "", claim))
            difference = re.sub(r" \(ratio.*", "", difference)
            numbers = f" ({with_it} with, {without} without; {difference})" if with_it else ""
            parts.append(f"{claim}: **{verdict.partition(':')[0]}**{numbers}")
        lines.append((name, "; ".join(parts)))
    return rows(lines)


def differences():
    """What each difference between AlexNet's program and its paper is worth, of 70 trainings."""
    seen = json.loads((HERE / "differences.json").read_text("utf-8"))
    design = argparse.Namespace(**seen["design"], seeds=5)
    return experiment.table(seen["results"], seen["results"][0]["lr"], design).strip()


TABLES = {"shapes": shapes, "results": results, "differences": differences}


def filled(text):
    """A chapter with its tables as they are now."""
    for name in re.findall(r"<!-- table (\w+) -->", text):
        start, end = f"<!-- table {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(start)
        text = before + start + TABLES[name]() + "\n" + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.md")):
        text = path.read_text("utf-8")
        if filled(text) != text:
            path.write_text(filled(text), "utf-8")
            print(path)
