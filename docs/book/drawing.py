"""What all pictures of the book share: paper, colours, and numbers worth keeping."""

import io
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

HERE = Path(__file__).parent
FOLDER = HERE.parent / "figures" / "book"
SEEN = HERE / "figures.json"
BLUE, ORANGE, GREEN, RED, GREY = "#1f4e9c", "#c4570b", "#1d7a3a", "#b01c2e", "#555555"


def new(width, height, rows=1, columns=1, **options):
    """A white figure of so many inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def save(figure, folder, name, colours=128):
    """Write a figure as a PNG of few colours, which makes it small."""
    memory = io.BytesIO()
    figure.savefig(memory, dpi=110)
    picture = Image.open(memory).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    picture.save(folder / f"{name}.png", optimize=True)


def note(numbers):
    """Keep numbers that a training here gave."""
    seen = json.loads(SEEN.read_text("utf-8")) if SEEN.exists() else {}
    seen.update(numbers)
    SEEN.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n", "utf-8")
