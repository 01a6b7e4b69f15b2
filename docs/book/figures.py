"""The pictures of the book: `python docs/book/figures.py` draws them all, in ten minutes or less.

    python docs/book/figures.py loss alexnet       only these two

`curves` and `layers` train small networks; what these did is written to docs/book/figures.json,
which the chapters quote.  Needs matplotlib.
"""

import json
import re
import sys

import numpy as np
from alexnet_figures import draw_alexnet, draw_layers, draw_views
from drawing import BLUE, FOLDER, GREEN, GREY, HERE, ORANGE, new, note, save
from matplotlib.patches import FancyArrowPatch, Rectangle
from tables import experiment  # examples/differences.py

import minialex as mx
from minialex.train.recipes import KRIZHEVSKY
from minialex.transforms import Compose, RandomHorizontalFlip, ToArray

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


# ------------------------------------- chapter 10: as it was run, and what each difference is worth


def draw_on_photos(folder):
    """Right answers by epoch of the program's network and of the paper's, on photos."""
    seen = json.loads((HERE / "on_photos.json").read_text("utf-8"))
    figure, axes = new(8, 3.6)
    for part, style, colour in (("train", "-", BLUE), ("val", "--", ORANGE)):
        shares = seen["program"][part]
        name = {"train": "training", "val": "validation"}[part]
        axes.plot(range(1, len(shares) + 1), shares, style, color=colour, label=f"program, {name}")
    axes.plot(*zip(*seen["paper"], strict=True), "o:", ms=4, color=GREY, label="paper, validation")
    for at, *_ in KRIZHEVSKY:
        axes.axvline(91 * at, color=GREY, lw=0.6)
    axes.set(xlabel="epoch", ylabel="right answers", xlim=(0, 92))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    save(figure, folder, "on_photos")


def draw_differences(folder):
    """The differences between AlexNet's program and its paper, as they came out."""
    results = json.loads((HERE / "differences.json").read_text("utf-8"))["results"]
    experiment.picture(results, folder / "differences.png")


FAST = {
    "loss": draw_loss, "activations": draw_activations, "convolution": draw_convolution,
    "alexnet": draw_alexnet, "views": draw_views, "on_photos": draw_on_photos,
    "differences": draw_differences,
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
