"""Small networks as if they had been trained, in the folders of runs; and commands to ask them."""

import base64
import importlib
import io
import json
import re

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


def read_page(path):
    """The headings of a page of pictures; and its pictures, (pixels, text) each."""
    page = path.read_text("utf-8")
    form = (
        r"<figure><img src='data:image/png;base64,([^']+)'><figcaption>(.*)</figcaption></figure>"
    )
    found = [(Image.open(io.BytesIO(base64.b64decode(data))), text)
             for data, text in re.findall(form, page)]  # fmt: skip
    pictures = [(np.asarray(picture), text) for picture, text in found]
    return re.findall("<h2>(.*)</h2>", page), pictures
