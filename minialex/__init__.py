"""minialex -- the real AlexNet in pure NumPy and CuPy, every gradient written by hand.

    import minialex as mx

    model = mx.Sequential(mx.Conv2d(3, 16, 5), mx.ReLU(), mx.MaxPool2d(2), mx.Flatten(), ...)
    mx.fit(model, loader, mx.Adam(model, lr=1e-3), epochs=5)

What follows is all that a program of yours needs; transforms are in `mx.transforms`, schedules of
the learning rate in `mx.optim`.
"""

import minialex.startup  # noqa: F401 -- first
from minialex import layers, optim, transforms
from minialex.attach import accelerate, plain
from minialex.data import DataLoader, Drawings, ImageFolder
from minialex.errors import MinialexError
from minialex.gradient_check import gradcheck
from minialex.losses import softmax_cross_entropy
from minialex.models import AlexNet
from minialex.optim import SGD, Adam
from minialex.params import zeros_like
from minialex.seeds import seed
from minialex.train.evaluation import evaluate
from minialex.train.loop import fit
from minialex.train.model_file import load, save
from minialex.use.predict import Predictor
from minialex.use.summary import summary

# isort: off
from minialex.layers import (
    AvgPool2d, Conv2d, Dropout, Flatten, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU,
    Sequential, Sigmoid, Tanh)  # fmt: skip

__version__ = "0.8.2"
__all__ = [
    "SGD", "Adam", "AlexNet", "AvgPool2d", "Conv2d", "DataLoader", "Drawings", "Dropout", "Flatten",
    "ImageFolder", "Layer", "Linear", "LocalResponseNorm", "MaxPool2d", "MinialexError",
    "Predictor", "ReLU", "Sequential", "Sigmoid", "Tanh", "__version__", "accelerate", "evaluate",
    "fit", "gradcheck", "layers", "load", "optim", "plain", "save", "seed", "softmax_cross_entropy",
    "summary", "transforms", "zeros_like"]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
