"""Linear's twin -- the weights, far larger than the activations, dealt out to the threads.

Each of the page's three products is dealt out by rows of its larger matrix (`threads.product`), so
that a thread reads its own part of the weights and all of the activations; and it writes where the
result has to be, where the page makes a new array and copies it.

The weights of a large layer are cut into SLICES of whole rows.  With s the inputs of one slice,

    forward    y = x[:, s1] W[s1] + x[:, s2] W[s2] + ...          added in this order
    backward   dW[s] = x[:, s]^T dy        dx[:, s] = dy W[s]^T

Each term is a product of its own, and the slices depend on nothing but D.  So it makes no
difference to a single bit who computes which of them: one thread, several, or processes on several
machines, of which each has some of the slices (see train/slices.py).
"""

import numpy as np

from minialex.fast.threads import map_threads, pieces, product
from minialex.layers import linear as page
from minialex.layers.layer import check_input
from minialex.twin import Twin

SLICES = 8
LEAST = 1000  # inputs, and outputs, of a layer that is cut


class Linear(Twin, page.Linear, device="cpu"):
    form = "fast: weights dealt out to threads"

    def forward(self, x):  # x (N, D)
        check_input(self, x, ("N", self.in_features))
        weight = self.params["weight"]
        if own := slices(weight):
            y = np.ascontiguousarray(terms(x, weight, own).sum(axis=0).T)  # added in order
        else:
            y = product(x, weight)  # (N, F)
        if self.bias:
            y += self.params["bias"]
        return y, x

    def backward(self, dy, x, grad):  # dy (N, F)
        weight = self.params["weight"]
        if self.bias:
            dy.sum(axis=0, out=grad["bias"])
        if own := slices(weight):
            dx = gradients(dy, x, weight, grad["weight"], own, self.input_grad)
            return None if dx is None else np.ascontiguousarray(dx.T)
        product(x.T, dy, out=grad["weight"])  # (D, F)
        return product(dy, weight.T) if self.input_grad else None  # (N, D)


def slices(weight):
    """The slices of the weights (D, F) of a large layer; none of those of a small one."""
    return pieces(len(weight), SLICES) if min(weight.shape) >= LEAST else []


def terms(x, weight, own):
    """The terms of y that are of the slices `own`, each transposed: (n, F, N)."""
    found = np.empty((len(own), weight.shape[1], len(x)), x.dtype)

    def run(k):
        np.matmul(weight[own[k]].T, x.T[own[k]], out=found[k])

    map_threads(run, range(len(own)))
    return found


def gradients(dy, x, weight, dweight, own, input_grad=True):
    """dx of the slices `own`, which lie side by side, transposed: their rows (D', N).

    Writes their rows of dW into `dweight`, and leaves the others as they are.  Without
    `input_grad` there is no dx.
    """
    first, end = (own[0].start, own[-1].stop) if own else (0, 0)
    dx = np.empty((end - first, len(x)), x.dtype) if input_grad else None

    def run(rows):
        np.matmul(x.T[rows], dy, out=dweight[rows])
        if dx is not None:
            np.matmul(weight[rows], dy.T, out=dx[rows.start - first : rows.stop - first])

    map_threads(run, own)
    return dx
