"""The pictures of the book: `python docs/book/figures.py` draws them all, in about five minutes.

    python docs/book/figures.py loss alexnet       only these two

`curves` and `layers` train small networks; what these did is written to docs/book/figures.json,
which the chapters quote.  Needs matplotlib.
"""

import io
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from PIL import Image

import minialex as mx
from minialex.data.colour import ColourShift, colour_statistics
from minialex.data.ten_crops import ten_crops
from minialex.transforms import (
    CenterCrop,
    Compose,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToArray,
)
from minialex.use.explain import Trace
from minialex.use.pictures import different

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


# -------------------------------------------------------------------- chapter 0: what learning is


def program():
    """The program of chapter 0, as it stands there."""
    text = (HERE / "00-what-learning-is.md").read_text("utf-8")
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def learn(numbers, animals, epochs):
    """What that program sees with other constants: theta, its data, and losses by epoch."""
    start = program().partition("for epoch")[0]
    start = start.replace("NUMBERS, ANIMALS = 2, 200", f"NUMBERS, ANIMALS = {numbers}, {animals}")
    names = {}
    exec(start, names)
    theta, loss = names["theta"], names["loss"]
    here, others = (names["x"], names["label"]), (names["x_val"], names["label_val"])
    losses = [(loss(theta, *here), loss(theta, *others))]
    for _ in range(epochs):
        for batch in names["rng"].permutation(animals).reshape(-1, 20):
            theta -= 0.2 * names["gradient"](theta, here[0][batch], here[1][batch])
        losses.append((loss(theta, *here), loss(theta, *others)))
    return theta, here, np.array(losses)


def draw_loss(folder, epochs=200):
    """The animals and the line found between them; the loss falling; and overfitting."""
    figure, (left, middle, right) = new(11, 3.5, 1, 3)
    theta, (x, label), losses = learn(2, 200, 6)
    for which, name, colour, marker in ((-1, "cat", ORANGE, "o"), (1, "dog", BLUE, "^")):
        part = x[label == which]
        left.scatter(*part.T, s=18, color=colour, marker=marker, label=name, alpha=0.8)
    line = np.array([-3.5, 4])
    left.plot(line, -(theta[0] * line + theta[2]) / theta[1], color="black")
    left.set(xlim=(-3.9, 4), ylim=(-3.9, 4), xlabel="first number", ylabel="second number")
    left.set_title("the line where the score is 0", fontsize=10)
    left.legend(loc="lower left", fontsize=8)
    middle.set_title("2 numbers, 200 animals", fontsize=10)
    right.set_title("20 numbers, 40 animals", fontsize=10)
    for axes, seen in ((middle, losses), (right, learn(20, 40, epochs)[2])):
        axes.plot(seen[:, 0], color=BLUE, label="training loss")
        axes.plot(seen[:, 1], color=ORANGE, linestyle="--", label="validation loss")
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, 0.72))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    best = int(learn(20, 40, epochs)[2][:, 1].argmin())
    right.axvline(best, color=GREY, linewidth=0.8)
    right.text(best + 4, 0.6, f"best: epoch {best}", color=GREY, fontsize=8)
    save(figure, folder, "loss")


# ------------------------------------------------------------------------ chapter 2: activations


def draw_activations(folder):
    """Three activations, their slopes, and what is left of a gradient after many of them."""
    figure, (left, middle, right) = new(11, 3.3, 1, 3)
    x = np.linspace(-4, 4, 401)
    s = 1 / (1 + np.exp(-x))
    shapes = (
        ("ReLU", np.maximum(0, x), (x > 0) * 1.0, BLUE, "-"),
        ("tanh", np.tanh(x), 1 - np.tanh(x) ** 2, ORANGE, "--"),
        ("sigmoid", s, s * (1 - s), GREEN, "-."),
    )
    for name, y, slope, colour, style in shapes:
        left.plot(x, y, style, color=colour, label=name)
        middle.plot(x, slope, style, color=colour, label=name)
    left.set(ylim=(-1.3, 3), xlabel="x", title="y")
    middle.set(ylim=(-0.05, 1.1), xlabel="x", title="slope dy/dx")
    depth = np.arange(9)
    right.semilogy(depth, 0.25**depth, "o-.", color=GREEN, label="sigmoid at its best: (1/4)^depth")
    right.semilogy(depth, 1.0**depth, "o-", color=BLUE, label="ReLU where x > 0")
    right.set(xlabel="depth (layers)", title="product of the slopes")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save(figure, folder, "activations")


