"""SGD, Adam -- how the parameters follow their gradient; and schedules for the size of the steps.

All parameters are one vector theta and all gradients one vector g (see layers/layer.py), so each optimizer is
the formula of its paper.  With learning rate a and weight decay w:

    SGD      g += w theta;   v = mu v + g;   theta -= a v
    Adam     g += w theta;   m = b1 m + (1-b1) g;   v = b2 v + (1-b2) g^2
             theta -= a (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
    AdamW    as Adam without w, and first theta -= a w theta       ("decoupled" weight decay)

In Adam, m and v are running means of the gradient and of its square.  They start at 0 and are therefore too
small at first; the divisions by 1-b^t undo exactly that.  The AlexNet paper writes its SGD as
v = mu v - w a theta - a g, theta += v: the same steps while a stays the same.

Each formula needs several passes over arrays far larger than the processor's cache.  So a step goes through
theta block by block, all passes over one block while it is in the cache, several blocks at a time on several
threads (blocks share nothing, so the result does not depend on the threads).

References: Krizhevsky, Sutskever, Hinton (2012), section 5 (SGD); Kingma, Ba (2015), "Adam", algorithm 1;
Loshchilov, Hutter (2019), "Decoupled Weight Decay Regularization", algorithm 2.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minialex.backend import Array, Kernel, get_xp, plain_form, scratch
from minialex.errors import ConfigError
from minialex.fast.threads import map_threads

BLOCK = 1 << 17  # numbers a block: 512 kB in float32; much smaller ones cost more in Python than they save


class Optimizer:
    """Base: `step(g)` updates theta in place.  `state` holds what a checkpoint must keep, `t` the steps made."""

    def __init__(self, theta: Array, lr: float, weight_decay: float, state: dict[str, Array]):
        if lr < 0 or weight_decay < 0:
            raise ConfigError(f"lr and weight_decay must not be negative, got {lr} and {weight_decay}")
        self.theta, self.lr, self.weight_decay = theta, lr, weight_decay
        self.state, self.t = state, 0

    def step(self, g: Array, lr: float | None = None) -> None:
        """One step along the gradient g (shaped like theta) at `lr`, by default the one given at first.

        g is left as it is.
        """
        if g.shape != self.theta.shape or g.dtype != self.theta.dtype:
            raise ValueError(
                f"{type(self).__name__}: expected a gradient {self.theta.shape} of {self.theta.dtype}, "
                f"got {g.shape} of {g.dtype}"
            )
        self.t += 1
        a = self.lr if lr is None else lr
        if get_xp(g) is not np:
            return self.update(slice(None), g, a)
        blocks = [slice(start, start + BLOCK) for start in range(0, g.size, BLOCK)]
        map_threads(lambda block: self.update(block, g[block], a), blocks)
        return None

    def update(self, block: slice, g: Array, a: float) -> None:
        """The formula, for the part `block` of theta with its gradient g."""
        raise NotImplementedError


SGD_STEP = Kernel(
    "sgd", "T g, T a, T mu, T decay", "T theta, T v",
    "v = mu * v + g + decay * theta; theta -= a * v",
)  # fmt: skip


class SGD(Optimizer):
    """Stochastic gradient descent with momentum `mu` and weight decay, as in the paper."""

    def __init__(self, theta: Array, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0):
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {momentum}")
        super().__init__(theta, lr, weight_decay, {"v": get_xp(theta).zeros_like(theta)})
        self.momentum = momentum

    @plain_form
    def update(self, block: slice, g: Array, a: float) -> None:
        xp, theta, v = get_xp(g), self.theta[block], self.state["v"][block]
        work = scratch(g, "optimizer", g.shape)
        v *= self.momentum
        v += g
        if self.weight_decay:
            v += xp.multiply(theta, self.weight_decay, out=work)
        theta -= xp.multiply(v, a, out=work)

    @update.on_gpu
    def _update_on_gpu(self, block: slice, g: Array, a: float) -> None:
        SGD_STEP(g, a, self.momentum, self.weight_decay, self.theta[block], self.state["v"][block])


ADAM_STEP = Kernel(
    "adam", "T g, T rate, T b1, T rest1, T b2, T rest2, T eps, T decay, T shrink", "T theta, T m, T v",
    """
    const T own = g + decay * theta;
    m = b1 * m + rest1 * own;
    v = b2 * v + rest2 * own * own;
    theta = shrink * theta - rate * m / (sqrt(v) + eps)
    """,
)  # fmt: skip


class Adam(Optimizer):
    """Adam; with `decoupled=True`, AdamW."""

    def __init__(
        self,
        theta: Array,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ):
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1 and eps > 0):
            raise ConfigError(f"betas must be at least 0 and below 1, and eps positive, got {betas} and {eps}")
        xp = get_xp(theta)
        super().__init__(theta, lr, weight_decay, {"m": xp.zeros_like(theta), "v": xp.zeros_like(theta)})
        self.betas, self.eps, self.decoupled = betas, eps, decoupled

    @plain_form
    def update(self, block: slice, g: Array, a: float) -> None:
        xp, theta, m, v = get_xp(g), self.theta[block], self.state["m"][block], self.state["v"][block]
        work = scratch(g, "optimizer", g.shape)
        b1, b2 = self.betas
        if self.weight_decay and self.decoupled:
            theta *= 1 - a * self.weight_decay
        elif self.weight_decay:
            decayed = scratch(g, "optimizer decay", g.shape)
            g = xp.add(xp.multiply(theta, self.weight_decay, out=decayed), g, out=decayed)

        m *= b1
        m += xp.multiply(g, 1 - b1, out=work)
        v *= b2
        xp.multiply(g, g, out=work)
        work *= 1 - b2
        v += work

        # a m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps), with the constants gathered into two
        c = math.sqrt(1 - b2**self.t)
        xp.sqrt(v, out=work)
        work += self.eps * c
        xp.divide(m, work, out=work)
        work *= a * c / (1 - b1**self.t)
        theta -= work

    @update.on_gpu
    def _update_on_gpu(self, block: slice, g: Array, a: float) -> None:
        b1, b2 = self.betas
        c = math.sqrt(1 - b2**self.t)
        decay, shrink = (0.0, 1 - a * self.weight_decay) if self.decoupled else (self.weight_decay, 1.0)
        constants = a * c / (1 - b1**self.t), b1, 1 - b1, b2, 1 - b2, self.eps * c, decay, shrink
        ADAM_STEP(g, *constants, self.theta[block], self.state["m"][block], self.state["v"][block])


def clip_gradient_norm(g: Array, max_norm: float) -> Array:
    """Scale g in place so that its length is at most max_norm; returns the length it had.

    Reference: Pascanu, Mikolov, Bengio (2013), "On the difficulty of training Recurrent Neural Networks".
    """
    if not max_norm > 0:
        raise ConfigError(f"max_norm must be positive, got {max_norm}")
    xp = get_xp(g)
    norm = xp.sqrt(xp.vdot(g, g))
    g *= xp.minimum(1, max_norm / (norm + 1e-12)).astype(g.dtype)
    return norm


# ----------------------------------------------------------------------------------------------- schedules

Schedule = Callable[[int], float]  # training step (0 for the first) -> factor on the learning rate


def constant() -> Schedule:
    """Factor 1 throughout."""
    return lambda step: 1.0


def step_decay(every: int, factor: float = 0.1) -> Schedule:
    """`factor` times smaller after each `every` steps: the paper divided by 10, three times."""
    if every < 1:
        raise ConfigError(f"a step schedule needs at least one step between decays, got {every}")
    return lambda step: factor ** (step // every)


def cosine(total: int, final: float = 0.0) -> Schedule:
    """From 1 down to `final` along half a cosine over `total` steps (Loshchilov, Hutter 2017, "SGDR", eq. 5)."""
    if total < 1:
        raise ConfigError(f"a cosine schedule needs at least one step, got {total}")
    return lambda step: final + (1 - final) * (1 + math.cos(math.pi * min(step / total, 1))) / 2


def plateau(
    errors: Callable[[], Sequence[float]], patience: int = 5, factor: float = 0.1, most: int = 3
) -> Schedule:
    """`factor` times smaller each time the error has stopped improving, at most `most` times: the paper's rule.

    `errors()` are the validation errors of the epochs so far.  The error has stopped improving when `patience`
    epochs in a row brought no new best; the count then starts anew.  Nothing is remembered between calls, so a
    run that is resumed needs its history alone.
    """
    if patience < 1:
        raise ConfigError(f"a plateau schedule needs a patience of at least one epoch, got {patience}")

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

    Adam's v is a mean over few gradients at first, and its steps are then as long as they can be.
    """
    return lambda step: schedule(step) * min(1.0, (step + 1) / (steps + 1))


