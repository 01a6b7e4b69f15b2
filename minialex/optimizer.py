"""optimizer -- what all optimizers share: whose parameters they move, and where the gradient is.

    optimizer = Adam(model, lr=1e-3)                    moves the parameters into one vector theta
    model.backward(dlogits, cache, optimizer.grad)      writes the gradient, which is one vector g
    optimizer.step()                                    changes theta, and so the parameters

The formulas are on the page `optim.py`.  Here is the bookkeeping.  The parameters of the model are
views of theta (see `params.py`).  They no longer are once somebody moves the model to a GPU, gives
it another dtype, or puts an array of their own into `params`: an optimizer that did not notice
would move a vector that nobody reads.  So it looks before each step, and follows.

    SGD(model, lr={"*.bias": 0.02, "*": 0.01}, freeze="features.*")

gives parameters rates of their own, by their names, and freezes some: these stay as they are.  The
formula does not change.  Parameters with equal numbers that lie side by side are a run of theta,
and it is applied to one run after the other; g and the vectors in `state` leave out what is frozen.
"""

import copy
import fnmatch
import itertools
import operator

from minialex.errors import ConfigError, check, is_number
from minialex.layers.layer import Layer
from minialex.params import dict_like, flatten, named_arrays
from minialex.xp import get_xp, to_device, where_is