# ------------------------------------------------------------------------ chapter 4: convolution


def grid(axes, numbers, at, colour=None, size=1.0, title="", marked=()):
    """A matrix as a grid of cells, its upper left corner at `at`."""
    left, top = at
    numbers = np.array(numbers)
    for i, row in enumerate(numbers):
        for j, v in enumerate(row):
            face = colour if (i, j) in marked else "white"
            cell = Rectangle((left + j * size, top - (i + 1) * size), size, size, fc=face, ec=GREY)
            axes.add_patch(cell)
            where = left + (j + 0.5) * size, top - (i + 0.5) * size
            axes.text(*where, f"{v:g}", ha="center", va="center", fontsize=10)
    axes.text(left + numbers.shape[1] * size / 2, top + 0.25, title, ha="center", fontsize=10)


def draw_convolution(folder):
    """The chapter's 3 x 3 image, its patches as rows, and the way back."""
    figure, axes = new(10, 3.6)
    x, w = np.arange(1, 10).reshape(3, 3), np.array([[1, 2], [3, 4]])
    patches = np.array([x[p : p + 2, q : q + 2].ravel() for p in (0, 1) for q in (0, 1)])
    light = "#cfe0f7"
    grid(axes, x, (0, 4), light, title="x", marked=[(0, 1), (0, 2), (1, 1), (1, 2)])
    grid(
        axes,
        patches,
        (5, 4.5),
        light,
        title="X: one patch a row",
        marked=[(1, j) for j in range(4)],
    )
    grid(axes, w.reshape(4, 1), (10.5, 4.5), title="w")
    grid(axes, (patches @ w.ravel())[:, None], (13, 4.5), light, title="y", marked=[(1, 0)])
    for text, at in (("im2col", (4, 3.2)), ("times", (9.75, 2.5)), ("=", (12.25, 2.5))):
        axes.text(*at, text, ha="center", va="center", fontsize=11)
    axes.add_patch(FancyArrowPatch((3.2, 2.8), (4.8, 2.8), arrowstyle="-|>", mutation_scale=14))
    counts = np.zeros((3, 3))
    for p in (0, 1):
        for q in (0, 1):
            counts[p : p + 2, q : q + 2] += 1
    grid(axes, counts, (16, 4), "#f9dcc4", title="copies of each pixel in X",
         marked=[(i, j) for i in range(3) for j in range(3) if counts[i, j] > 1])  # fmt: skip
    axes.text(
        17.5, 0.55, "col2im adds their\nderivatives up", ha="center", va="center", fontsize=10
    )
    axes.set(xlim=(-0.3, 19.4), ylim=(0, 5.3), aspect="equal")
    axes.axis("off")
    save(figure, folder, "convolution", 64)


# -------------------------------------------------------------------- chapter 7: reading curves


def lenet():
    """The small network of examples/loop_by_hand.py."""
    mx.seed(0)
    return mx.Sequential(
        mx.Conv2d(3, 16, 5), mx.ReLU(), mx.MaxPool2d(2),
        mx.Conv2d(16, 32, 5), mx.ReLU(), mx.MaxPool2d(2),
        mx.Flatten(), mx.Linear(512, 120), mx.ReLU(), mx.Linear(120, 2),
    )  # fmt: skip


RUNS = {  # name: drawings to learn from, mirrored or not, batch, Adam's learning rate, epochs
    "good": (3000, True, 50, 1e-3, 20),
    "overfitting": (300, False, 25, 2e-3, 30),
    "rate too high": (3000, True, 50, 3e-2, 20),
    "rate too low": (3000, True, 50, 5e-6, 20),
}


