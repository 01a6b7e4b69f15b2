"""gradcheck -- `numerical_gradient.py` as an instrument: all of a layer's gradients, and a report.

The loss is L = sum of dy * y with a random dy, and each derivative is asked by central differences.
Near h = 1e-5 the error of that, from the series and from rounding, is a few 1e-11 in float64.  In
float32 it would be 6e-3, and with the best h still 2e-5, which hides mistakes; so everything here
is done in float64.  The layer computes where x is, the comparison is the CPU's.

**The step** h is 1e-5 of the number v that is moved, or 1e-5 where |v| < 1.  Where that does not
confirm the analytic value, other h are tried: smaller ones, for a kink that is near or a curve that
is steep, 1e-5 of a v near 0 (a logarithm), and 1e-5 of the largest output (where its rounding hides
less).

**The error** of an entry is |numeric - analytic| / max(|numeric|, a, 0.001), where a is the largest
analytic value in the same array: an entry that is small by chance is measured by the size of its
neighbours.  Of several h the best counts: none of them confirms a wrong gradient.

**All entries together.**  Of a large array only some entries are asked one by one.  But all are
moved together, once by equal and once by random amounts, which costs two forward passes each and
shows any that is wrong; halving the entries that are moved then finds it.

**Kinks.**  A ReLU at 0 and a maximum of equal numbers have two slopes, to the right and to the
left, and no derivative that a difference could confirm.  By the convention of this book the
analytic value is then one of the two, for each output by itself.  A value between them, as where
equal maxima share the gradient (`torch.amax` does that), is a subgradient as well: the report calls
it another convention, and lets it pass.  Two equal maxima that both get ALL of it pass that test,
too, one by one; but moved together by equal amounts they stay equal, and the maximum moves
smoothly.

Reference: Nocedal, Wright (2006), "Numerical Optimization", section 8.1: finite differences and the
choice of h.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.fast.threads import one_blas_thread
from minialex.gradient_protocol import SMALLEST, behaviour, copied, not_finite, wrong_form
from minialex.gradient_report import GradReport, Verdict, hints
from minialex.layers.layer import Layer
from minialex.params import named_arrays, zeros_like
from minialex.xp import Array, to_cpu, to_device, where_is

BEND = 100  # right and left slopes that differ by more than BEND * h of their size make a kink
ENOUGH = 20  # wrong entries, after which other h are tried no more

Index = tuple[int, ...]


def gradcheck(layer: Layer, x: Array, *, seed: int = 0, eps: float = 1e-5,
    tolerance: float = 1e-7, max_entries: int | None = 500) -> GradReport:  # fmt: skip
    """Compare `layer.backward` at x with central differences, for x and for every parameter.

    x is an array of any float dtype and any shape that `layer` takes; a copy of both is looked at.
    `seed` draws dy
    (by a generator of another kind than NumPy's usual one: an x that was drawn with the same seed
    holds other numbers) and, of each array that has more than `max_entries`, those that are asked
    one by one; None asks all.  `eps` is the 1e-5 of this page, `tolerance` the largest error.

    Also checked: shapes and dtypes of what comes back, that every gradient is written, that float32
    stays float32, that nothing kept on `self` changes y or dx, that forward and backward leave x,
    dy, y, the cache and the parameters as they are (a ReLU that `accelerate` lets work in place may
    change x or dy), and, where `per_image` says that images do not see each other, that two halves
    of the batch give what all of it gives.  Where `accelerate` was told that nobody needs dx, only
    the parameters are checked.  Raises TypeError where x is no array.
    """
    if not hasattr(x, "astype"):
        raise TypeError(f"gradcheck: expected an array of floats as x, got {type(x).__name__}")
    # BLAS would wait for its threads longer than small products take; the report warns.
    with one_blas_thread(), np.errstate(all="ignore"):
        return Check(layer, x.astype(np.float64), seed, eps, tolerance).run(max_entries)


class Check:
    """One run.  x and the layer are copies in float64, which `compare` moves in place."""

    def __init__(self, layer: Layer, x: Array, seed: int, eps: float, tolerance: float):
        self.original, self.layer = layer, copied(layer, np.float64)
        self.x, self.eps, self.tolerance = x, eps, tolerance
        self.device = where_is(x)
        self.rng = np.random.Generator(np.random.SFC64(seed))
        self.notes = list[str]()
        self.worst: tuple[float, str, Index, float, float] = (-1.0, "x", (), 0.0, 0.0)

    def run(self, max_entries: int | None) -> GradReport:
        """All of it."""
        verdicts = list[Verdict]()
        problems = not_finite(self.arrays())
        if not problems:
            self.y = self.forward()
            self.dy = self.rng.standard_normal(self.y.shape)
            problems = not_finite([("y", self.y)])
        if not problems:
            gradients = self.backward(self.dy)
            problems = behaviour(self, gradients)
            for name, array in self.arrays():
                wrong = wrong_form(self.layer, name, array, gradients[name])
                problems += wrong
                if not wrong and gradients[name] is not None:
                    verdicts.append(self.check_array(name, array, gradients[name], max_entries))
            if not any(verdict.checked for verdict in verdicts):
                problems.append("there was nothing to compare")
        ok, error = self.worst[0] <= self.tolerance and not problems, max(self.worst[0], 0.0)
        counts = sum(v.checked for v in verdicts), sum(v.kinks for v in verdicts)
        return GradReport(ok, error, self.tolerance, *self.worst[1:], *counts, tuple(problems),
            tuple(self.notes), tuple(verdicts))  # fmt: skip

    # ------------------------------------------------------------------------- the function

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """x and every parameter, by name."""
        yield "x", self.x
        for owner, key, name in named_arrays(self.layer.params):
            yield name, owner[key]

    def run_forward(self, x: Array, first: int = 0, layer: Any = None) -> tuple[Array, Any]:
        """Always as of step 0, since a Dropout draws other numbers at the next."""
        layer = self.layer if layer is None else layer
        layer.set_step(0, first)
        return layer.forward(x)

    def forward_on(self, images: Any) -> tuple[Array, Any]:
        """On a copy of some images, or of all by `...`."""
        return self.run_forward(self.x[images].copy(), getattr(images, "start", 0))

    def forward(self, images: Any = ...) -> np.ndarray:
        """y on the host."""
        return to_cpu(self.forward_on(images)[0])

    def backward(self, dy: np.ndarray, images: Any = ...) -> dict[str, Any]:
        """The analytic gradient of every array, by name.  What backward does not write is NaN."""
        _, cache = self.forward_on(images)
        return self.backward_from(cache, to_device(dy.copy(), self.device))[1]

    def backward_from(self, cache: Any, dy: Array) -> tuple[Array, dict[str, Any]]:
        """dx as it was returned, and all gradients on the host, from this cache."""
        grad = zeros_like(self.layer.params)
        places = [(owner, key, owner[key], name) for owner, key, name in named_arrays(grad)]
        for _, _, array, _ in places:
            array[...] = math.nan
        dx = self.layer.backward(dy, cache, grad)
        gradients: dict[str, Any] = {"x": None if dx is None else to_cpu(dx).copy()}
        for owner, key, array, name in places:
            text = f"backward replaced grad[{key!r}]; write into it"
            gradients[name] = to_cpu(array) if owner[key] is array else text
        return dx, gradients

    # ------------------------------------------------------------------------- the comparison

    def check_array(self, name: str, array: Array, analytic: np.ndarray,
        max_entries: int | None) -> Verdict:  # fmt: skip
        """Some entries one by one, then all together."""
        self.found, self.array, self.analytic = Verdict(name, array.size), array, analytic
        self.numeric = np.full(array.shape, math.nan)  # where it was not asked
        self.largest = float(abs(analytic).max(initial=0))
        places = np.arange(array.size)
        if max_entries is not None and max_entries < array.size:
            places = np.sort(self.rng.choice(array.size, max_entries, replace=False))
        for i in places:
            self.check_entry(i)
        if self.found.wrong:
            self.found.hint = next(hints(self, name, self.numeric, analytic), "")
        elif array.size > 1:
            self.found.together = self.all_at_once()
        return self.found

    def check_entry(self, i: int) -> None:
        """Compare entry number i alone."""
        index, found = tuple(int(k) for k in np.unravel_index(i, self.array.shape)), self.found
        error, numeric, analytic, kind = self.compare(index, np.ones(()))
        found.kinks, found.shared = found.kinks + (kind == 1), found.shared + (kind == 2)
        found.checked, found.wrong = found.checked + 1, found.wrong + (error > self.tolerance)
        self.numeric[index] = numeric
        if error > self.worst[0]:
            self.worst = (error, found.name, index, numeric, analytic)

    def all_at_once(self) -> bool:
        """Whether all entries, moved together, show that some are wrong; then look for one."""
        shape, places = self.array.shape, np.arange(self.array.size)
        amounts = self.rng.uniform(0.5, 1, shape) * self.rng.choice([-1, 1], shape)
        for u in (np.ones(shape), amounts):
            error, numeric, analytic, _ = self.compare(..., u)
            if error > self.tolerance:
                while len(places) > 1:
                    half, part = places[: len(places) // 2], np.zeros(shape)
                    part.flat[half] = amounts.flat[half]
                    here = self.compare(..., part)[0] > self.tolerance
                    places = half if here else places[len(half) :]
                self.check_entry(places[0])
                if not self.found.wrong:
                    self.worst = max(self.worst, (error, self.found.name, (), numeric, analytic))
                return True
        return False

    def compare(self, where: Any, u: np.ndarray) -> tuple[float, float, float, int]:
        """Move array[where] along u: error, numeric and analytic slope, and the kind of kink.

        The kind is 0 for none, else as in `kind_of_kink`; where all entries move, outputs at kinks
        are left out.
        """
        together, best, kink = where is ..., (math.inf, 0.0, 0.0), None
        v = self.array[where].copy()
        for which, scale in enumerate(self.scales(abs(to_cpu(v)))):
            length, apart = float(np.linalg.norm(u * scale)), 0.0
            step = u * scale / length
            for h in self.eps * 0.1 ** np.arange(5):
                right, left = self.slopes(where, v, h * length, step)
                steepest = max(abs(right).max(), abs(left).max(), SMALLEST)
                # A kink's slopes stay apart as h shrinks, a smooth curve's approach each other.
                gap = abs(right - left)
                bent = gap > np.maximum(apart / 2, BEND * h * steepest)
                bent &= gap > 1e-15 * abs(self.y) / (h * length)  # what rounding may do
                smooth, apart = self.dy * ~bent, gap
                gradient = self.backward(smooth)[self.found.name] if bent.any() else self.analytic
                terms, numeric = gradient[where] * step, float((smooth * (right + left)).sum()) / 2
                size = max(float(np.linalg.norm(terms)), 0 if together else self.largest)
                analytic = float(terms.sum())
                error = abs(numeric - analytic) / max(abs(numeric), size, SMALLEST)
                result = math.inf if math.isnan(error) else error, numeric, analytic
                if not bent.any() or (together and not bent.all()):
                    best = result if result[0] < best[0] / 2 else best
                    kink = kink if which else None
                    if result[0] <= self.tolerance or self.found.wrong >= ENOUGH:
                        return *result, 0
                elif which == 0:
                    kink = result, right, left, bent, max(self.tolerance, BEND * h)
        if kink is None or together:
            return *(kink[0] if kink and math.isinf(best[0]) else best), 0
        (error, *_), right, left, bent, tolerance = kink
        kind = self.kind_of_kink(where, right, left, bent, tolerance)
        numeric = float((self.dy * (right + left)).sum()) / 2
        return error if kind else max(error, 1.0), numeric, float(self.analytic[where]), kind

    def slopes(self, where: Any, v: Array, h: float, step: np.ndarray) -> Any:
        """How fast each output moves as array[where] moves along `step` from v, right and left."""
        change = to_device(h * step, self.device)
        self.array[where] = v + change
        right = self.forward()
        self.array[where] = v - change
        left = self.forward()
        self.array[where] = v
        return (right - self.y) / h, (self.y - left) / h

    def scales(self, v: np.ndarray) -> Iterator[np.ndarray]:
        """The sizes that h is measured by where numbers of size v move, the best guess first."""
        ordinary, small = np.maximum(1, v), (v > 0) & (v < 0.01)
        yield ordinary
        if small.any():
            yield np.where(small, v, ordinary)
        if abs(self.y).max() > 100:
            yield np.maximum(abs(self.y).max(), ordinary)

    def kind_of_kink(self, where: Index, right: Any, left: Any, bent: Any, tolerance: float) -> int:
        """Whether the gradient of each bent output is a slope, right or left (1 for all of them).

        2 where some lie between the two, 0 where one lies beyond.
        """
        kind = 1
        for output in np.argwhere(bent):  # ask backward for each of them alone
            alone, place = np.zeros_like(self.dy), tuple(output)
            alone[place] = 1
            slope = float(self.backward(alone)[self.found.name][where])
            low, high = sorted((float(right[place]), float(left[place])))
            margin = tolerance * max(abs(low), abs(high), SMALLEST)
            if not low - margin <= slope <= high + margin:
                return 0
            kind = kind if min(slope - low, high - slope) <= margin else 2
        return kind
