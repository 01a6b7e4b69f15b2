"""MaxPool2d's twin -- separable maxima; backward asks each position of a window whether it won.

The maximum of a window is the maximum over its columns of the maxima over its rows: 2K looks
instead of K*K.  Nothing but x and y is kept: the winner is the first position of the window, in
scan order, with x = y.  That is what the page's argmax finds, except where a window holds a NaN,
which equals nothing, or only minus infinity, which the padding equals: such images go the page's
way.
"""

import math

import numpy as np

from minialex.fast.scratch import batch_slices, scratch
from minialex.layers import pool as page
from minialex.layers.layer import check_input
from minialex.twin import Twin


def maxima(parts, out):
    """out = the maximum of all `parts`, element-wise."""
    if len(parts) == 1:
        out[...] = parts[0]
    for i in range(1, len(parts)):
        np.maximum(parts[0] if i == 1 else out, parts[i], out=out)


class MaxPool2d(Twin, page.MaxPool2d, device="cpu"):
    form = "fast: separable maxima"

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        ((KH, SH), (top, below)), ((KW, SW), (left, right)) = self.axes()
        _, H, W, C = x.shape
        OH, OW, _ = self.output_shape((H, W, C))
        if top or below or left or right:
            around = (0, 0), (top, below), (left, right), (0, 0)
            x = np.pad(x, around, constant_values=-math.inf)
        y = np.empty((len(x), OH, OW, C), dtype=x.dtype)
        for images in batch_slices(x):
            rows = scratch(x, "pool rows", (len(x[images]), OH, *x.shape[2:]))
            maxima([x[images, i : i + SH * OH : SH] for i in range(KH)], out=rows)
            maxima([rows[:, :, j : j + SW * OW : SW] for j in range(KW)], out=y[images])
        return y, (x, y, np.s_[:, top : top + H, left : left + W])

    def backward(self, dy, cache, grad):
        x, y, inside = cache  # x is padded already
        dx = np.zeros_like(x)
        padded = x[inside].shape != x.shape
        for images in batch_slices(x):
            bits = dy[images].view(f"i{dy.itemsize}")  # times 0 or 1: 0 even where dy is infinite
            free = np.ones(y[images].shape, dtype=bool)  # windows whose maximum is not found yet
            for rows, columns in self.positions(*y.shape[1:3]):
                found = x[images, rows, columns] == y[images]
                found &= free
                free ^= found
                dx[images, rows, columns] += (bits * found).view(dy.dtype)
            if free.any() or (padded and (y[images] == -math.inf).any()):
                _, winners = page.MaxPool2d.forward(self, x[images][inside])
                dx[images][inside] = page.MaxPool2d.backward(self, dy[images], winners, grad)
        return dx[inside]