def four_runs(most_epochs, most):
    """The history of each of RUNS, with `most` drawings at most."""
    drawings = list(mx.Drawings(min(most, 3000), size=28))
    others = list(mx.Drawings(min(most, 500), size=28, start=3000))
    val = mx.DataLoader(others, batch_size=100)
    histories = {}
    for name, (count, mirrored, batch, lr, epochs) in RUNS.items():
        steps = [RandomHorizontalFlip(), ToArray()] if mirrored else [ToArray()]
        train = mx.DataLoader(drawings[:count], batch, Compose(steps), shuffle=True)
        model, epochs = lenet(), min(epochs, most_epochs)
        histories[name] = mx.fit(model, train, mx.Adam(model, lr=lr), epochs=epochs, val=val)
        histories[name][-1]["dead"] = dead(model, next(iter(val))[0])
    return histories


def dead(model, x):
    """How many filters of the first layer are 0 everywhere, after their ReLU, for all of x."""
    y = model.layers[0](x)
    return int((y <= 0).all(axis=(0, 1, 2)).sum())


def draw_curves(folder, epochs=30, most=3000):
    """Loss by epoch of four runs, one of which is as it should be."""
    histories = four_runs(epochs, most)
    figure, all_axes = new(11, 5.4, 2, 4, sharex="col")
    for (name, rows), axes in zip(histories.items(), all_axes.T, strict=True):
        at = [row["epoch"] for row in rows]
        for ax, what, top in ((axes[0], "loss", 1.1), (axes[1], "acc", 1.02)):
            ax.plot(at, [row[f"train_{what}"] for row in rows], color=BLUE, label="training")
            ax.plot(
                at, [row[f"val_{what}"] for row in rows], "--", color=ORANGE, label="validation"
            )
            ax.set_ylim(0 if what == "loss" else 0.45, top)
            ax.grid(alpha=0.3)
        axes[0].set_title(name, fontsize=10)
        axes[1].set_xlabel("epoch")
    all_axes[0, 0].set_ylabel("loss")
    all_axes[1, 0].set_ylabel("right answers")
    all_axes[0, 0].legend(fontsize=8)
    save(figure, folder, "curves")
    keys = "train_loss", "train_acc", "val_loss", "val_acc", "dead"
    seen = {name: {key: rows[-1][key] for key in keys} for name, rows in histories.items()}
    best = min(histories["overfitting"], key=lambda row: row["val_loss"])
    seen["best"] = {key: best[key] for key in ("epoch", "val_loss", "val_acc")}
    return seen


# ---------------------------------------------------------------------------- chapter 8: AlexNet


def box(axes, at, size, colour):
    """A block of maps: `size` = (depth, height, width) in the units of the drawing."""
    x, y = at
    d, h, w = size
    slant = 0.45
    front = [(x, y), (x + d, y), (x + d, y + h), (x, y + h)]
    top = [(x, y + h), (x + d, y + h), (x + d + w * slant, y + h + w * slant),
           (x + w * slant, y + h + w * slant)]  # fmt: skip
    side = [(x + d, y), (x + d + w * slant, y + w * slant),
            (x + d + w * slant, y + h + w * slant), (x + d, y + h)]  # fmt: skip
    for corners, shade in ((front, 1.0), (top, 0.85), (side, 0.7)):
        rgb = tuple(int(colour[i : i + 2], 16) / 255 * shade for i in (1, 3, 5))
        axes.add_patch(Polygon(corners, fc=rgb, ec="black", lw=0.7))


def stages():
    """(what makes it, shape) of the image, the maps and vectors of the network of 2012."""
    model = mx.AlexNet(1000, "2012")
    shape, found = model.input_shape, [("image", model.input_shape)]
    for _, layer in model.leaves():
        shape = layer.output_shape(shape)
        if isinstance(layer, mx.Conv2d):
            found.append(
                (f"{layer.kernel_size} x {layer.kernel_size}, stride {layer.stride}", shape)
            )
        elif isinstance(layer, mx.MaxPool2d):
            found.append(("max pool", shape))
        elif isinstance(layer, mx.Linear):
            found.append(("all to all", shape))
    return found


