"""minialex -- the real AlexNet in pure NumPy and CuPy, every gradient written by hand.

    import minialex as mx

    model = mx.Sequential(mx.Conv2d(3, 16, 5), mx.ReLU(), mx.MaxPool2d(2), mx.Flatten(), ...)
    mx.fit(model, loader, mx.Adam(model, lr=1e-3), epochs=5)

What follows is all that a program of yours needs; transforms are in `mx.transforms`, schedules of
the learning rate in `mx.optim`.
"""

from minialex import layers, optim, transforms
from minialex.attach import accelerate, plain
from minialex.data import DataLoader, Drawings, ImageFolder
from minialex.errors import MinialexError
from minialex.gradient_check import gradcheck
from minialex.layers import *  # noqa: F403 -- all that `layers.__all__` names
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

__version__ = "0.3.0"
__all__ = [
    "SGD", "Adam", "AlexNet", "DataLoader", "Drawings", "ImageFolder", "MinialexError", "Predictor",
    "__version__", "accelerate", "evaluate", "fit", "gradcheck", "layers", "load", "optim", "plain",
    "save", "seed", "softmax_cross_entropy", "summary", "transforms", "zeros_like"]  # fmt: skip
__all__ += layers.__all__


def __dir__() -> list[str]:
    return __all__
