"""The layers, a page each.

Read them in this order: layer, linear, activations, conv, pool, lrn, dropout, flatten, sequential.
Networks younger than AlexNet need leaky_relu, adaptive_pool and batch_norm as well; the program
that won in 2012, lrn_2d.
After activations, `losses.py` and `numerical_gradient.py`, one folder up, complete the picture.
"""

from minialex.layers.activations import ReLU, Sigmoid, Tanh
from minialex.layers.adaptive_pool import AdaptiveAvgPool2d, GlobalAvgPool2d
from minialex.layers.batch_norm import BatchNorm2d
from minialex.layers.conv import Conv2d
from minialex.layers.dropout import Dropout
from minialex.layers.flatten import Flatten
from minialex.layers.layer import Layer
from minialex.layers.leaky_relu import LeakyReLU
from minialex.layers.linear import Linear
from minialex.layers.lrn import LocalResponseNorm
from minialex.layers.lrn_2d import LocalResponseNorm2d
from minialex.layers.pool import AvgPool2d, MaxPool2d
from minialex.layers.sequential import Sequential

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "Conv2d", "Dropout", "Flatten",
    "GlobalAvgPool2d", "Layer", "LeakyReLU", "Linear", "LocalResponseNorm", "LocalResponseNorm2d",
    "MaxPool2d", "ReLU", "Sequential", "Sigmoid", "Tanh"]  # fmt: skip
