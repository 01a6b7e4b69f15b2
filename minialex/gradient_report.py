"""What gradcheck found, in words; and what a wrong gradient looks like.

Often it is the right one, but for one thing.  gradcheck knows the numeric gradient, entry by entry,
and the analytic one: what mistake would make one of the other?  A factor, a sign, two axes
exchanged, a sum left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

ALIKE = 1e-6  # of the largest number: so near are two arrays that are called the same


@dataclass
class Verdict:
    """What was found of one array."""

    name: str  # "x", "weight", "0.bias" ...
    size: int  # its entries
    checked: int = 0  # those that were compared one by one
    wrong: int = 0  # those that were wrong
    kinks: int = 0  # those on a kink, whose gradient was one of the two slopes
    shared: int = 0  # those on a kink, whose gradient lay between the two slopes
    together: bool = False  # whether something is wrong where all entries are moved together
    hint: str = ""  # what the wrong numbers look like

    def __str__(self) -> str:
        asked = f"{self.checked:,} of its {self.size:,} entries"
        if self.together:
            text = f"{self.wrong} wrong entry found by moving all together; {asked} asked"
        elif not self.wrong:
            text = f"right ({asked}, and all together)"
        elif self.checked < self.size:
            text = f"{self.wrong:,} are wrong of the {asked} that were asked"
        else:
            text = f"{self.wrong:,} of its {self.size:,} entries are wrong"
        return f"{self.name}: {text}" + (f"; {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class GradReport:
    """What `gradcheck` found.  True where all is well; `str(report)` is one line a finding."""

    ok: bool
    error: float  # the worst error of all entries, as defined in gradient_check.py
    tolerance: float
    name: str  # the array of the worst entry: "x", "weight", "0.bias" ...
    index: tuple[int, ...]  # its place in that array; () for all entries moved together
    numeric: float  # dL/d(entry) by differences
    analytic: float  # the same by `layer.backward`
    checked: int  # entries compared, kinks included
    kinks: int  # entries on a kink, whose gradient was one of the two slopes
    problems: tuple[str, ...]  # other findings, such as "backward overwrote dy"
    notes: tuple[str, ...] = ()  # what is no fault, but good to know
    arrays: tuple[Verdict, ...] = ()  # a verdict on x and on each parameter

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        head = f"gradcheck {'passed' if self.ok else 'FAILED'}: "
        if not self.arrays and len(self.problems) == 1:
            return head + self.problems[0]
        index = ", ".join(map(str, self.index))
        place = f"{self.name}[{index}]" if self.index else f"{self.name} (all entries)"
        lines = [f"{head}{self.checked:,} entries, {self.kinks} on kinks; worst error "
            f"{self.error:.1e} (tolerance {self.tolerance:.0e}) at {place}: "
            f"numeric {self.numeric:.12g}, analytic {self.analytic:.12g}"]  # fmt: skip
        lines += [str(array) for array in self.arrays if not self.ok]
        lines += [f"{array.name}: at {array.shared} entries on kinks the gradient lies between the"
            " two slopes, as where equal maxima share it: another convention than this book's"
            for array in self.arrays if array.shared]  # fmt: skip
        return "\n  ".join([*lines, *self.problems, *self.notes])

    def raise_if_bad(self) -> None:
        """Raise AssertionError, with the text of the report, unless all is well."""
        if not self.ok:
            raise AssertionError(str(self))


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
