"""Schedules -- how long the optimizer's steps are, as training goes on.

A schedule is a function from the number of a training step (0 for the first) to a factor on the
learning rate.  Long steps make progress while the loss is far from its minimum; near it they only
jump about, so nearly all schedules end with short ones.

    constant     1
    step         factor^(step // every)
    cosine       (1 + cos(pi step / total)) / 2, from 1 down to 0
    plateau      factor^(how often the validation error has stopped improving): the paper's rule
    warm_up      any of these, times (step + 1) / (steps + 1) while step < steps

References: Krizhevsky, Sutskever, Hinton (2012), section 5: the plateau rule.  Loshchilov, Hutter
(2017), "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5: the cosine.
"""

import math
from collections.abc import Callable, Sequence

from minialex.errors import check, choose

Schedule = Callable[[int], float]  # training step (0 for the first) -> factor on the learning rate


def constant() -> Schedule:
    """Factor 1 throughout."""
    return lambda step: 1.0


def step_decay(every: int, factor: float = 0.1) -> Schedule:
    """Times `factor` after each `every` steps.  Raises ConfigError for `every` below 1.

    The paper divided the rate by 10, three times.
    """
    check(every >= 1, "a step schedule needs at least one step between decays", every)
    return lambda step: factor ** (step // every)


def cosine(total: int, final: float = 0.0) -> Schedule:
    """From 1 down to `final` along half a cosine over `total` steps.

    Raises ConfigError for a `total` below 1.
    """
    check(total >= 1, "a cosine schedule needs at least one step", total)
    return lambda step: final + (1 - final) * (1 + math.cos(math.pi * min(step / total, 1))) / 2


def plateau(
    errors: Callable[[], Sequence[float]], patience: int = 5, factor: float = 0.1, most: int = 3
) -> Schedule:
    """Times `factor` each time the error has stopped improving, at most `most` times.

    `errors()` are the validation errors of the epochs so far.  The error has stopped improving when
    `patience` epochs in a row brought no new best; the count then starts anew.  Nothing is
    remembered between calls, so a run that is resumed needs its history alone.
    Raises ConfigError for a `patience` below 1.
    """
    check(patience >= 1, "a plateau schedule needs a patience of at least 1", patience)

    def schedule(step: int) -> float:
        best, waited, drops = math.inf, 0, 0
        for error in errors():
            waited = 0 if error < best else waited + 1
            best = min(best, error)
            if waited == patience:
                waited, drops = 0, drops + 1
        return factor ** min(drops, most)

    return schedule


def warm_up(schedule: Schedule, steps: int) -> Schedule:
    """`schedule`, but rising linearly from nearly 0 over the first `steps` steps.

    Adam's v is a mean over few gradients at first, and so a poor measure of their size; and all
    parameters move by about lr at the very first step, whatever their gradient.
    """
    return lambda step: schedule(step) * min(1.0, (step + 1) / (steps + 1))


def make_schedule(
    name: str, total: int, warm_up_steps: int = 0, *,
    errors: Callable[[], Sequence[float]] = tuple, patience: int = 5,
) -> Schedule:  # fmt: skip
    """The schedule of this name for `total` steps, after a warm-up.

    "constant"; "step", divided by 10 after each third of `total`; "cosine"; "plateau", see there
    for `errors` and `patience`.  Raises ConfigError for any other name.
    """
    schedules: dict[str, Callable[[], Schedule]] = {
        "constant": constant,
        "step": lambda: step_decay(max(1, -(-total // 3))),
        "cosine": lambda: cosine(max(1, total)),
        "plateau": lambda: plateau(errors, patience),
    }
    return warm_up(choose("schedule", name, schedules)(), warm_up_steps)
