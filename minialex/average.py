"""average -- an average of the weights over the steps, which is often better than the last of them.

Near the end, steps of stochastic gradient descent jump about a good place more than they approach
it: each follows a batch of its own.  The mean of the places is nearer to the middle than each of
them.  Of all means of theta_1, theta_2 ... we take the one that needs one vector and forgets the
beginning, the exponential moving average:

    a += (1 - d) (theta - a)            after each step; d is the decay, such as 0.999

    = (1 - d) (theta_t + d theta_{t-1} + d^2 theta_{t-2} + ...) + d^t a_0

The weights of the last 1/(1-d) steps, 1,000 for d = 0.999, make up most of it.  a_0 is theta when
the average is made, so in a run that is not much longer than that it still holds first weights:
take a smaller d there, or make the average after some epochs.

    average = EMA(model, 0.999)
    ...
        optimizer.step()
        average.update()                             after each step
    with average:                                    inside, the model has the averaged weights
        loss, accuracy = mx.evaluate(model, val)

Shapes     theta, a (P,) for P parameters, see params.py

Training does not see the average.  Buffers (see layer.py), such as running means of numbers, are
averages already: the model keeps its own.

References: Polyak, Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging";
Tarvainen, Valpola (2017), "Mean teachers are better role models": the exponential one.
"""

from minialex.errors import check, is_number
from minialex.layers.layer import Layer
from minialex.optimizer import like
from minialex.params import flatten


class EMA:
    """The exponential moving average of the parameters of `model`: `update()` after each step.

    In a block `with average:` the model has the averaged weights, and afterwards its own again.
    It follows a model that is moved to another device or dtype.
    Raises ConfigError for a decay outside [0, 1), TypeError for anything but a model, RuntimeError
    for an update inside that block.
    """

    def __init__(self, model, decay=0.999):
        if not isinstance(model, Layer):
            raise TypeError(f"EMA: expected a model, got {type(model).__name__}")
        check(is_number(decay, 0, 1), "decay must be at least 0 and below 1", decay)
        self.model, self.decay, self.swapped = model, float(decay), False
        self.average = flatten(model).copy()

    def update(self):
        """Let the average move towards the weights as they are now."""
        if self.swapped:
            raise RuntimeError("EMA: the model has the averaged weights now; update it outside")
        theta = flatten(self.model)
        self.average = like(theta, self.average)
        self.average += (1 - self.decay) * (theta - self.average)

    def swap(self):
        """Exchange the weights of the model with the average, or back."""
        theta = flatten(self.model)
        self.average, theta[...] = theta.copy(), like(theta, self.average)
        self.swapped = not self.swapped

    def __enter__(self):
        self.swap()
        return self.model

    def __exit__(self, *_):
        self.swap()
