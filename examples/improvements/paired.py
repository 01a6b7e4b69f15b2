"""Paired differences -- is one training run better than another, or was it luck?

Train the same network twice with different seeds, and the errors differ.  So one run with an
improvement and one without tell you little.  But two runs with the same seed share their luck:
images, their order, initial weights.  So we look at the difference d_s of each pair s, in which
that luck cancels, and not at two means:

    mean      m  = 1/n sum over s of d_s
    error     SE = sqrt( sum of (d_s - m)^2 / (n - 1) ) / sqrt(n)

and say that a claim HELD where m > t SE, DID NOT HOLD where m < -t SE, and is NOT DECIDED between,
where a true difference of 0 would often give as much.  t is the 97.5 % quantile of Student's
distribution with n - 1 degrees of freedom, so that [m - t SE, m + t SE] is the 95 % confidence
interval: 4.30 for 3 seeds, 2.78 for 5, 2.26 for 10.  (The usual "two standard errors" are right for
many seeds; with three, 18 % of all differences of 0 exceed them.)

Mind how often you ask.  Twenty comparisons of things that do not differ yield one spurious verdict,
on average.

Reference: Student (1908), "The Probable Error of a Mean".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#    degrees of freedom:  1      2     3     4     5     6     7     8     9
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Paired:
    """n paired differences: their mean, its standard error (None if n < 2), and the verdict."""

    n: int
    mean: float
    error: float | None
    verdict: str


def student(n: int) -> float:
    """The factor t for n >= 2 differences; beyond the table by an approximation, within 1 %."""
    degrees = n - 1
    return QUANTILES[degrees - 1] if degrees <= len(QUANTILES) else 1.96 + 2.7 / degrees


def paired(differences: Sequence[float]) -> Paired:
    """Mean, standard error and verdict of paired differences, positive where the claim holds."""
    n = len(differences)
    if n == 0:
        return Paired(0, math.nan, None, "not measured")
    mean = sum(differences) / n
    if n == 1:
        return Paired(1, mean, None, "not decided")
    error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    verdict = "not decided"
    if mean > student(n) * error:
        verdict = "held"
    elif mean < -student(n) * error:
        verdict = "did not hold"
    return Paired(n, mean, error, verdict)


def steps_to(errors: Sequence[float], steps_per_epoch: int, level: float = 0.25) -> float | None:
    """The step at which a curve of errors, at epochs 0, 1, ..., first falls to `level`.

    None where it never does.  Between two epochs the curve is taken as straight.
    """
    for epoch, error in enumerate(errors):
        if error <= level:
            if epoch == 0:
                return 0.0
            before = errors[epoch - 1]
            return (epoch - 1 + (before - level) / (before - error)) * steps_per_epoch
    return None
