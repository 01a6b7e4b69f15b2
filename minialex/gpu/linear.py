"""Linear's twin on a GPU -- products written where the page copies them."""

from minialex.layers import linear as page
from minialex.layers.layer import check_input
from minialex.twin import Twin
from minialex.xp import get_xp


class Linear(Twin, page.Linear, device="gpu"):
    form = "gpu: cuBLAS"

    def forward(self, x):  # x (N, D)
        check_input(self, x, ("N", self.in_features))
        y = get_xp(x).matmul(x, self.params["weight"])  # (N, F)
        if self.bias:
            y += self.params["bias"]
        return y, x

    def backward(self, dy, x, grad):  # dy (N, F)
        get_xp(x).matmul(x.T, dy, out=grad["weight"])  # (D, F)
        if self.bias:
            dy.sum(axis=0, out=grad["bias"])
        return get_xp(x).matmul(dy, self.params["weight"].T) if self.input_grad else None  # (N, D)
