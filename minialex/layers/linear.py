"""Linear -- every output is a weighted sum of every input.

    forward    y  = x W + b            (N, F) = (N, D) (D, F)
    backward   dW = x^T dy             (D, F) = (D, N) (N, F)
               db = dy summed over N   (F,)
               dx = dy W^T             (N, D) = (N, F) (F, D)

Each line of the backward pass is the only product of the two known matrices whose shape fits; written with
indices, y[n,f] = sum over d of x[n,d] W[d,f] gives dL/dW[d,f] = sum over n of dy[n,f] x[n,d], and so on.

AlexNet's three Linear layers hold 94 % of its parameters and do 5 % of its multiply-adds (ungrouped,
1,000 classes).

Reference: He, Zhang, Ren, Sun (2015), "Delving Deep into Rectifiers", eq. 10: the initial weights.
"""

import math
from typing import Any

import numpy as np

from minialex.backend import Array
from minialex.fast.threads import product
from minialex.layers.layer import Layer, Params, Shape, check_shape


class Linear(Layer):
    """x (N, in_features) -> y (N, out_features).  Parameters: weight (in_features, out_features) and bias.

    `rng` draws the initial weights: normal, with standard deviation `std`, or He's sqrt(2/in_features) where
    none is given; the bias starts at 0.
    """

    torch_axes = {"weight": (1, 0)}  # noqa: RUF012 -- PyTorch: (F, D)

    def __init__(self, in_features: int, out_features: int, *, rng: np.random.Generator, std: float | None = None):
        super().__init__()
        if min(in_features, out_features) < 1:
            raise ValueError(f"Linear: sizes must be at least 1, got {in_features} and {out_features}")
        self.in_features, self.out_features = in_features, out_features
        weight = rng.standard_normal((in_features, out_features), dtype=np.float32)
        weight *= math.sqrt(2 / in_features) if std is None else std
        self.params = {"weight": weight, "bias": np.zeros(out_features, dtype=np.float32)}

    def forward(self, x: Array) -> tuple[Array, Any]:  # x (N, D)
        check_shape(self, x, ("N", self.in_features))
        y = product(x, self.params["weight"])  # (N, F)
        y += self.params["bias"]
        return y, x

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:  # dy (N, F)
        x = cache
        product(x.T, dy, out=grad["weight"])  # (D, F)
        dy.sum(axis=0, out=grad["bias"])
        return product(dy, self.params["weight"].T)  # (N, D)

    def output_shape(self, shape: Shape) -> Shape:
        return (self.out_features,)

    def multiply_adds(self, shape: Shape) -> int:
        return self.in_features * self.out_features

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features})"