def draw_alexnet(folder):
    """The network of 2012 with its two towers, sides and depths to (the root's) scale."""
    figure, axes = new(11.5, 5.2)
    names = iter(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"))
    meets, x, centres = {"conv3", "fc6", "fc7", "fc8"}, 0.0, []
    for how, shape in stages():
        name = next(names) if how not in ("image", "max pool") else how
        towers = (0.0,) if name in ("image", "fc8") else (3.0, -3.0)
        if len(shape) == 3:
            side, depth = 0.19 * shape[0] ** 0.5, 0.09 * (shape[2] / len(towers)) ** 0.5
        else:
            side, depth = 0.028 * (shape[0] / len(towers)) ** 0.5, 0.22
        width = side if len(shape) == 3 else 0.15
        colour = "#dddddd" if name == "image" else "#9db8e0"
        colour = "#f3c59b" if name == "max pool" else colour
        colour = "#a7d3b0" if name.startswith("fc") else colour
        for y in towers:
            box(axes, (x, y - side / 2), (depth, side, width), colour)
            if name in meets and centres:
                for before in centres[-1][1]:
                    start = (centres[-1][0], before)
                    arrow = FancyArrowPatch(start, (x - 0.05, y), arrowstyle="-|>",
                                            mutation_scale=7, color=RED, lw=0.8)  # fmt: skip
                    axes.add_patch(arrow)
            elif centres:
                start = (centres[-1][0], centres[-1][1][-1 if y < 0 else 0])
                arrow = FancyArrowPatch(start, (x - 0.05, y), arrowstyle="-|>",
                                        mutation_scale=7, color="black", lw=0.8)  # fmt: skip
                axes.add_patch(arrow)
        middle = x + (depth + width * 0.45) / 2
        size = (
            " x ".join(map(str, shape[:2])) + f"\nx {shape[2]}"
            if len(shape) == 3
            else f"{shape[0]:,}"
        )
        axes.text(middle, 6.1, name, ha="center", fontsize=9, weight="bold")
        axes.text(middle, -5.75, size, ha="center", va="top", fontsize=8)
        if how not in ("image", "max pool", "all to all"):
            axes.text(middle, 5.65, how.replace(", stride 1", ""), ha="center", fontsize=8)
        centres.append((x + depth + width * 0.45 + 0.03, towers))
        x += depth + width * 0.45 + 0.8
    axes.text(0, 4.75, "tower 1, on the first GPU", fontsize=9, color=GREY)
    axes.text(0, -4.4, "tower 2, on the second", fontsize=9, color=GREY)
    axes.set(xlim=(-0.4, x), ylim=(-7, 6.7))
    axes.axis("off")
    save(figure, folder, "alexnet", 64)


TRAINED = dict(side=227, width=0.25, drawings=2400, epochs=3, val=300, test=500)


def trained_network(side, width, drawings, epochs, val, test):
    """AlexNet of 2012, smaller, trained on drawings; and what it reached."""
    began = time.perf_counter()
    model = mx.AlexNet(2, "2012", width=width, image_size=side)
    parts = (drawings, 0), (val, 10_000_000), (test, 20_000_000)
    train, val, test = (
        mx.DataLoader(mx.Drawings(n, size=side, start=at), 32, ToArray(), shuffle=not at)
        for n, at in parts
    )
    mx.fit(model, train, mx.Adam(model, lr=5e-4), epochs=epochs, val=val)
    seconds = time.perf_counter() - began
    accuracy = mx.evaluate(model, test)[1]
    return model, {"accuracy": accuracy, "seconds": seconds}


CHOSEN = 20_000_005  # the drawing that is followed


def draw_layers(folder, settings=TRAINED, columns=8):
    """One drawing on its way through all layers."""
    model, seen = trained_network(**settings)
    image, label = mx.Drawings(1, size=settings["side"], start=CHOSEN)[0]
    trace = Trace(model, ToArray()(image)[None])
    rows, names, conv = [], iter(("fc6", "fc7", "fc8")), 0
    for layer, y in zip(trace.layers, trace.outputs, strict=True):
        kind, y = type(layer).__name__, y[0]
        conv += isinstance(layer, mx.Conv2d)
        if kind == "ReLU" and y.ndim == 3:
            rows.append((f"conv{conv}, ReLU", y))
        elif kind in ("LocalResponseNorm", "MaxPool2d"):
            rows.append(("LRN" if kind[0] == "L" else "max pool", y))
        elif (kind == "ReLU" and y.ndim == 1) or (kind == "Linear" and len(y) == 2):
            rows.append((next(names), y))
    maps = [(name, y) for name, y in rows if y.ndim == 3]
    vectors = [(name, y) for name, y in rows if y.ndim == 1]
    p = np.exp(vectors[-1][1].astype(np.float64))
    p /= p.sum()
    figure = Figure(figsize=(9.2, 12.4), facecolor="white")
    FigureCanvasAgg(figure)
    high = 1 / (len(maps) + 3.6)
    axes = figure.add_axes((0.17, 1 - 1.75 * high, 0.14, 1.7 * high))
    axes.imshow(image)
    axes.axis("off")
    text = f"the image\n{settings['side']} x {settings['side']} x 3"
    figure.text(0.02, 1 - 0.9 * high, text, va="center", fontsize=9)
    answer = f"softmax:  cat {p[0]:.3f}   dog {p[1]:.3f}     (it is a {('cat', 'dog')[label]})"
    for r, (name, y) in enumerate(maps):
        bottom = 1 - (r + 2.75) * high
        H, W, C = y.shape
        figure.text(0.02, bottom + high * 0.5, f"{name}\n{H} x {W} x {C}", va="center", fontsize=9)
        if "conv" in name:  # the maps that the rows until the next convolution show as well
            chosen = different(y, columns)
        for k, c in enumerate(chosen):
            axes = figure.add_axes((0.17 + k * 0.103, bottom, 0.1, high * 0.95))
            axes.imshow(y[..., c], cmap="inferno", vmin=0, vmax=max(y[..., c].max(), 1e-9))
            axes.axis("off")
    for r, (name, y) in enumerate(vectors[:2]):
        bottom = 1 - (len(maps) + 2.35 + 0.5 * r) * high
        figure.text(
            0.02, bottom + 0.2 * high, f"{name}, ReLU\n{len(y):,} (sorted)", va="center", fontsize=9
        )
        axes = figure.add_axes((0.17, bottom, 0.823, high * 0.4))
        axes.imshow(np.sort(y)[::-1][None, :], cmap="inferno", aspect="auto")
        axes.axis("off")
    figure.text(0.17, 0.35 * high, f"fc8:  {vectors[-1][1].round(2)}      {answer}", fontsize=10)
    figure.text(0.02, 0.35 * high, "the answer", fontsize=9)
    save(figure, folder, "layers", 128)
    zeros = {name: float((y == 0).mean()) for name, y in vectors[:2]}
    return {**seen, "dog": float(p[1]), "zeros": zeros}


def draw_views(folder):
    """A drawing as training sees it, and the ten crops of a test."""
    image, _ = mx.Drawings(1, size=256, start=CHOSEN)[0]
    rng = np.random.default_rng(1)
    crops = Compose((Resize(256), RandomCrop(227), RandomHorizontalFlip(), ToArray()))
    statistics = colour_statistics(mx.Drawings(100, size=64), ToArray(), seed=0)
    shift = ColourShift(statistics["components"])
    loud = ColourShift(statistics["components"], std=0.6)
    rows = [
        ("random crops,\nhalf of them mirrored", [crops(image, rng) for _ in range(5)]),
        ("the same and the\ncolour shift", [shift(crops(image, rng), rng) for _ in range(5)]),
        ("six times that\nshift, to see it", [loud(crops(image, rng), rng) for _ in range(5)]),
    ]
    ten = ten_crops(image, Compose((Resize(256), CenterCrop(227), ToArray())))
    rows += [("ten crops", ten[0::2]), ("and their mirror\nimages", ten[1::2])]
    figure, all_axes = new(6.8, 5.6, len(rows), 6)
    for (name, pictures), axes in zip(rows, all_axes, strict=True):
        axes[0].text(0, 0.5, name, fontsize=9, va="center")
        axes[0].axis("off")
        for ax, picture in zip(axes[1:], pictures, strict=True):
            small = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8)).resize(
                (96, 96)
            )
            ax.imshow(np.asarray(small))
            ax.axis("off")
    save(figure, folder, "views", 80)


FAST = {
    "loss": draw_loss, "activations": draw_activations, "convolution": draw_convolution,
    "alexnet": draw_alexnet, "views": draw_views,
}  # fmt: skip
SLOW = {"curves": draw_curves, "layers": draw_layers}


def main(names):
    """Draw the pictures of these names, or all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or [*FAST, *SLOW]:
        numbers = (FAST | SLOW)[name](FOLDER)
        if numbers:
            note({name: numbers})
        print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
