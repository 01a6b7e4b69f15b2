"""ReLU's twin -- maxima with an array of zeros, and in place where nobody else needs the input.

NumPy takes four times longer for the maxima of an array and a number than for those of two arrays.
Backward multiplies the bits of dy by 0 or 1, as integers: as fast as dy * (y > 0), but a closed
unit gets 0 even where dy is infinite or not a number.

`accelerate` sets `inplace` where the ReLU stands between a layer that does not keep its own output
and one that makes its own dx: forward then overwrites x and backward dy, and saves a copy of each.
"""

import numpy as np

from minialex.layers import activations as page
from minialex.twin import Twin


class ReLU(Twin, page.ReLU, device="cpu"):
    def forward(self, x):
        y = np.maximum(x, np.zeros(x.shape[-2:], x.dtype), out=x if self.inplace else None)
        return y, y

    def backward(self, dy, y, grad):
        bits = dy.view(f"i{dy.itemsize}")
        dx = np.multiply(bits, ~(y <= 0), out=bits if self.inplace else None)
        return dy if self.inplace else dx.view(dy.dtype)
