"""Sequential's twin on a GPU -- the whole batch at once, and ReLUs that their neighbours do.

A ReLU is two passes over memory for hardly any arithmetic.  Between a convolution and a layer that
can apply its derivative, it has neighbours that hold the same numbers anyway:

    forward     the convolution before it writes max(0, y) in place of y
    backward    the layer after it, whose x is that max(0, y), writes dx = 0 where x <= 0

The ReLU itself has nothing left to do.  Only within one Sequential is it known who stands beside
whom: so each layer is told in each call, and by itself it computes what its page says.
"""

from minialex.gpu import activations, conv, pool
from minialex.layers import sequential as page
from minialex.twin import Twin

KNOWS_THE_DERIVATIVE = (conv.Conv2d, pool.MaxPool2d)


class Sequential(Twin, page.Sequential, device="gpu"):
    form = "gpu: convolutions with their ReLUs"

    def forward(self, x):
        caches, joined = [], self.joined()
        for i, layer in enumerate(self.layers):
            x, cache = layer.forward(x, **told(i, i + 1, joined))
            caches.append(cache)
        return x, caches

    def backward(self, dy, caches, grad):
        joined = self.joined()
        for i, layer in reversed([*enumerate(self.layers)]):
            dy = layer.backward(dy, caches[i], grad.get(str(i), {}), **told(i, i - 1, joined))
        return dy

    def __call__(self, x):
        joined = self.joined()
        for i, layer in enumerate(self.layers):
            how = told(i, i + 1, joined)
            x = layer.forward(x, **how)[0] if how else layer(x)
        return x

    def joined(self):
        """The numbers of the ReLUs that their neighbours do."""
        kinds = [type(layer) for layer in self.layers]
        trios = enumerate(zip(kinds, kinds[1:], kinds[2:], strict=False), start=1)
        relu = conv.Conv2d, activations.ReLU
        return {i for i, trio in trios if trio[:2] == relu and trio[2] in KNOWS_THE_DERIVATIVE}


def told(i, beside, joined):
    """What layer i is told of the ReLUs that are `joined`, and of the one `beside` it."""
    return {"done": True} if i in joined else {"relu": True} if beside in joined else {}
