"""Loss and accuracy by epoch as SVG, which is text, and a picture in every browser.

A chart is part of a page, of a notebook, or of the file that `picture` makes.  How it looks stands
in chart.css.
"""

import math

from minialex.page import CHART_STYLE, Html, element

Histories = dict[str, list[dict[str, float]]]  # by the name of a run, the rows of its history.csv

LEFT, RIGHT, TOP, BOTTOM = 44, 440, 28, 208  # the frame that holds the curves, in pixels
WIDTH, MARGIN = 460, 16
LEGEND, ROW = 268, 20  # where the first row of the legend stands, and how high a row is
COLUMNS = {"training": 0, "validation": 142, "name": 300}  # of the legend
PARTS = {"training": "train", "validation": "val"}
KINDS = {  # column, unit, forms of a value and of a number at the axis, what the axis has to show
    "loss": ("loss", 1, "{:.4g}", "{:g}", (0, 1e-3)),
    "accuracy": ("acc", 100, "{:.1f}%", "{:g}%", (90, 100))}  # fmt: skip
LARGEST, COLOURS = 1e99, 8  # of the values that are drawn; how many chart.css has


def picture(histories: Histories) -> str:
    """The text of an SVG file: the loss, and right of it the accuracy."""
    loss, accuracy = charts(histories)
    right = element("g", accuracy, transform=f"translate({WIDTH + MARGIN})")
    width, height = 2 * WIDTH + 3 * MARGIN, LEGEND + ROW * len(histories) + MARGIN
    size = {"width": width, "height": height, "viewBox": f"-{MARGIN} -{MARGIN} {width} {height}"}
    known = "http://www.w3.org/2000/svg"
    return element("svg", element("style", CHART_STYLE), loss, right, xmlns=known, **size)


def charts(histories: Histories) -> list[Html]:
    """The loss and the accuracy."""
    return [chart(what, histories) for what in KINDS]


def chart(what: str, histories: Histories) -> Html:
    """The "loss" or the "accuracy" of one run, or of several by their names.

    One end of the axis is what is perfect: a loss of 0, an accuracy of 100 %.  Values that are
    missing, or no numbers, are left out.
    """
    column, unit, form, mark, shown = KINDS[what]
    curves = dict[tuple[int, str], list[tuple[float, float]]]()
    for run, history in enumerate(histories.values()):
        for part, key in PARTS.items():
            every = [(row["epoch"], row.get(f"{key}_{column}", math.nan)) for row in history]
            curves[run, part] = [(x, unit * y) for x, y in every if abs(y) < LARGEST]
    last = max([1, *(x for some in curves.values() for x, _ in some)])
    heights = [*shown, *(y for some in curves.values() for _, y in some)]
    xs, ys = ticks(0, last, 1), ticks(min(heights), max(heights))

    def across(x: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * x / last, 1)

    def up(y: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (y - ys[0]) / (ys[-1] - ys[0]), 1)

    drawn = [text(0, 14, what, "what"), text((LEFT + RIGHT) / 2, BOTTOM + 36, "epoch", "x")]
    drawn += [text(across(x), BOTTOM + 18, f"{x:,g}", "x") for x in xs if x <= last]
    drawn += [text(LEFT - 8, up(y) + 4, mark.format(y), "y") for y in ys]
    drawn += [line(f"M{LEFT},{up(y)}H{RIGHT}", "grid") for y in ys]
    for (run, part), points in curves.items():
        kind, left, low = f"{part} run{run % COLOURS}", COLUMNS[part], LEGEND + ROW * run
        if places := [f"{across(x)},{up(y)}" for x, y in points]:
            drawn += [line("M" + "L".join(places), kind), line(f"M{places[-1]}h0", f"{kind} dot")]
            drawn += [line(f"M{left},{low - 4}h18", kind)]
            drawn += [text(left + 24, low, f"{part} {form.format(points[-1][1])}", "value")]
    several = len(histories) > 1
    for run, name in enumerate(histories if several else [f"epoch {last:,}"]):
        drawn += [text(COLUMNS["name"], LEGEND + ROW * run, shorter(name), "name")]
    height = LEGEND + ROW * len(histories) - 12
    return element("svg", *drawn, width=WIDTH, height=height, viewBox=f"0 0 {WIDTH} {height}",
        class_="chart several" if several else "chart", role="img",
        aria_label=f"{what} by epoch")  # fmt: skip


def ticks(low: float, high: float, least: float = 0) -> list[float]:
    """Round numbers, at least `least` apart, from `low` or below it to `high` or above it."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(least, next(k * power for k in (1, 2, 5, 10) if k * power >= rough))
    return [i * step for i in range(math.floor(low / step), math.ceil(high / step) + 1)]


def text(x: float, y: float, words: str, kind: str) -> Html:
    """Words that begin, end or have their middle at a place, by their kind in chart.css."""
    return element("text", words, x=x, y=y, class_=kind)


def line(path: str, kind: str) -> Html:
    """A line along a path."""
    return element("path", d=path, class_=kind)


def shorter(name: str) -> str:
    """A name of 22 letters at most, all of which XML allows."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= 22 else f"{name[:9]}…{name[-12:]}"