def make_schedule(
    name: str,
    total: int,
    warm_up_steps: int = 0,
    *,
    errors: Callable[[], Sequence[float]] = tuple,
    patience: int = 5,
) -> Schedule:
    """The schedule of this name for `total` steps, after a warm-up.

    "constant"; "step", divided by 10 after each third of `total`; "cosine"; "plateau", see there for `errors` and
    `patience`.
    """
    schedules: dict[str, Callable[[], Schedule]] = {
        "constant": constant,
        "step": lambda: step_decay(max(1, -(-total // 3))),
        "cosine": lambda: cosine(max(1, total)),
        "plateau": lambda: plateau(errors, patience),
    }
    if name not in schedules:
        raise ConfigError(f"unknown schedule '{name}'; choose {', '.join(schedules)}")
    return warm_up(schedules[name](), warm_up_steps)


def make_optimizer(name: str, theta: Array, lr: float, weight_decay: float) -> Optimizer:
    """The optimizer "adam", "adamw" or "sgd" over theta."""
    optimizers: dict[str, Callable[..., Any]] = {
        "adam": Adam,
        "adamw": lambda theta, **options: Adam(theta, decoupled=True, **options),
        "sgd": SGD,
    }
    if name not in optimizers:
        raise ConfigError(f"unknown optimizer '{name}'; choose {', '.join(optimizers)}")
    return optimizers[name](theta, lr=lr, weight_decay=weight_decay)
