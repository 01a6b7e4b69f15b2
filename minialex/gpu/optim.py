"""The optimizers' twins on a GPU -- one kernel a step, see optim.cu; the host gathers constants."""

import math

from minialex import optim as page
from minialex.gpu.kernel import Kernel
from minialex.twin import OptimizerTwin

SGD_STEP = Kernel("optim.cu", "sgd", "T g, T lr, T mu, T decay, bool nesterov",
    "T theta, T v", "sgd(g, lr, mu, decay, nesterov, theta, v)")  # fmt: skip
ADAM_STEP = Kernel("optim.cu", "adam",
    "T g, T rate, T b1, T rest1, T b2, T rest2, T eps, T decay, T shrink", "T theta, T m, T v",
    "adam(g, rate, b1, rest1, b2, rest2, eps, decay, shrink, theta, m, v)")  # fmt: skip


class SGD(OptimizerTwin, page.SGD, device="gpu"):
    def update(self, g, lr):
        constants = lr, self.momentum, self.weight_decay, self.nesterov
        SGD_STEP(g, *constants, self.theta, self.state["v"])


class Adam(OptimizerTwin, page.Adam, device="gpu"):
    def update(self, g, lr):
        b1, b2 = self.betas
        c, w = math.sqrt(1 - b2**self.t), self.weight_decay
        decay, shrink = (0.0, 1 - lr * w) if self.decoupled else (w, 1.0)
        rate, eps = lr * c / (1 - b1**self.t), self.eps * c
        constants = rate, b1, 1 - b1, b2, 1 - b2, eps, decay, shrink
        ADAM_STEP(g, *constants, self.theta, self.state["m"], self.state["v"])
