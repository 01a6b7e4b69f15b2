"""LeakyReLU -- a ReLU that lets a little of what is negative through.

A ReLU that is negative for every image passes no gradient, so that nothing can bring it back: it is
dead (see activations.py).  With a small slope a, such as 0.01, the way back stays open:

    y = x where x > 0, else a x             dx = dy where x > 0, else a dy

Shapes     x, y, dx, dy all the same, of any shape: each number is treated by itself.

Where it comes from.  y is made of two straight lines, which meet at x = 0; the derivative of each
is its slope, 1 or a.  At x = 0 there are two, and by convention we take a, as for the ReLU, which
is the case a = 0.  y > 0 exactly where x > 0 if a is not negative, so y tells backward which line
it was, and x need not be kept.

For a = 0.1, x = (-2, 3) and dy = (10, 10): y = (-0.2, 3) and dx = (1, 10).

Reference: Maas, Hannun, Ng (2013), "Rectifier Nonlinearities Improve Neural Network Acoustic
Models": there it was as good as the ReLU, and not much better.
"""

from minialex.errors import check, is_number
from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.xp import get_xp


class LeakyReLU(Layer):
    """y = x where x > 0, else negative_slope * x; x may have any shape.

    Raises ValueError for a slope below 0.
    """

    per_image = True

    def __init__(self, negative_slope=0.01):
        super().__init__()
        rule = "LeakyReLU: negative_slope must be a number from 0 on"
        check(is_number(negative_slope), rule, negative_slope, ValueError)
        self.negative_slope = float(negative_slope)

    def forward(self, x):
        check_input(self, x)
        y = get_xp(x).where(x > 0, x, self.negative_slope * x)
        return y, y

    def backward(self, dy, y, grad):
        check_gradient(self, dy, y.shape, grad)
        return get_xp(dy).where(y > 0, dy, self.negative_slope * dy)

    def __repr__(self):
        return f"LeakyReLU({self.negative_slope:g})"
