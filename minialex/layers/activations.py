"""ReLU, Tanh, Sigmoid -- a bend after each linear layer, without which two of them would equal one.

    ReLU      y = max(0, x)             dy/dx = 1 where x > 0, else 0
    Tanh      y = tanh(x)               dy/dx = 1 - y^2
    Sigmoid   y = 1 / (1 + exp(-x))     dy/dx = y (1 - y)

and in each case dx = dy * (dy/dx), number by number.  All three derivatives can be written with y alone, so
only y is kept.  Tanh and Sigmoid flatten out for large |x|: their derivative vanishes, and learning with it.
The ReLU does not, for positive x, which made AlexNet trainable; a four-layer network on CIFAR-10 reached 25 %
training error six times faster with it than with Tanh.  `examples/improvements/improvements.py relu` measures this claim.

At x = 0 the ReLU has no derivative; like everybody we take 0.

Reference: Krizhevsky, Sutskever, Hinton (2012), section 3.1 and figure 1; Nair, Hinton (2010), "Rectified Linear
Units Improve Restricted Boltzmann Machines".
"""

from typing import Any

import numpy as np

from minialex.backend import Array, Kernel, get_xp, plain_form
from minialex.layers.layer import Layer, Params, check_float

RELU_BACKWARD = Kernel("relu_backward", "T y, T dy", "T dx", "dx = dy * T(y > 0)")


class ReLU(Layer):
    """y = max(0, x), for x of any shape.

    With `inplace=True`, forward overwrites x and backward overwrites dy, which saves the memory and time of a
    copy.  That is safe where nobody else needs them: after a convolution or a linear layer in a Sequential.
    """

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Array) -> tuple[Array, Any]:
        check_float(self, x)
        xp = get_xp(x)
        # NumPy takes four times longer for the maxima of an array and a number than for those of two arrays.
        zero = np.zeros(x.shape[-2:], x.dtype) if xp is np else 0
        y = xp.maximum(x, zero, out=x if self.inplace else None)
        return y, y

    @plain_form
    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        y = cache
        return get_xp(y).multiply(dy, y > 0, out=dy if self.inplace else None)

    @backward.on_gpu
    def _backward_on_gpu(self, dy: Array, cache: Any, grad: Params) -> Array:
        dx = dy if self.inplace else get_xp(dy).empty_like(dy)
        RELU_BACKWARD(cache, dy, dx)
        return dx

    def __repr__(self) -> str:
        return "ReLU()"


class Tanh(Layer):
    """y = tanh(x), for x of any shape."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        check_float(self, x)
        y = get_xp(x).tanh(x)
        return y, y

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        y = cache
        return dy * (1 - y * y)

    def __repr__(self) -> str:
        return "Tanh()"


class Sigmoid(Layer):
    """y = 1/(1 + exp(-x)), for x of any shape; computed as (1 + tanh(x/2))/2, which cannot overflow."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        check_float(self, x)
        y = (1 + get_xp(x).tanh(x / 2)) / 2
        return y, y

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        y = cache
        return dy * (y * (1 - y))

    def __repr__(self) -> str:
        return "Sigmoid()"
