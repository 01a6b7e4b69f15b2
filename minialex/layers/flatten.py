"""Flatten -- from maps to one long vector per image, for the Linear layers.

    y[n, c*H*W + h*W + w] = x[n,h,w,c]          (N, C*H*W) from (N, H, W, C)

Shapes     N images | H x W pixels | C channels

Each number of y is one of x, so backward moves dy back: dx[n,h,w,c] = dy[n, c*H*W + h*W + w].

The numbers could stay in the order in which they lie, (H, W, C).  We put the channels first because
PyTorch does: the Linear layer that follows then has its inputs in PyTorch's order, and weights can
be exchanged without knowing which Linear follows a Flatten.  In AlexNet that moves 9,216 numbers
per image, once.
"""

import math

from minialex.layers.layer import Layer, check_gradient, check_input


class Flatten(Layer):
    """x (N, H, W, C) -> y (N, C*H*W), channels first."""

    per_image = True

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1), x.shape

    def backward(self, dy, shape, grad):
        check_gradient(self, dy, shape, grad)
        N, H, W, C = shape
        return dy.reshape(N, C, H, W).transpose(0, 2, 3, 1).copy()

    def output_shape(self, shape):
        return (math.prod(shape),)
