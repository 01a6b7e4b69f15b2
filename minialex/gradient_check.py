"""gradcheck -- `numerical_gradient.py` as an instrument: all of a layer's gradients, and a report.

The loss is L = sum of dy * y with a random dy, and each derivative is asked by central differences.
Near h = 1e-5 the error of that, from the series and from rounding, is a few 1e-11 in float64.  In
float32 it would be 6e-3, and with the best h still 2e-5, which hides mistakes; so everything here
is done in float64.  The layer computes where x is, the comparison is the CPU's.

**The error** of an entry is |numeric - analytic| / max(|numeric|, a, 0.001), where a is the largest
analytic value in the same array: an entry that is small by chance is measured by the size of its
neighbours.

**Kinks.**  A ReLU at 0 and a maximum of equal numbers have two slopes, to the right and to the
left.  Where a kink is nearer than h, h is made smaller (twice, by ten).  Where v is on a kink,
there is no derivative that a difference could confirm.  By the convention of this book the analytic
value must then be one of the two slopes, for each output by itself.  (Half of one and half of the
other, as where equal maxima share the gradient, is a subgradient as well: it equals the central
difference, and `torch.amax` gives it.  But it is not our convention, and counts as an error of at
least 1.)  And since two equal maxima that both get ALL of it pass that test one by one, all entries
are also moved together: a maximum then moves smoothly, ties or not.

Reference: Nocedal, Wright (2006), "Numerical Optimization", section 8.1: finite differences and the
choice of h.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.gradient_report import GradReport, neither_slope
from minialex.layers.layer import Layer
from minialex.params import family, named_arrays, zeros_like
from minialex.xp import Array, get_xp, to_cpu, to_device

SMALLEST = 1e-3  # gradients and slopes are measured against at least this
BEND = 100  # right and left slopes that differ by more than BEND * h of their size make a kink
ROUNDING = 1e-9  # halves of a batch may differ so much from all of it, of the largest number


def gradcheck(
    layer: Layer, x: Array, *, seed: int = 0, eps: float = 1e-5, tolerance: float = 1e-7,
    max_entries: int | None = None,
) -> GradReport:  # fmt: skip
    """Compare `layer.backward` at x with central differences, for x and for every parameter.

    x is an array of any float dtype and any shape that `layer` takes; neither it nor the parameters
    or buffers are changed, nor a Dropout's count of steps, which is 0 meanwhile.  `seed` draws dy
    and, where `max_entries` is given, the entries checked of each array that has more of them (by
    default all are).  `eps` is the h of this page, `tolerance` the largest error allowed.

    Also checked: shapes and dtypes of what comes back, that every gradient is written, that the
    same x gives the same y, that forward and backward leave x, dy and the parameters as they are (a
    ReLU that `accelerate` lets work in place may change x or dy), and, where `per_image` says that
    images do not see each other, that two halves of the batch give what all of it gives.  Where
    `accelerate` was told that nobody needs dx, only the parameters are checked.
    """
    originals = [(owner, key, owner[key]) for owner, key, _ in named_arrays(layer.params)]
    buffers = [
        (part.buffers, key, array, array.copy())
        for part in family(layer)
        for key, array in part.buffers.items()
    ]
    counts = [(leaf, leaf.step) for _, leaf in layer.leaves() if hasattr(leaf, "step")]
    try:
        for owner, key, array in originals:
            owner[key] = array.astype(np.float64)
        return _Check(layer, x.astype(np.float64), seed, eps, tolerance).run(max_entries)
    finally:
        for owner, key, array in originals:
            owner[key] = array
        for owner, key, array, copy in buffers:
            array[...] = copy
            owner[key] = array
        for leaf, step in counts:
            leaf.set_step(step)


class _Check:
    """One run.  x and the parameters are copies in float64, which `slopes` moves in place."""

    def __init__(self, layer: Layer, x: Array, seed: int, eps: float, tolerance: float):
        self.layer, self.x, self.eps, self.tolerance = layer, x, eps, tolerance
        self.device = "cpu" if get_xp(x) is np else "gpu"
        self.rng = np.random.default_rng(seed)
        self.y = self.forward()
        self.dy = self.rng.standard_normal(self.y.shape)
        self.checked = self.kinks = 0
        self.neither: list[str] = []  # of each entry on a kink with a gradient that is no slope
        self.worst: tuple[float, str, tuple[int, ...], float, float] = (-1.0, "x", (), 0.0, 0.0)

    def run(self, max_entries: int | None) -> GradReport:
        gradients = self.backward(self.dy)
        problems = self.protocol() + self.halves(gradients)
        for name, array in self.arrays():
            analytic = gradients[name]
            problem = self.form(name, array, analytic)
            if problem:
                problems.append(problem)
            elif analytic is not None:
                self.check_array(name, array, analytic, max_entries)
        if not self.checked:
            problems.append("there was nothing to compare")
        error, name, index, numeric, analytic = self.worst
        return GradReport(
            ok=error <= self.tolerance and not problems,
            error=max(error, 0.0), tolerance=self.tolerance, name=name, index=index,
            numeric=numeric, analytic=analytic, checked=self.checked, kinks=self.kinks,
            problems=(*problems, *self.neither[:1]),
        )  # fmt: skip

    # ------------------------------------------------------------------------- the function

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """x and every parameter, by name."""
        yield "x", self.x
        for owner, key, name in named_arrays(self.layer.params):
            yield name, owner[key]

    def run_forward(self, x: Array, first: int = 0) -> tuple[Array, Any]:
        """Always as of step 0, since a Dropout draws other numbers at the next."""
        self.layer.set_step(0, first)
        return self.layer.forward(x)

    def forward_on(self, images: slice | None) -> tuple[Array, Any]:
        """On all images or on some."""
        x, first = (self.x, 0) if images is None else (self.x[images], images.start)
        return self.run_forward(x.copy(), first)

    def forward(self, images: slice | None = None) -> np.ndarray:
        return to_cpu(self.forward_on(images)[0])

    def backward(self, dy: np.ndarray, images: slice | None = None) -> dict[str, Any]:
        """The analytic gradient of every array, by name.  What backward does not write is NaN."""
        grad = zeros_like(self.layer.params)
        places = [(owner[key], name) for owner, key, name in named_arrays(grad)]
        for array, _ in places:
            array[...] = math.nan
        _, cache = self.forward_on(images)
        dx = self.layer.backward(to_device(dy.copy(), self.device), cache, grad)
        return {"x": None if dx is None else to_cpu(dx)} | {
            name: to_cpu(array) for array, name in places
        }

    # ------------------------------------------------------------------------- the protocol

    def protocol(self) -> list[str]:
        """What forward and backward do that they should not."""
        xp = get_xp(self.x)
        first, last = _ends(self.layer)
        x, dy = self.x.copy(), to_device(self.dy.copy(), self.device)
        grad = zeros_like(self.layer.params)
        before = [(name, array, array.copy()) for name, array in self.arrays() if name != "x"]
        y, cache = self.run_forward(x)
        problems = []
        if y.dtype != np.float64:
            problems.append(f"forward returned {y.dtype} for float64")
        if not (to_cpu(y) == self.y).all():
            problems.append("forward gave two results for the same x")
        dx = self.layer.backward(dy, cache, grad)
        for name, array in (("forward", y), ("backward", dx)):
            if array is not None and get_xp(array) is not xp:
                problems.append(f"{name} returned an array on another device than x")
        if not (xp.array_equal(x, self.x) or getattr(first, "inplace", False)):
            problems.append("forward or backward overwrote x")
        if not (np.array_equal(to_cpu(dy), self.dy) or getattr(last, "inplace", False)):
            problems.append("backward overwrote dy")
        problems += [
            f"{name} was changed" for name, array, copy in before if not xp.array_equal(array, copy)
        ]
        return problems

    def halves(self, gradients: dict[str, Any]) -> list[str]:
        """What two halves of the batch give otherwise than all of it, of a layer with per_image."""
        N = len(self.x) if self.x.ndim and self.layer.per_image else 0
        if N < 2:
            return []
        if self.y.shape[:1] != (N,):
            return ["per_image is True, but y does not have one entry for each image"]
        parts = [slice(0, N // 2), slice(N // 2, N)]
        found = [self.backward(self.dy[part], part) for part in parts]
        pairs = [("y", np.concatenate([self.forward(part) for part in parts]), self.y)]
        for name, whole in gradients.items():
            if whole is not None and all(half[name] is not None for half in found):
                both = [half[name] for half in found]
                halves = np.concatenate(both) if name == "x" else sum(both)
                pairs.append((f"gradient of {name}", halves, whole))
        return [
            f"per_image is True, but halves of the batch give another {name}"
            for name, halves, whole in pairs
            if halves.shape != whole.shape
            or not (abs(halves - whole) <= ROUNDING * max(abs(whole).max(), SMALLEST)).all()
        ]

    def form(self, name: str, array: Array, analytic: np.ndarray | None) -> str | None:
        """A line where `analytic` cannot be the gradient of `array`; None where it can."""
        if analytic is None:
            meant = not getattr(_ends(self.layer)[0], "input_grad", True)
            return None if meant else "backward returned no gradient of x"
        if analytic.shape != array.shape or analytic.dtype != array.dtype:
            expected = f"expected {array.shape} of {array.dtype}"
            return f"the gradient of {name} is {analytic.shape} of {analytic.dtype}; {expected}"
        if not np.isfinite(analytic).all():
            return f"the gradient of {name} is not finite everywhere, or was not written"
        return None

    # ------------------------------------------------------------------------- the comparison

    def check_array(
        self, name: str, array: Array, analytic: np.ndarray, max_entries: int | None
    ) -> None:
        places, kinks = np.arange(array.size), self.kinks
        if max_entries is not None and max_entries < array.size:
            places = np.sort(self.rng.choice(array.size, max_entries, replace=False))
        size = float(abs(analytic).max()) if array.size else 0.0
        for i in places:
            index = tuple(int(k) for k in np.unravel_index(i, array.shape))
            self.check_entry(name, array, index, float(analytic[index]), size)
        if self.kinks > kinks:
            self.check_entry(name, array, (), float(analytic.sum()), float(abs(analytic).sum()))

    def check_entry(
        self, name: str, array: Array, index: tuple[int, ...], analytic: float, size: float
    ) -> None:
        """Compare at one index, or with () along all entries at once, which may say nothing."""
        together, apart = not index and array.ndim > 0, 0.0
        for h in (self.eps, self.eps / 10, self.eps / 100):
            right, left = self.slopes(array, ... if together else index, h)
            size_of_slopes = max(float(abs(right).max()), float(abs(left).max()), SMALLEST)
            # A kink's two slopes stay apart as h shrinks, a smooth curve's approach each other.
            bent = (abs(right - left) > BEND * h * size_of_slopes) & (abs(right - left) > apart / 2)
            apart = abs(right - left)
            numeric = float((self.dy * (right + left)).sum()) / 2
            error = abs(numeric - analytic) / max(abs(numeric), size, SMALLEST)
            if not bent.any() and error <= self.tolerance:
                break
        if bent.any():
            if together:
                return  # not smooth even so: this says nothing
            tolerance = max(self.tolerance, BEND * h)
            if self.is_slope(name, index, analytic, size, right, left, bent, tolerance):
                self.kinks += 1
                error = 0.0
            else:  # nearly the central difference perhaps, but neither slope
                error = max(error, 1.0)
                sides = (float((self.dy * side).sum()) for side in (right, left))
                self.neither.append(neither_slope(name, index, analytic, *sides))
        self.checked += not together
        error = math.inf if math.isnan(error) else error
        if error > self.worst[0]:
            self.worst = (error, name, index, numeric, analytic)

    def slopes(self, array: Array, where: Any, h: float) -> tuple[np.ndarray, np.ndarray]:
        """How fast each output moves with array[where], to the right and to the left."""
        old = array[where].copy()
        array[where] = old + h
        right = self.forward()
        array[where] = old - h
        left = self.forward()
        array[where] = old
        return (right - self.y) / h, (self.y - left) / h

    def is_slope(
        self, name: str, index: tuple[int, ...], analytic: float, size: float,
        right: np.ndarray, left: np.ndarray, bent: np.ndarray, tolerance: float,
    ) -> bool:  # fmt: skip
        """Whether `analytic` is made of slopes, right or left, one for each output that is bent."""
        for side in (right, left):
            if abs(float((self.dy * side).sum()) - analytic) <= tolerance * max(size, SMALLEST):
                return True
        rest = analytic - float((self.dy * (right + left) * ~bent).sum()) / 2
        for output in np.argwhere(bent):  # ask backward for each bent output alone
            place = tuple(int(k) for k in output)
            alone = np.zeros_like(self.dy)
            alone[place] = 1
            slope = float(self.backward(alone)[name][index])
            sides = float(right[place]), float(left[place])
            largest = max(*map(abs, sides), SMALLEST)
            if min(abs(slope - side) for side in sides) > tolerance * largest:
                return False
            rest -= float(self.dy[place]) * slope
        return abs(rest) <= tolerance * max(size, SMALLEST)


def _ends(layer: Layer) -> tuple[Layer, Layer]:
    """The layers that see x and y, through all that contains them."""
    leaves: list[Any] = [leaf for _, leaf in layer.leaves()]
    first, last = leaves[0], leaves[-1]
    first = _ends(first.layer)[0] if hasattr(first, "layer") else first  # a wrapper
    last = _ends(last.layer)[1] if hasattr(last, "layer") else last
    return first, last
