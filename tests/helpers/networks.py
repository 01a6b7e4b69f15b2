"""Three networks through the same `mx.fit`: a LeNet, a small VGG, and AlexNet a sixteenth as wide.

As a program, `python tests/helpers/networks.py NAME FOLDER`, it trains one of them into a folder,
or resumes that.  It prints a dot after each step and an E at the end, for whoever waits to kill it.
A third argument is the time to wait after each step, in seconds.
"""

import functools
import sys
import time

import minialex as mx
from device import DEVICE, has_gpu
from minialex.train.checkpoint import state_dict
from minialex.train.loop import Training
from minialex.train.screen import Bar, Silent

transforms = mx.transforms
CLASSES = ("cat", "dog")


def lenet():
    """28 x 28 pixels."""
    return mx.Sequential(
        mx.Conv2d(3, 6, 5, padding=2), mx.ReLU(), mx.MaxPool2d(2),
        mx.Conv2d(6, 16, 5), mx.ReLU(), mx.MaxPool2d(2),
        mx.Flatten(), mx.Linear(400, 32), mx.ReLU(), mx.Linear(32, 2),
    )  # fmt: skip


def vgg():
    """32 x 32 pixels, two blocks of two convolutions; Sequentials in Sequentials."""

    def block(C, F):
        return mx.Sequential(
            mx.Conv2d(C, F, 3, padding=1), mx.ReLU(),
            mx.Conv2d(F, F, 3, padding=1), mx.ReLU(), mx.MaxPool2d(2),
        )  # fmt: skip

    features = mx.Sequential(block(3, 8), block(8, 16))
    classifier = mx.Sequential(mx.Linear(1024, 32), mx.ReLU(), mx.Dropout(0.5), mx.Linear(32, 2))
    return mx.Sequential(features, mx.Flatten(), classifier)


def alexnet():
    """67 x 67 pixels."""
    return mx.AlexNet(2, width=1 / 16, image_size=67)


NETWORKS = {"lenet": (lenet, 28), "vgg": (vgg, 32), "alexnet": (alexnet, 67)}
# An emulated GPU is slow: there, the one with Dropout and with parts in parts stands for all.
TRIED = list(NETWORKS) if DEVICE == "cpu" else ["vgg"]
OPTIMIZERS = {
    "lenet": lambda model: mx.SGD(model, lr=0.01, weight_decay=1e-3),
    "vgg": lambda model: mx.Adam(model, lr=1e-3),
    "alexnet": lambda model: mx.Adam(model, lr=1e-3, weight_decay=0.01, decoupled=True),
}


class Pairs(list):
    """(image, label) pairs that know the names of their classes."""

    classes = CLASSES


def drawings(side, length=12, start=0):
    """Drawings with a few pixels more than a network takes."""
    return Pairs(drawn(side + 4, length, start))


@functools.cache
def drawn(size, length, start):
    """So that a process draws them only once."""
    return tuple(mx.Drawings(length, seed=3, size=size, start=start))


def loaders(name, dataset=None, batch_size=4, seed=0, length=12):
    """Batches for training, cropped and mirrored at random, and for validation."""
    side = NETWORKS[name][1]
    end = [transforms.ToArray(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
    start = [transforms.RandomCrop(side), transforms.RandomHorizontalFlip()]
    dataset = drawings(side, length) if dataset is None else dataset
    train = transforms.Compose([*start, *end])
    val = transforms.Compose([transforms.CenterCrop(side), *end])
    return (
        mx.DataLoader(dataset, batch_size, train, shuffle=True, seed=seed),
        mx.DataLoader(drawings(side, 6, 1000), 4, val),
    )


class Steps(Silent):
    """A screen that keeps the lines, and calls `after(n)` after step n of this fit, from 1 on."""

    def __init__(self, after=lambda step: None):
        self.after, self.lines, self.steps = after, [], 0

    def line(self, text):
        self.lines.append(text)

    def bar(self, name, images, done=0):
        bar = Bar()
        if name.startswith("epoch"):
            bar.update = self.step
        return bar

    def step(self, n, **values):
        self.steps += 1
        self.after(self.steps)


def training(name, run=None, *, model=None, optimizer=None, loader=None, after=None, **options):
    """A Training of the network `name`, as new, or of another `model` on its images."""
    if model is None:
        mx.seed(0)
        model = NETWORKS[name][0]()
    optimizer = (optimizer or OPTIMIZERS[name])(model)
    own, val = loaders(name)
    options = {"epochs": 2, "val": val, "device": DEVICE, **options}
    screen = Steps() if after is None else Steps(after)
    return Training(model, loader or own, optimizer, run=run, screen=screen, **options)


def rows(run):
    """The history without its clock."""
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in run.history]


def ends(run):
    """Train to the end; all that the model holds then, and the history."""
    run.train()
    return {name: array.tobytes() for name, array in state_dict(run.model).items()}, rows(run)


def stop(run, step):
    """Train until a Ctrl-C in step number `step` from now."""

    def ask(n):
        run.stop.asked = n >= step

    run.screen.after = ask
    try:
        run.train()
    except KeyboardInterrupt:
        return
    raise AssertionError("nobody asked it to stop")


def main(name, folder, pause=0):
    def dot(step):
        print(".", end="", flush=True)
        time.sleep(float(pause))

    options = {"epochs": 5, "schedule": "cosine", "warm_up": 2, "keep_last": True, "cache": True}
    if DEVICE == "gpu" and not has_gpu():  # see conftest.py: the emulated GPU is slow otherwise
        options["algorithm"] = "im2col"
    training(name, folder, after=dot, **options).train()
    print("E", end="", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
