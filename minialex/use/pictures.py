"""Pictures: learning curves, filters, maps, grids of photos.  Only the curves need matplotlib."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minialex.xp import Array, to_cpu


def plot_curves(histories: dict[str, list[dict[str, float]]], path: str | Path) -> None:
    """Draw loss and accuracy over the epochs into a PNG file.

    `histories` are the rows of history.csv of one run or several, by name.  Of several runs, each
    has a colour, and training is dashed.  Raises ImportError where matplotlib is not installed
    (pip install 'minialex[plot]').
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no window, no global state
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "acc"), strict=True):
        for i, (name, history) in enumerate(histories.items()):
            epochs = [row["epoch"] for row in history]
            parts = (("training", "train", "--"), ("validation", "val", "-"))
            for k, (part, key, line) in enumerate(parts):
                values = [row[f"{key}_{what}"] for row in history]
                style, label = f"C{k}-", part
                if len(histories) > 1:
                    style, label = f"C{i}{line}", f"{name}, {part}"
                axes.plot(epochs, values, style, label=label, marker=".")
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy" if what == "acc" else "loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        if what == "acc":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.savefig(path, dpi=110)


def filter_sheet(weight: Array, scale: int = 4, columns: int | None = None) -> Image.Image:
    """The filters of a first layer, weight (K, K, 3, F), side by side, like the paper's figure 3.

    Each filter is stretched to the full range of brightness; grey is a weight of zero.
    """
    if weight.ndim != 4 or weight.shape[2] != 3:
        raise ValueError(f"filter_sheet: expected a weight (K, K, 3, F), got {weight.shape}")
    w = to_cpu(weight).transpose(3, 0, 1, 2)  # (F, K, K, 3)
    w = 0.5 + 0.5 * w / np.maximum(np.abs(w).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    F, K = w.shape[:2]
    columns = columns or math.ceil(math.sqrt(F * 2))
    cell = K * scale + 2
    sheet = Image.new("RGB", (columns * cell + 2, -(-F // columns) * cell + 2), "white")
    for f in range(F):
        pixels = Image.fromarray((w[f] * 255).astype(np.uint8))
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


def stack(pictures: list[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures one below the other, each under its line of text, if it has one."""
    gap = 6
    lines = [20 if text else 0 for text, _ in pictures]
    width = max(picture.width for _, picture in pictures) + 2 * gap
    height = sum(lines) + sum(picture.height + gap for _, picture in pictures) + gap
    sheet = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(sheet), gap
    for (text, picture), line in zip(pictures, lines, strict=True):
        draw.text((gap, top), text, fill="black", font=ImageFont.load_default(size=13))
        sheet.paste(picture, (gap, top + line))
        top += line + picture.height + gap
    return sheet


def picture_row(cells: list[tuple[Image.Image, str]], cell: int = 144) -> Image.Image:
    """Pictures side by side, each `cell` pixels wide and high, with its text below it, if any."""
    gap, line = 6, 18 if any(text for _, text in cells) else 0
    row = Image.new("RGB", (len(cells) * (cell + gap) - gap, cell + line), "white")
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(size=13)
    for c, (picture, text) in enumerate(cells):
        row.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), (c * (cell + gap), 0))
        draw.text((c * (cell + gap), cell + 1), text, fill="black", font=font)
    return row


def activation_sheet(
    photo: Image.Image, layers: list[np.ndarray], columns: int = 10
) -> Image.Image:
    """A photo, and the `columns` strongest of each layer's maps (H, W, C).

    Each map is scaled to its own maximum.
    """
    rows = [(f"the image: {photo.height} x {photo.width} pixels", picture_row([(photo, "")], 160))]
    for number, maps in enumerate(layers, start=1):
        H, W, C = maps.shape
        strongest = np.argsort(-maps.mean(axis=(0, 1)), kind="stable")[:columns]
        shown = f"the {len(strongest)} strongest of {C} channels"
        text = f"convolution {number}: {H} x {W} positions, {shown}"
        cells = [(map_picture(maps[..., c], (108, 108)), "") for c in strongest]
        rows.append((text, picture_row(cells, 108)))
    return stack(rows)
