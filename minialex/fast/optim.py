"""The optimizers' twins -- block by block, all passes over a block while the cache holds it.

Each formula needs several passes over arrays far larger than the processor's cache.  So a step goes
through theta in blocks, several at a time on several threads.  Blocks share nothing, so the result
does not depend on the threads.

Nesterov's last line is taken apart, so that it needs no g of its own for the weight decay:

    theta - lr (g + w theta + mu v)  =  (1 - lr w) theta - lr g - lr mu v

Adam's last line has its constants gathered, so that fewer passes do.  With c = sqrt(1 - b2^t),

    m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps)  =  c / (1-b1^t) * m / (sqrt(v) + eps c)
"""

import math

import numpy as np

from minialex import optim as page
from minialex.fast.scratch import scratch
from minialex.fast.threads import map_threads
from minialex.twin import OptimizerTwin

BLOCK = 1 << 17  # numbers: 512 kB in float32; smaller ones cost more in Python than they save


def update_by_blocks(self, g, lr):
    """`update` of both: the formula, for one block after the other."""
    blocks = [slice(start, start + BLOCK) for start in range(0, g.size, BLOCK)]
    map_threads(lambda block: self.update_block(block, g[block], lr), blocks)


class SGD(OptimizerTwin, page.SGD, device="cpu"):
    update = update_by_blocks

    def update_block(self, block, g, lr):
        """The formula, for the part `block` of theta with its gradient g."""
        theta, v = self.theta[block], self.state["v"][block]
        work = scratch(g, "optimizer", g.shape)
        v *= self.momentum
        v += g
        if self.weight_decay:
            v += np.multiply(theta, self.weight_decay, out=work)
        if self.nesterov:
            theta *= 1 - lr * self.weight_decay
            theta -= np.multiply(g, lr, out=work)
            lr *= self.momentum
        theta -= np.multiply(v, lr, out=work)


class Adam(OptimizerTwin, page.Adam, device="cpu"):
    update = update_by_blocks

    def update_block(self, block, g, lr):
        """The formula, for the part `block` of theta with its gradient g."""
        theta, m, v = self.theta[block], self.state["m"][block], self.state["v"][block]
        work = scratch(g, "optimizer", g.shape)
        b1, b2 = self.betas
        if self.weight_decay and self.decoupled:
            theta *= 1 - lr * self.weight_decay
        elif self.weight_decay:
            decayed = scratch(g, "optimizer decay", g.shape)
            g = np.add(np.multiply(theta, self.weight_decay, out=decayed), g, out=decayed)

        m *= b1
        m += np.multiply(g, 1 - b1, out=work)
        v *= b2
        np.multiply(g, g, out=work)
        work *= 1 - b2
        v += work

        # lr m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps), with the constants gathered into two
        c = math.sqrt(1 - b2**self.t)
        np.sqrt(v, out=work)
        work += self.eps * c
        np.divide(m, work, out=work)
        work *= lr * c / (1 - b1**self.t)
        theta -= work
