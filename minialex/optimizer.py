"""optimizer -- what all optimizers share: whose parameters they move, and where the gradient is.

    optimizer = Adam(model, lr=1e-3)                    moves the parameters into one vector theta
    model.backward(dlogits, cache, optimizer.grad)      writes the gradient, which is one vector g
    optimizer.step()                                    changes theta, and so the parameters

The formulas are on the page `optim.py`.  Here is the bookkeeping.  The parameters of the model are
views of theta (see `params.py`).  They no longer are once somebody moves the model to a GPU, gives
it another dtype, or puts an array of their own into `params`: an optimizer that did not notice
would move a vector that nobody reads.  So it looks before each step, and follows.
"""

import operator

from minialex.errors import ConfigError, is_number
from minialex.layers.layer import Layer
from minialex.params import dict_like, flatten, named_arrays
from minialex.xp import get_xp, to_device


class Optimizer:
    """Base: `step()` updates the parameters of `model` in place, against the gradient in `grad`.

    `theta` and `g` are these as vectors (g once `grad` was asked for), `state` holds the vectors
    that a checkpoint must keep, `t` is the number of steps made.  In place of a model it takes a
    vector theta (P,) of your own.  You may move the model, change its dtype or assign to its
    `params` afterwards: the optimizer follows.
    Raises ConfigError for a negative lr or weight decay, TypeError for anything but a model.
    """

    def __init__(self, model, lr, weight_decay, state):
        for what, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not is_number(value):
                raise ConfigError(f"{what} must be a number of 0 or more, got {value!r}")
        if not (isinstance(model, Layer) or hasattr(model, "dtype")):
            name, found = type(self).__name__, type(model).__name__
            raise TypeError(f"{name}: expected a model, as in {name}(model, lr={lr}), got {found}")
        self.model, self.lr, self.weight_decay, self.t = model, lr, weight_decay, 0
        self.theta = flatten(model) if isinstance(model, Layer) else model
        self.state = {name: get_xp(self.theta).zeros_like(self.theta) for name in state}
        self.g, self._grad, self._views = None, {}, []  # made when they are asked for

    @property
    def grad(self):
        """The gradient as a nested dictionary like `model.params`: backward writes into it."""
        self.follow()
        return self._grad

    def follow(self):
        """Take over the parameters as they are now, where this is not how it left them."""
        if not isinstance(self.model, Layer):
            return
        now = [owner[key] for owner, key, _ in named_arrays(self.model.params)]
        ours = len(now) == len(self._views) and all(map(operator.is_, now, self._views))
        if ours and now[0].base is self.theta:  # which a copy of model and optimizer breaks
            return
        old, theta = self.theta, flatten(self.model)
        if old.shape != theta.shape:
            sizes = f"had {old.size:,} parameters and has {theta.size:,} now"
            raise ValueError(f"{type(self).__name__}: the model {sizes}; make a new optimizer")
        self.theta = theta
        self.state = {name: like(self.theta, vector) for name, vector in self.state.items()}
        self.g = get_xp(theta).zeros_like(theta) if self.g is None else like(theta, self.g)
        self._grad.update(dict_like(self.model.params, self.g))
        self._views = [owner[key] for owner, key, _ in named_arrays(self.model.params)]

    def step(self, g=None, lr=None):
        """One step against the gradient in `grad`, at `lr` or else at the one given at first.

        A vector g (P,) in its place is left as it is.  Raises ValueError where it does not fit.
        """
        self.follow()
        for own, key, name in named_arrays(self._grad):
            if g is None and getattr(own[key], "base", None) is not self.g:
                what = f"backward put another array in place of grad's {name}"
                raise ValueError(f"{what}; write into it, as in grad[{key!r}][...] = ...")
        g = self.g if g is None else g
        if getattr(g, "shape", None) != self.theta.shape or g.dtype != self.theta.dtype:
            found = f"{g.shape} of {g.dtype}" if hasattr(g, "dtype") else type(g).__name__
            wanted = f"expected a gradient {self.theta.shape} of {self.theta.dtype}"
            raise ValueError(f"{type(self).__name__}: {wanted}, got {found}")
        self.t += 1
        self.update(g, self.lr if lr is None else lr)

    def update(self, g, lr):
        """The formula of the page: theta, and the vectors in `state`, after one more step."""
        raise NotImplementedError

    def settings(self):
        """What it was made with, by name: "name", "lr", "weight_decay" ..."""
        hidden = ("model", "theta", "g", "state", "t")
        own = {k: v for k, v in vars(self).items() if k[0] != "_" and k not in hidden}
        own = {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}
        return {"name": type(self).__name__, **own}

    def __repr__(self):
        name, *settings = (f"{k}={v}" for k, v in self.settings().items())
        size = f"{self.theta.size:,} parameters"
        return f"{name[5:]}({', '.join(settings)}: {size}, {self.t:,} steps made)"


def like(theta, vector):
    """`vector` where theta is, and of its dtype."""
    device = "cpu" if get_xp(theta).__name__ == "numpy" else "gpu"
    return to_device(vector, device).astype(theta.dtype, copy=False)
