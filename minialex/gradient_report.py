"""What gradcheck found, in words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GradReport:
    """What `gradcheck` found.  True where all is well; `str(report)` is one line a finding."""

    ok: bool
    error: float  # the worst error of all entries, as defined on this page
    tolerance: float
    name: str  # the array of the worst entry: "x", "weight", "0.bias" ...
    index: tuple[int, ...]  # its place in that array; () for all entries moved together
    numeric: float  # dL/d(entry) by differences
    analytic: float  # the same by `layer.backward`
    checked: int  # entries compared, kinks included
    kinks: int  # entries on a kink, whose gradient was one of the two slopes
    problems: tuple[str, ...]  # other findings, such as "backward overwrote dy"

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        index = ", ".join(map(str, self.index))
        place = f"{self.name}[{index}]" if self.index else f"{self.name} (all entries)"
        lines = [
            f"gradcheck {'passed' if self.ok else 'FAILED'}: {self.checked} entries, "
            f"{self.kinks} on kinks; worst error {self.error:.1e} (tolerance {self.tolerance:.0e}) "
            f"at {place}: numeric {self.numeric:.12g}, analytic {self.analytic:.12g}"
        ]
        return "\n".join(lines + [f"  {problem}" for problem in self.problems])

    def raise_if_bad(self) -> None:
        """Raise AssertionError, with the text of the report, unless all is well."""
        if not self.ok:
            raise AssertionError(str(self))


def neither_slope(
    name: str, index: tuple[int, ...], analytic: float, right: float, left: float
) -> str:
    """The line for an entry on a kink, with these two slopes, whose gradient is none of them."""
    place = f"{name}[{', '.join(map(str, index))}]"
    return (
        f"{place} is on a kink: to the right the slope is {right:.6g}, to the left {left:.6g}, and"
        f" {analytic:.6g} is neither; gradients shared by equal maxima follow another convention"
    )
