"""seeds -- where the random numbers of layers come from that were given no generator.

    Conv2d(3, 16, 5, rng=rng)     initial weights drawn from your generator
    Conv2d(3, 16, 5)              from np.random.default_rng([seed, k]), where k counts such layers

So a program that makes the same layers in the same order gets the same weights, without a word
about random numbers; `seed(n)` chooses others, and counts from 0 again.  A Dropout takes the seed
for its masks, see `philox.py`.

This is the only state that the layers of a program share.  AlexNet has a `seed` of its own, and
training does not draw from here: what else your program makes changes neither.
"""

import numpy as np

from minialex.errors import check_sizes


class State:
    """The seed, and how many layers and random streams were made from it."""

    seed = layers = streams = 0


def seed(n):
    """Let layers made from now on without `rng` draw from seed n, the first of them from [n, 0].

    Raises ValueError unless n is a whole number of 0 or more.
    """
    check_sizes("seed", least=0, n=n)
    State.seed, State.layers, State.streams = int(n), 0, 0


def generator(name, rng):
    """`rng`, or the next generator where it is None; `name` is of the layer that asks.

    Raises TypeError for anything that cannot draw initial weights.
    """
    if rng is None:
        State.layers += 1
        return np.random.default_rng([State.seed, State.layers - 1])
    if not hasattr(rng, "standard_normal"):
        use = "leave it out, or give a generator such as np.random.default_rng(0)"
        raise TypeError(f"{name}: rng must be a generator, got {rng!r}; {use}")
    return rng


def number_streams(layer):
    """Number the random layers inside `layer` 1, 2, 3 ...: each draws random numbers of its own."""
    random = [leaf for _, leaf in layer.leaves() if hasattr(leaf, "stream")]
    for stream, leaf in enumerate(random, start=1):
        leaf.stream = stream
