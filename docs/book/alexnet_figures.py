"""The pictures of chapter 8, AlexNet, which `figures.py` draws with the others."""

import numpy as np
from drawing import GREY, RED, new, save
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon
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
    model = mx.AlexNet(2, "2012", width=width, image_size=side)
    parts = (drawings, 0), (val, 10_000_000), (test, 20_000_000)
    train, val, test = (
        mx.DataLoader(mx.Drawings(n, size=side, start=at), 32, ToArray(), shuffle=not at)
        for n, at in parts
    )
    mx.fit(model, train, mx.Adam(model, lr=5e-4), epochs=epochs, val=val)
    return model, mx.evaluate(model, test)[1]


CHOSEN = 20_000_005  # the drawing that is followed


def draw_layers(folder, settings=TRAINED, columns=8):
    """One drawing on its way through all layers."""
    model, accuracy = trained_network(**settings)
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
    return {"accuracy": accuracy, "dog": float(p[1]), "zeros": zeros}


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
