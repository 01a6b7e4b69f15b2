"""ReLU, Tanh, Sigmoid -- a nonlinearity after each linear layer.

Without one, two linear layers would be no more than one: (x W1) W2 = x (W1 W2).

    ReLU      y = max(0, x)             dy/dx = 1 where x > 0, else 0
    Tanh      y = tanh(x)               dy/dx = 1 - y^2
    Sigmoid   y = 1 / (1 + exp(-x))     dy/dx = y (1 - y)

Shapes     x, y, dx, dy all the same: each number is treated by itself, and dx = dy * slope,
           the slope being the dy/dx above.

Where they come from.  Call the sigmoid s(x).  ds/dx = exp(-x) / (1 + exp(-x))^2, which is s times
exp(-x) / (1 + exp(-x)) = 1 - s.  Tanh is a sigmoid stretched and moved: y = tanh(x) = 2 s(2x) - 1,
so dy/dx = 4 s (1 - s) = (1 + y) (1 - y), with s taken at 2x.  All three derivatives can be written
with y alone, so only y is kept for backward.

Why AlexNet took the ReLU.  The backward pass multiplies one such derivative per layer.  Tanh and
Sigmoid flatten out for large |x|, where their derivative goes to 0; the Sigmoid's is at most 1/4
even at its best, at x = 0, so that five of them leave at most (1/4)^5, a thousandth, of a
gradient.  The ReLU's is 1 wherever x > 0.  The paper's four-layer network on CIFAR-10 (photos of 32
x 32 pixels in ten classes) reached 25 % training error six times faster with it than with Tanh
(figure 1).

What came out here, with a small AlexNet on drawings and Adam: Tanh was no slower than the ReLU (32
steps against 48, not decided), and the Sigmoid never left the 50 % of a guess.  Run it yourself
with `examples/improvements/improvements.py relu`; the numbers are in docs/improvements.md.

The price: a unit that is negative for every input gets no gradient and stays so, a "dead" ReLU.  At
x = 0 the ReLU has no derivative; by convention we take 0.  A closed unit passes 0 on whatever dy
is, an infinity or a NaN too; a NaN in x is in y as well, and passes dy.

The Sigmoid is computed with exp(-|x|), which cannot overflow: where x < 0, multiply numerator and
denominator of 1 / (1 + exp(-x)) by exp(x).

References: Krizhevsky, Sutskever, Hinton (2012), section 3.1 and figure 1; Nair, Hinton (2010),
"Rectified Linear Units Improve Restricted Boltzmann Machines".
"""

from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.xp import get_xp


class _Activation(Layer):
    """What the three share: they treat each number by itself, so x may have any shape."""

    per_image = True


class ReLU(_Activation):
    """y = max(0, x), for x of any shape."""

    def forward(self, x):
        check_input(self, x)
        y = get_xp(x).maximum(x, 0)
        return y, y

    def backward(self, dy, y, grad):
        check_gradient(self, dy, y.shape, grad)
        return get_xp(dy).where(y <= 0, 0, dy)


class Tanh(_Activation):
    """y = tanh(x), for x of any shape."""

    def forward(self, x):
        check_input(self, x)
        y = get_xp(x).tanh(x)
        return y, y

    def backward(self, dy, y, grad):
        check_gradient(self, dy, y.shape, grad)
        return dy * (1 - y * y)


class Sigmoid(_Activation):
    """y = 1/(1 + exp(-x)), for x of any shape."""

    def forward(self, x):
        check_input(self, x)
        xp = get_xp(x)
        e = xp.exp(-abs(x))
        y = xp.where(x < 0, e, 1) / (1 + e)
        return y, y

    def backward(self, dy, y, grad):
        check_gradient(self, dy, y.shape, grad)
        return dy * (y * (1 - y))
