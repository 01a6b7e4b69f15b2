"""What gradcheck found, in words."""

from dataclasses import dataclass


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
