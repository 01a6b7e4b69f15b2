"""Small networks as if they had been trained, in the folders of runs; and commands to ask them."""

import base64
import importlib
import io
import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from device import DEVICE
from minialex.data import CenterCrop, Compose, Normalize, Resize, ToArray
from minialex.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from minialex.train.config import Config
from minialex.train.model_file import save
from minialex.train.photos import open_images
from minialex.train.screen import Silent

TRANSFORM = Compose((Resize(20), CenterCrop(16), ToArray(), Normalize((0.5,) * 3, (0.25,) * 3)))
COLOURS = {"blue": (30, 60, 200), "red": (200, 60, 30)}


def lenet(classes=2, seed=0):
    """16 x 16 pixels, two convolutions in nested Sequentials, two Linear layers."""
    rng = np.random.default_rng(seed)
    return Sequential(
        Sequential(Conv2d(3, 12, 3, rng=rng), ReLU(), MaxPool2d(2)),
        Sequential(Sequential(Conv2d(12, 6, 3, rng=rng), ReLU()), Flatten()),
        Linear(150, 8, rng=rng), ReLU(), Linear(8, classes, rng=rng),
    )  # fmt: skip


def perceptron(classes=2):
    """The same images without a convolution."""
    rng = np.random.default_rng(1)
    return Sequential(
        Flatten(), Linear(768, 8, rng=rng), ReLU(), Linear(8, classes, rng=rng)
    )  # fmt: skip


def sees_red():
    """A network that gives each image of COLOURS its class."""
    model = Sequential(Conv2d(3, 1, 1), Flatten(), Linear(256, 2))
    model[0].params["weight"][0, 0, :, 0] = 1, 0, -1
    model[0].params["bias"][...] = 0
    model[2].params["weight"][...] = np.array([-0.02, 0.02], np.float32)
    return model


def make_run(folder, model, classes=("blue", "red"), transform=TRANSFORM, settings=None):
    """A run's folder with best.safetensors; where there are settings, its config and photos."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = None if classes is None else list(classes)
    save(folder / "best.safetensors", model, classes=classes, transform=transform)
    if settings is not None:
        (folder / "config.json").write_text(json.dumps(settings))
        if settings.get("data", "drawings") != "drawings":
            open_images(Config(**settings), None, Silent())[1].write(folder)
    return folder


def make_photos(folder, names=tuple(COLOURS), count=3):
    """folder/<class>/<number>.png, red or blue with some noise."""
    rng = np.random.default_rng(5)
    for name, colour in zip(names, COLOURS.values(), strict=False):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            noise = rng.integers(0, 50, (24, 30, 3), dtype=np.uint8)
            pixels = np.array(colour, np.uint8) + noise
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def command(name, *arguments, device=True):
    """The exit status of a command."""
    module = importlib.import_module(f"minialex.commands.{name}")
    more = ["--device", DEVICE] if device else []
    return module.main(module.parser().parse_args([*map(str, arguments), *more]))


class Page(HTMLParser):
    """An HTML page, all of whose elements have to be closed in order.

    opened     list[(name, attributes)]; what stood in each, without the elements in it, is in
               `texts`
    headings   the texts of all <h2>
    pictures   (pixels, text below it) of each <figure> of one picture
    """

    def __init__(self, path):
        super().__init__()
        self.opened, self.texts, self.stack = [], [], []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.stack == []
        self.headings = self.all_texts("h2")
        pictures = [self.opened[i][1]["src"] for i in self.all("img")]
        pictures = [base64.b64decode(data.partition(";base64,")[2]) for data in pictures]
        self.images = [np.asarray(Image.open(io.BytesIO(data))) for data in pictures]

    def handle_starttag(self, name, attributes):
        self.opened.append((name, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        self.texts.append("")
        if name not in ("img", "meta"):
            self.stack.append(len(self.opened) - 1)

    def handle_endtag(self, name):
        assert self.opened[self.stack.pop()][0] == name

    def handle_data(self, data):
        if self.stack:
            self.texts[self.stack[-1]] += data

    def all(self, name):
        """The numbers of all elements of a kind."""
        return [i for i, (kind, _) in enumerate(self.opened) if kind == name]

    def all_texts(self, name):
        """What stands in all elements of a kind."""
        return [self.texts[i] for i in self.all(name)]


def read_page(path):
    """The headings of a page of pictures; and its pictures, (pixels, text) each."""
    page = Page(path)
    return page.headings, list(zip(page.images, page.all_texts("figcaption"), strict=True))
