"""Linear -- every output is a weighted sum of every input.

One output is what textbooks call a neuron: it weighs all the evidence there is, and the weights are
what it learns.

    forward    y  = x W + b            (N, F) = (N, D) (D, F)
    backward   dW = x^T dy             (D, F) = (D, N) (N, F)
               db = dy summed over N   (F,)
               dx = dy W^T             (N, D) = (N, F) (F, D)

Shapes     N inputs of the batch | D in_features, numbers in | F out_features, numbers out

Where the backward pass comes from.  Write the product with indices,

    y[n,f] = b[f] + sum over d of x[n,d] W[d,f]

and ask which outputs one number touches; the chain rule adds up what L feels through each of them.

    W[d,f]  touches y[n,f] of every n, by x[n,d] each:
            dL/dW[d,f] = sum over n of x[n,d] dy[n,f]            which is (x^T dy)[d,f]
    b[f]    touches y[n,f] of every n, by 1 each:
            dL/db[f]   = sum over n of dy[n,f]
    x[n,d]  touches y[n,f] of every f, by W[d,f] each:
            dL/dx[n,d] = sum over f of dy[n,f] W[d,f]            which is (dy W^T)[n,d]

All images share W, so their derivatives are added: that is why there is a sum over n.

The initial weights (chapter 2 of the book derives them).  A sum of D independent terms has D times
the variance, the mean square, of one of them; so if D did not matter to the weights, signals would
grow or vanish from layer to layer.  Weights of mean 0 and variance 2/D keep them the same size
where a ReLU, which drops half of y, follows:

    mean of y^2 = D * 2/D * mean of x^2,     and half of that after the ReLU: the mean of x^2 again

AlexNet's three Linear layers hold 94 % of its parameters, and do 5 % of its multiplications (of the
form in one piece, "ungrouped", with 1,000 classes).

Reference: He, Zhang, Ren, Sun (2015), "Delving Deep into Rectifiers", eq. 10: the variance 2/D.
"""

import math

import numpy as np

from minialex.errors import check_sizes
from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.seeds import generator


class Linear(Layer):
    """x (N, in_features) -> y (N, out_features).  Parameters: weight (D, F) and bias (F,).

    With `bias=False` it has no bias, which a batch normalization after it would take away again.
    `rng`, a NumPy random generator (default: see seeds.py), draws the initial weights: normal, with
    standard deviation `std`, or He's sqrt(2/D) where none is given; the bias starts at 0.
    Raises ValueError for a size below 1.
    """

    per_image = True

    def __init__(self, in_features, out_features, *, bias=True, rng=None, std=None):
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features, self.bias = in_features, out_features, bool(bias)
        rng = generator("Linear", rng)
        weight = rng.standard_normal((in_features, out_features), dtype=np.float32)
        weight *= math.sqrt(2 / in_features) if std is None else std
        zeros = np.zeros(out_features, dtype=np.float32)
        self.params = {"weight": weight, "bias": zeros} if bias else {"weight": weight}

    def forward(self, x):  # x (N, D)
        check_input(self, x, ("N", self.in_features))
        return x @ self.params["weight"] + self.params.get("bias", 0), x  # y (N, F)

    def backward(self, dy, x, grad):  # dy (N, F); the cache is x
        check_gradient(self, dy, x.shape, grad)
        grad["weight"][...] = x.T @ dy  # (D, F)
        if self.bias:
            grad["bias"][...] = dy.sum(axis=0)
        return dy @ self.params["weight"].T  # dx (N, D)

    def output_shape(self, shape):
        return (self.out_features,)

    def __repr__(self):
        bias = "" if self.bias else ", bias=False"
        return f"Linear({self.in_features}, {self.out_features}{bias})"