class Optimizer:
    """Base: `step()` updates the parameters of `model` in place, against the gradient in `grad`.

    `theta` and `g` are these as vectors (g once `grad` was asked for), `state` holds the vectors
    that a checkpoint must keep, `t` is the number of steps made.  Where processes share the work,
    `own` are the parts of theta, as slices, that a step of this one moves.  In place of a model it
    takes a vector theta (P,) of your own.  You may move the model, change its dtype or assign to
    its `params` afterwards: the optimizer follows.

    `lr` and `weight_decay` are numbers, or dictionaries of patterns of names, of which the first
    that fits counts.  `self.lr` and `self.weight_decay` are then the largest; where you change
    them, or a step gets another rate, the others change in proportion.  `freeze` is a pattern or a
    list of patterns, and `frozen` the set of the names that fit.
    Raises ConfigError for a negative lr or weight decay, for a pattern that fits no name, and where
    nothing is left to train, TypeError for anything but a model.
    """

    own = None  # all of it

    def __init__(self, model, lr, weight_decay, state, freeze=()):
        if not (isinstance(model, Layer) or hasattr(model, "dtype")):
            name, found = type(self).__name__, type(model).__name__
            raise TypeError(f"{name}: expected a model, as in {name}(model, lr={lr}), got {found}")
        self.model, self.t = model, 0
        self.theta = flatten(model) if isinstance(model, Layer) else model
        freeze = [freeze] if isinstance(freeze, str) else list(freeze)
        given = {"lr": lr, "weight_decay": weight_decay, "freeze": freeze or None}
        self._patterns = {key: value for key, value in given.items() if type(value) in (dict, list)}
        self._given = lr, weight_decay, freeze
        self.lr, self.weight_decay = self.find_runs(*self._given)
        self.state = {name: self.zeros() for name in state}
        self.g, self._grad, self._views = None, {}, []  # made when they are asked for

    def scale(self, factors):
        """Take each rate times the factor of its name's pattern, in place of one before.

        The first pattern that fits counts, and 1 where none does; a factor of 0 lets its parameters
        rest.  Raises ConfigError for a pattern that fits no name, and a factor that is no number.
        """
        self.find_runs(*self._given, factors)

    def find_runs(self, lr, weight_decay, freeze, factors=None):
        """Find the runs of theta that train: slices, and rates and decays in parts of the largest.

        Returns the largest rate and the largest decay.
        """
        sizes = {"": self.theta.size}  # a vector of your own has no names
        if isinstance(self.model, Layer):
            arrays = named_arrays(self.model.params)
            sizes = {name: owner[key].size for owner, key, name in arrays}
        self.frozen = set(by_pattern("freeze", dict.fromkeys(freeze, 1), sizes))
        trained = [name for name in sizes if name not in self.frozen]
        if not trained:
            raise ConfigError("freeze leaves no parameter to train; leave a pattern out")
        rates = by_pattern("lr", lr, sizes, trained)
        decays = by_pattern("weight_decay", weight_decay, sizes, trained)
        most, most_decay = max(map(rates.get, trained)), max(map(decays.get, trained))
        factors = factors or {}
        factors = by_pattern("a factor", {**factors, "*": factors.get("*", 1)}, sizes)
        numbers = {name: (part(rates[name], most) * factors[name], part(decays[name], most_decay))
                   for name in trained}  # fmt: skip
        self._runs, end = list[tuple](), 0
        for pair, names in itertools.groupby(sizes, key=numbers.get):
            start, end = end, end + sum(sizes[name] for name in names)
            if pair is not None:
                self._runs.append((slice(start, end), *pair))
        self._size = sum(sizes[name] for name in trained)
        return most, most_decay

    def zeros(self):
        """A vector like g."""
        return get_xp(self.theta).zeros(self._size, dtype=self.theta.dtype)

    def views(self, vector):
        """A nested dictionary like the model's params, of consecutive views of `vector`, a g.

        Where a parameter is frozen, it has an array that nobody reads.
        """
        result, start = dict_like(self.model.params, self.theta), 0
        for own, key, name in named_arrays(result):
            shape, size = own[key].shape, own[key].size * (name not in self.frozen)
            view = vector[start : start + size]
            own[key] = view.reshape(shape) if size else get_xp(view).empty(shape, view.dtype)
            start += size
        return result

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
        self.g = self.zeros() if self.g is None else like(theta, self.g)
        self._grad.update(self.views(self.g))
        self._views = [owner[key] for owner, key, _ in named_arrays(self.model.params)]

    def step(self, g=None, lr=None):
        """One step against the gradient in `grad`, at `lr` or else at the one given at first.

        A vector g in its place, as long as what trains, is left as it is.  Raises ValueError where
        it does not fit.
        """
        self.follow()
        for own, key, name in named_arrays(self._grad):
            ours = name in self.frozen or getattr(own[key], "base", None) is self.g
            if g is None and not ours:
                what = f"backward put another array in place of grad's {name}"
                raise ValueError(f"{what}; write into it, as in grad[{key!r}][...] = ...")
        g = self.g if g is None else g
        if getattr(g, "shape", None) != (self._size,) or g.dtype != self.theta.dtype:
            found = f"{g.shape} of {g.dtype}" if hasattr(g, "dtype") else type(g).__name__
            wanted = f"expected a gradient ({self._size},) of {self.theta.dtype}"
            raise ValueError(f"{type(self).__name__}: {wanted}, got {found}")
        self.t += 1
        self.update_runs(g, self.lr if lr is None else lr)

    def update_runs(self, g, lr):
        """`update` of each run of theta, or of its parts in `own`, at its rate and weight decay."""
        own = self.own or [slice(0, self.theta.size)]
        if self._runs == [(*own, 1, 1)]:
            self.update(g, lr)
            return
        end = 0  # of g
        for run, rate, decay in self._runs:
            shift, end = end - run.start, end + run.stop - run.start
            for mine in own:
                first, last = max(run.start, mine.start), min(run.stop, mine.stop)
                if rate == 0 or first >= last:
                    continue
                part = slice(first + shift, last + shift)
                one = copy.copy(self)  # of the same settings, and of one part alone
                one.theta, one.weight_decay = self.theta[first:last], self.weight_decay * decay
                one.state = {name: vector[part] for name, vector in self.state.items()}
                one.update(g[part], lr * rate)

    def update(self, g, lr):
        """The formula of the page: theta, and the vectors in `state`, after one more step."""
        raise NotImplementedError

    def settings(self):
        """What it was made with, by name: "name", "lr", "weight_decay" ..."""
        hidden = ("model", "theta", "g", "state", "t", "frozen", "own")
        own = {k: v for k, v in vars(self).items() if k[0] != "_" and k not in hidden}
        own = {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}
        return {"name": type(self).__name__, **own, **self._patterns}

    def __repr__(self):
        name, *settings = (f"{k}={v}" for k, v in self.settings().items())
        size = f"{self.theta.size:,} parameters"
        return f"{name[5:]}({', '.join(settings)}: {size}, {self.t:,} steps made)"


def by_pattern(what, given, names, needed=()):
    """{name: number}, by the first pattern that fits the name.

    `given` is {pattern: number}, or a number for all.  Raises ConfigError for no such number, for a
    pattern that fits no name, and for one of the names `needed` that gets no number.
    """
    found = dict[str, float]()
    for pattern, value in (given if isinstance(given, dict) else {"*": given}).items():
        check(is_number(value), f"{what} must be a number of 0 or more", value)
        fitting = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not fitting:
            text = f"{what}: the pattern {pattern!r} fits no parameter"
            raise ConfigError(f"{text}; names are such as {min(names)}")
        found = {**dict.fromkeys(fitting, value), **found}
    for name in needed:
        if name not in found:
            raise ConfigError(f"{what} has no pattern for {name}; add '*' for all others")
    return found


def part(number, most):
    """`number` in parts of the largest; 1 where all are 0, and somebody may set another."""
    return number / most if most else 1


def like(theta, vector):
    """`vector` where theta is, and of its dtype."""
    return to_device(vector, where_is(theta), theta.dtype)
