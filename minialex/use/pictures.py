"""Pictures: learning curves, filters, maps, grids of photos.  Only the curves need matplotlib."""

import contextlib
import functools
import importlib
import io
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minialex.train.files import write_whole
from minialex.xp import Array, to_cpu

TEXT = 13  # pixels: the size of text
# Fonts with the letters that Pillow's own lacks, as they are called on Windows, macOS and Linux.
FONTS = (
    "msyh.ttc", "simsun.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Medium.ttc",
    "NotoSansCJK-Regular.ttc", "SourceHanSansCN-Regular.otf", "wqy-zenhei.ttc", "wqy-microhei.ttc",
    "uming.ttc", "malgun.ttf", "Arial Unicode.ttf", "DejaVuSans.ttf")  # fmt: skip


def plot_curves(histories: dict[str, list[dict[str, float]]], path: str | Path) -> None:
    """Draw loss and accuracy over the epochs into a PNG file.

    `histories` are the rows of history.csv of one run or several, by name; a run without validation
    has no line for it.  Of several runs, each has a colour, and training is dashed.  Raises
    ImportError where matplotlib is not installed (pip install 'minialex[plot]'), CheckpointError
    where the file cannot be written, ValueError for a name whose ending is no kind of picture.
    """
    if "matplotlib" not in sys.modules and "MPLBACKEND" in os.environ:
        backend = os.environ.pop("MPLBACKEND")  # a notebook's, say: if it is not installed here,
        try:  # the import would fail, and not only the window that it stands for
            matplotlib = importlib.import_module("matplotlib")
        finally:
            os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no window, no global state
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "acc"), strict=True):
        for i, (name, history) in enumerate(histories.items()):
            epochs = [row["epoch"] for row in history]
            for k, (part, key) in enumerate((("training", "train"), ("validation", "val"))):
                values = [row[f"{key}_{what}"] for row in history if f"{key}_{what}" in row]
                several = f"C{i}{('--', '-')[k]}", f"{name}, {part}"
                style, label = several if len(histories) > 1 else (f"C{k}-", part)
                if values:
                    axes.plot(epochs, values, style, label=label, marker=".")
        axes.set(xlabel="epoch", ylabel="accuracy" if what == "acc" else "loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        if what == "acc":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format=Path(path).suffix[1:] or "png")
    write_whole(path, [picture.getvalue()])


def filter_sheet(weight: Array, scale: int = 4, columns: int | None = None) -> Image.Image:
    """The filters of a first layer, weight (K, K, 3, F), side by side, like the paper's figure 3.

    Each filter is stretched to the full range of brightness; grey is a weight of zero.  The layer
    may look at grey images, too: (K, K, 1, F).
    """
    if weight.ndim != 4 or weight.shape[2] not in (1, 3):
        raise ValueError(f"filter_sheet: expected a weight (K, K, 3, F), got {weight.shape}")
    w = to_cpu(weight).transpose(3, 0, 1, 2)  # (F, K, K, 3)
    w = 0.5 + 0.5 * w / np.maximum(np.abs(w).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    F, K = w.shape[:2]
    columns = columns or math.ceil(math.sqrt(F * 2))
    cell = K * scale + 2
    sheet = Image.new("RGB", (columns * cell + 2, -(-F // columns) * cell + 2), "white")
    for f in range(F):
        pixels = Image.fromarray((w[f] * 255).astype(np.uint8).repeat(3 // w.shape[3], axis=2))
        tile = pixels.resize((K * scale,) * 2, Image.Resampling.NEAREST)
        sheet.paste(tile, (2 + f % columns * cell, 2 + f // columns * cell))
    return sheet


def heat(values: np.ndarray) -> np.ndarray:
    """Values (H, W) as colours (H, W, 3), uint8: black for 0 or less, then red, yellow, white."""
    v = np.clip(values / max(float(values.max()), 1e-12), 0, 1)[..., None]
    return (np.clip(3 * v - np.arange(3), 0, 1) * 255).astype(np.uint8)


def map_picture(values: np.ndarray, size: tuple[int, int], smooth: bool = False) -> Image.Image:
    """A map (H, W) in the colours of `heat`, enlarged to `size` (width, height)."""
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.BOX
    enlarged = Image.fromarray(values.astype(np.float32)).resize(size, how)
    return Image.fromarray(heat(np.asarray(enlarged)))


def overlay(photo: Image.Image, values: np.ndarray) -> Image.Image:
    """The photo in grey under a map (H, W) in the colours of `heat`."""
    colours = map_picture(values, photo.size, smooth=True)
    return Image.blend(photo.convert("L").convert("RGB"), colours, 0.5)


@functools.cache
def fonts() -> list[ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Pillow's own font, and those of FONTS that this machine has."""
    found = [ImageFont.load_default(size=TEXT)]
    for name in FONTS:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, TEXT))
    return found


@functools.cache
def font_for(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    """The first font that has all letters of `text`; None where there is none."""

    def drawn(font: Any, letter: str) -> tuple[Any, bytes]:
        mask = font.getmask(letter)
        return mask.size, bytes(mask)

    for font in fonts():
        lacking = drawn(font, "\uffff")  # no letter: most fonts draw a box for it
        if all(c.isspace() or c.isascii() or drawn(font, c) != lacking for c in text):
            return font
    return None


def write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int) -> None:
    """Write `text` at a place of a drawing, its lines cut to `width` pixels.

    Letters that no font of this machine has are written as \\u and their number, not as boxes.
    """
    for number, line in enumerate(text.split("\n")):
        if font_for(line) is None:
            line = line.encode("ascii", "backslashreplace").decode()
        font, shown = font_for(line), line
        while shown and draw.textlength(shown, font) > width:
            line = line[:-1]
            shown = line + "..."
        draw.text((at[0], at[1] + number * (TEXT + 5)), shown, fill="black", font=font)


def stack(pictures: list[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures one below the other, each under its line of text, if it has one."""
    gap = 6
    width = max(picture.width for _, picture in pictures)
    height = sum(20 * bool(text) + picture.height + gap for text, picture in pictures)
    sheet = Image.new("RGB", (width + 2 * gap, height + gap), "white")
    draw, top = ImageDraw.Draw(sheet), gap
    for text, picture in pictures:
        write(draw, (gap, top), text, width)
        top += 20 * bool(text)
        sheet.paste(picture, (gap, top))
        top += picture.height + gap
    return sheet


def picture_row(cells: list[tuple[Image.Image, str]], cell: int = 144) -> Image.Image:
    """Pictures side by side, each `cell` pixels wide and high, with its text below it, if any."""
    gap, lines = 6, max(text.count("\n") + 1 if text else 0 for _, text in cells)
    size = len(cells) * (cell + gap) - gap, cell + lines * (TEXT + 5)
    row = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(row)
    for c, (picture, text) in enumerate(cells):
        row.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), (c * (cell + gap), 0))
        write(draw, (c * (cell + gap), cell + 1), text, cell)
    return row


def different(maps: np.ndarray, count: int) -> list[int]:
    """The numbers of `count` channels of maps (H, W, C) that are strong, and unlike each other.

    Many channels see the same edges.  The strongest comes first; then, each time, the one whose
    strength times (1 - its largest correlation with those chosen) is largest.
    """
    flat = np.maximum(maps, 0).reshape(-1, maps.shape[2]).astype(np.float64)
    strength = flat.mean(axis=0)
    flat = flat - strength
    flat /= np.maximum(np.sqrt((flat**2).sum(axis=0)), 1e-12)
    likeness, chosen = np.zeros(len(strength)), list[int]()
    for _ in range(min(count, len(strength))):
        score = strength * (1 - likeness)
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        likeness = np.maximum(likeness, flat[:, chosen[-1]] @ flat)
    return chosen


def activation_sheet(photo: Image.Image, layers: list[np.ndarray], columns: int = 10
) -> Image.Image:  # fmt: skip
    """A photo, and of each layer's maps (H, W, C) `columns` that `different` chooses.

    Each map is scaled to its own maximum.
    """
    rows = [(f"the image: {photo.height} x {photo.width} pixels", picture_row([(photo, "")], 160))]
    for number, maps in enumerate(layers, start=1):
        H, W, C = maps.shape
        chosen = different(maps, columns)
        shown = f"{len(chosen)} of {C} channels, strong and unlike each other"
        text = f"convolution {number}: {H} x {W} positions; {shown}"
        cells = [(map_picture(maps[..., c], (108, 108)), "") for c in chosen]
        rows.append((text, picture_row(cells, 108)))
    return stack(rows)
