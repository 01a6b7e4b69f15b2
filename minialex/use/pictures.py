"""Pictures: learning curves, by matplotlib; filters, and maps as colours over a photo."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from minialex.files import write_whole
from minialex.xp import Array, to_cpu


def plot_curves(histories: dict[str, list[dict[str, float]]], path: str | Path) -> None:
    """Draw loss and accuracy over the epochs into a PNG file.

    `histories` are the rows of history.csv of one run or several, by name; a run without validation
    has no line for it.  Of several runs, each has a colour, and training is dashed.  Raises
    ImportError where matplotlib is not installed (pip install 'minialex[plot]'), CheckpointError
    where the file cannot be written, ValueError for a name whose ending is no kind of picture.
    """
    from matplotlib.figure import Figure  # not pyplot: no window, no global state
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
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


def filter_pictures(weight: Array) -> list[Image.Image]:
    """The filters of a first layer, weight (K, K, 3, F), as in the paper's figure 3.

    Each filter is stretched to the full range of brightness; grey is a weight of zero.  The layer
    may look at grey images, too: (K, K, 1, F).
    """
    if weight.ndim != 4 or weight.shape[2] not in (1, 3):
        raise ValueError(f"filter_pictures: expected a weight (K, K, 3, F), got {weight.shape}")
    w = to_cpu(weight).transpose(3, 0, 1, 2)  # (F, K, K, 3)
    w = 0.5 + 0.5 * w / np.maximum(np.abs(w).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    return [Image.fromarray((255 * one).astype(np.uint8).repeat(3 // w.shape[3], 2)) for one in w]


def heat(values: np.ndarray) -> Image.Image:
    """A map (H, W) in colours: black for 0 or less, then red, yellow, and white for the largest."""
    v = np.clip(values / max(float(values.max()), 1e-12), 0, 1)[..., None]
    return Image.fromarray((np.clip(3 * v - np.arange(3), 0, 1) * 255).astype(np.uint8))


def overlay(photo: Image.Image, values: np.ndarray) -> Image.Image:
    """The photo in grey under a map (H, W) in the colours of `heat`."""
    colours = heat(values).resize(photo.size, Image.Resampling.BICUBIC)
    return Image.blend(photo.convert("L").convert("RGB"), colours, 0.5)


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
