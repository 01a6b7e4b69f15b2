"""What a wrong gradient looks like: often it is the right one, but for one thing.

gradcheck knows the numeric gradient, entry by entry, and the analytic one.  Here it asks what
mistake would make one of the other: a factor, a sign, two axes exchanged, a sum left out.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

ALIKE = 1e-6  # of the largest number: so near are two arrays that are called the same


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a and b agree in all but their last digits."""
    return bool(abs(a - b).max(initial=0) <= ALIKE * abs(b).max(initial=0))


def hints(check: Any, name: str, numeric: np.ndarray, analytic: np.ndarray) -> Iterator[str]:
    """What the analytic gradient of array `name` looks like, the most likely first.

    `numeric` is NaN where it is not known.
    """
    known = ~np.isnan(numeric)
    n, a, shape = numeric[known], analytic[known], numeric.shape
    if not a.any():
        yield "the analytic gradient is 0 everywhere"
        return
    if same(check.backward(2 * check.dy)[name], analytic):
        yield "the analytic gradient does not depend on dy"
    if n.any() and same(a, (a @ n) / (n @ n) * n) and (len(a) > 1 or round_ratio(a[0] / n[0])):
        yield factor(float((a @ n) / (n @ n)), check)
    for i, j in combinations(range(numeric.ndim), 2):
        if shape[i] == shape[j] and same(analytic.swapaxes(i, j)[known], n):
            yield f"it would be right with its axes {i} and {j} exchanged (a missing transpose?)"
    for axis in range(numeric.ndim):
        if same(np.flip(analytic, axis)[known], n):
            yield f"it would be right with axis {axis} reversed"
    for axis in range(check.dy.ndim if name != "x" else 0):
        for which, index in (("first", 0), ("last", -1)):
            alone = np.zeros_like(check.dy)
            np.moveaxis(alone, axis, 0)[index] = np.moveaxis(check.dy, axis, 0)[index]
            if check.dy.shape[axis] > 1 and same(check.backward(alone)[name], analytic):
                yield f"only the {which} of axis {axis} of dy counts: is a sum left out?"


def round_ratio(ratio: float) -> int:
    """k where `ratio` is k or 1/k, a whole number with its sign; else 0."""
    for value in (ratio, 1 / ratio):
        if abs(value - round(value)) <= ALIKE * abs(value):
            return round(value)
    return 0


def factor(ratio: float, check: Any) -> str:
    """What a constant ratio of analytic to numeric means."""
    k, small = round_ratio(ratio), abs(ratio) < 1
    times = f"1/{abs(k)} of" if k and small else f"{abs(ratio):.6g} times"
    text = "the analytic gradient has the wrong sign"
    if k != -1:
        sign = " and has the wrong sign" if ratio < 0 else ""
        text = f"the analytic gradient is {times} the numeric one{sign}"
    if abs(k) > 1 and abs(k) in {*check.x.shape, *check.y.shape, check.x.size, check.y.size}:
        text += f": is a 1/N {'too many' if small else 'missing'}?"
    return text
