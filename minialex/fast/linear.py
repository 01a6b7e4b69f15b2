"""Linear's twin -- the weights, far larger than the activations, dealt out to the threads.

Each of the page's three products is dealt out by rows of its larger matrix (`threads.product`), so
that a thread reads its own part of the weights and all of the activations; and it writes where the
result has to be, where the page makes a new array and copies it.
"""

from minialex.fast.threads import product
from minialex.layers import linear as page
from minialex.layers.layer import check_input
from minialex.params import Params
from minialex.twin import Twin
from minialex.xp import Array


class Linear(Twin, page.Linear, device="cpu"):
    form = "fast: weights dealt out to threads"
    input_grad = True  # False: backward returns None, see Conv2d's twin

    def forward(self, x: Array) -> tuple[Array, Array]:  # x (N, D)
        check_input(self, x, ("N", self.in_features))
        y = product(x, self.params["weight"])  # (N, F)
        if self.bias:
            y += self.params["bias"]
        return y, x

    def backward(self, dy: Array, x: Array, grad: Params) -> Array | None:  # dy (N, F)
        product(x.T, dy, out=grad["weight"])  # (D, F)
        if self.bias:
            dy.sum(axis=0, out=grad["bias"])
        return product(dy, self.params["weight"].T) if self.input_grad else None  # (N, D)
