"""Pictures of what a network does: learning curves and first-layer filters.  Needs matplotlib for the curves."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from minialex.backend import Array, to_cpu


def plot_curves(history: list[dict[str, float]], path: str | Path) -> None:
    """Draw loss and accuracy over the epochs of `history` (the rows of history.csv) into a PNG file.

    Raises ImportError where matplotlib is not installed (pip install 'minialex[plot]').
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no window, no global state
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "acc"), strict=True):
        for part, colour in (("train", "tab:blue"), ("val", "tab:orange")):
            values = [row[f"{part}_{what}"] for row in history]
            label = "training" if part == "train" else "validation"
            axes.plot(epochs, values, color=colour, label=label, marker="o", markersize=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy" if what == "acc" else "loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
        if what == "acc":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.savefig(path, dpi=110)


def filter_sheet(weight: Array, scale: int = 4, columns: int | None = None) -> Image.Image:
    """The filters of a first layer, weight (K, K, 3, F), side by side as a picture, like the paper's figure 3.

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
        tile = Image.fromarray((w[f] * 255).astype(np.uint8)).resize((K * scale,) * 2, Image.Resampling.NEAREST)
        sheet.paste(tile, (2 + f % columns * cell, 2 + f // columns * cell))
    return sheet
