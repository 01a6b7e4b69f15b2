"""SGD, Adam -- how the parameters follow their gradient.

The gradient g says in which direction the loss rises fastest; so a step goes the other way.  All
parameters of a model are one vector theta and all gradients one vector g (see params.py), so each
optimizer is a formula of vectors.  With learning rate lr and weight decay w:

    SGD      g += w theta;   v = mu v + g;   theta -= lr v
    Nesterov the same with   theta -= lr (g + mu v)
    Adam     g += w theta;   m = b1 m + (1-b1) g;   v = b2 v + (1-b2) g^2
             theta -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
    AdamW    as Adam without w, and first theta -= lr w theta       ("decoupled" weight decay)

Shapes     theta, g, v, m all (P,) for P parameters; all but theta and g start at 0 | t = 1, 2, ...

Momentum.  v is a sum of all gradients so far, each weighted mu times less per step: where they
agree it grows, up to 1/(1-mu) times g (10 times for mu = 0.9); where they point to and fro it
cancels.  The AlexNet paper writes v = mu v - w lr theta - lr g and theta += v, which makes the same
steps while lr stays the same.

Nesterov's momentum takes the gradient where theta will be after the next move by -lr mu v, so that
it brakes a step earlier.  Written for that place ahead, phi = theta - lr mu v, the move from v' to
v = mu v' + g is -lr v - lr mu v + lr mu v' = -lr (g + mu v), the line above: phi is what we keep.

Adam.  m and v are running means of the gradient and of its square.  Dividing by sqrt(v) measures
each parameter's step in units of its own gradient, so that all move about lr per step, whether
their gradients are large or small; eps keeps the division from 0.  Both means start at 0 and are
too small at first: with a constant g, m after t steps is (1-b1)(1 + b1 + ... + b1^(t-1)) g, by the
geometric sum (1 - b1^t) g, and the division by 1-b1^t undoes exactly that.

Weight decay pulls theta towards 0.  Added to g, it is the gradient of w/2 |theta|^2 (L2
regularization); but Adam divides that pull by sqrt(v), too, so that parameters with large gradients
decay least.  AdamW decays all alike.  (Its paper multiplies the decay by the schedule's factor
alone, algorithm 2; like PyTorch we multiply it by lr.)

Clipping.  One bad batch can give a gradient so long that the step destroys what was learned;
`clip_gradient_norm` shortens it to a length given, in the same direction.

`lr` and `weight_decay` may differ from parameter to parameter, and `freeze` leaves some out, by
patterns of their names: SGD(model, lr={"*.bias": 0.02, "*": 0.01}, freeze="features.*").  Then
theta falls into runs with equal numbers, and the formula is applied to each (see optimizer.py).

References: Krizhevsky, Sutskever, Hinton (2012), section 5 (SGD); Kingma, Ba (2015), "Adam",
algorithm 1; Sutskever et al. (2013), "On the importance of initialization and momentum in deep
learning": Nesterov's; Loshchilov, Hutter (2019), "Decoupled Weight Decay Regularization"; Pascanu,
Mikolov, Bengio (2013), "On the difficulty of training Recurrent Neural Networks": clipping.
"""

from minialex.average import EMA
from minialex.errors import ConfigError, check, is_number
from minialex.optimizer import Optimizer
from minialex.schedules import constant, cosine, plateau, step_decay, warm_up
from minialex.xp import get_xp

__all__ = [
    "EMA", "SGD", "Adam", "clip_gradient_norm", "constant", "cosine", "plateau", "step_decay",
    "warm_up",
]  # fmt: skip


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and weight decay, as in the paper, or `nesterov`.

    Raises ConfigError for a momentum outside [0, 1), and for Nesterov's without a momentum.
    """

    nesterov = False  # a setting of those that have it: older runs did not write it down

    def __init__(self, model, lr=0.01, momentum=0.9, weight_decay=0.0, nesterov=False,
                 freeze=()):  # fmt: skip
        check(is_number(momentum, 0, 1), "momentum must be at least 0 and below 1", momentum)
        if nesterov and not momentum:
            raise ConfigError("nesterov needs a momentum above 0")
        super().__init__(model, lr, weight_decay, ("v",), freeze)
        self.momentum = momentum
        if nesterov:
            self.nesterov = True

    def update(self, g, lr):
        theta, v = self.theta, self.state["v"]
        g = g + self.weight_decay * theta
        v[...] = self.momentum * v + g
        theta -= lr * (g + self.momentum * v if self.nesterov else v)


class Adam(Optimizer):
    """Adam; with `decoupled=True`, AdamW.  `betas` are b1 and b2.

    Raises ConfigError for a beta outside [0, 1), and for an eps of 0 or less.
    """

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
                 decoupled=False, freeze=()):  # fmt: skip
        fits = isinstance(betas, tuple | list) and len(betas) == 2
        fits = fits and all(is_number(b, 0, 1) for b in betas) and is_number(eps) and eps > 0
        check(fits, "betas must be in [0, 1) and eps positive", (betas, eps))
        super().__init__(model, lr, weight_decay, ("m", "v"), freeze)
        self.betas, self.eps, self.decoupled = betas, eps, decoupled

    def update(self, g, lr):
        theta, m, v, (b1, b2) = self.theta, self.state["m"], self.state["v"], self.betas
        if self.decoupled:
            theta -= lr * self.weight_decay * theta
        else:
            g = g + self.weight_decay * theta
        m[...] = b1 * m + (1 - b1) * g
        v[...] = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**self.t), v / (1 - b2**self.t)
        theta -= lr * m_hat / (v_hat**0.5 + self.eps)


def clip_gradient_norm(g, max_norm):
    """Scale g in place so that its length is at most max_norm; returns the length it had.

    Raises ConfigError unless max_norm is positive.
    """
    check(is_number(max_norm) and max_norm > 0, "max_norm must be positive", max_norm)
    xp = get_xp(g)
    norm = xp.sqrt(xp.vdot(g, g))
    g *= xp.minimum(1, max_norm / (norm + 1e-12)).astype(g.dtype)
    return norm
