"""Flatten -- from maps to one long vector per image, for the Linear layers.

    y[n, c*H*W + h*W + w] = x[n, h, w, c]          (N, C*H*W) from (N, H, W, C)

It only moves numbers, so backward moves them back.  They could stay in the order in which they lie, (H, W, C);
we put the channels first because PyTorch does.  The Linear layer that follows then has its inputs in PyTorch's
order, and weights can be exchanged without knowing which Linear follows a Flatten.  In AlexNet that copies
9,216 numbers an image, once.
"""

import math
from typing import Any

from minialex.backend import Array
from minialex.layers.layer import Layer, Params, Shape, check_shape


class Flatten(Layer):
    """x (N, H, W, C) -> y (N, C*H*W), channels first."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        check_shape(self, x, ("N", "H", "W", "C"))
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1), x.shape

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        N, H, W, C = cache
        # A contiguous copy, since the layer below runs over the channels innermost.
        return dy.reshape(N, C, H, W).transpose(0, 2, 3, 1).copy()

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def __repr__(self) -> str:
        return "Flatten()"
