"""The exercises: each page has some, each has a solution, and what a solution says comes out.

A solution's Python code runs as it stands, and prints what the text block after it says ("..."
stands for anything).  Where an exercise breaks a line of a page, the change is applied to a copy of
the source in memory, and all of minialex is imported anew from that copy for as long as the
solution runs.
"""

import contextlib
import doctest
import importlib.abc
import importlib.util
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "book" / "exercises.md").read_text(encoding="utf-8")
PAGES = [  # the twelve main pages, each by the files that its section names
    "layers/layer.py", "layers/linear.py", "layers/activations.py", "losses.py",
    "numerical_gradient.py", "layers/conv.py", "layers/pool.py", "layers/lrn.py",
    "layers/dropout.py", "models/alexnet.py", "optim.py", "layers/sequential.py",
]  # fmt: skip
FOLDED = re.compile(r"<details>\n<summary>Solution</summary>\n\n(.*?)\n</details>\n", re.DOTALL)


class Exercise(NamedTuple):
    page: str
    title: str  # such as "6.4 Break the way back (break)"
    question: str
    solution: str

    @property
    def broken(self):
        """(file below minialex/, lines taken out, lines put in) of what it breaks, or None."""
        found = re.search(r"```diff\n# (\S+)\n(.*?)```", self.question, re.DOTALL)
        if not found:
            return None
        lines = found[2].splitlines()
        assert {line[0] for line in lines} <= {"-", "+"}
        old, new = ("\n".join(line[1:] for line in lines if line[0] == sign) for sign in "-+")
        return found[1], old, new

    @property
    def code(self):
        """(Python code, what it prints) of the solution."""
        blocks = re.findall(r"```(\w+)\n(.*?)```", self.solution, re.DOTALL)
        assert [kind for kind, _ in blocks] == ["python", "text"], self.title
        return blocks[0][1], blocks[1][1]


def exercises():
    for section in re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)[1:]:
        head, *parts = re.split(r"^### ", section, flags=re.MULTILINE)
        page = re.findall(r"`(\S+\.py)`", head.splitlines()[0])[0]
        for part in parts:
            title, _, text = part.partition("\n")
            question, *rest = FOLDED.split(text)
            assert len(rest) == 2 and not rest[1].strip(), f"{title}: one folded solution, last"
            yield Exercise(page, title, question, rest[0])


EXERCISES = list(exercises())
each = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.title.split()[0])


class Copy(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from `source`; all others come as usual."""

    def __init__(self, file, source):
        self.path = ROOT / "minialex" / file
        self.name = "minialex." + file.removesuffix(".py").replace("/", ".")
        self.source = source

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module):
        exec(compile(self.source, f"<a copy of {self.path.name}>", "exec"), vars(module))


@contextlib.contextmanager
def imported_anew(finder):
    """With `finder` in charge and no module of minialex loaded; afterwards all is as before."""
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if is_ours(name)}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def is_ours(name):
    return name.split(".")[0] == "minialex"


def changed(file, old, new):
    """The source of a page with `old`, whole lines that stand there once, replaced by `new`."""
    lines = (ROOT / "minialex" / file).read_text(encoding="utf-8")
    assert f"\n{lines}".count(f"\n{old}\n") == 1, f"{file} has no such lines, or has them twice"
    return f"\n{lines}".replace(f"\n{old}\n", f"\n{new}\n" if new else "\n")[1:]


def printed(exercise, broken=True):
    """What the code of the solution prints; of the page as it is unless `broken`."""
    out = io.StringIO()
    with contextlib.ExitStack() as stack:
        if broken and exercise.broken:
            file, old, new = exercise.broken
            stack.enter_context(imported_anew(Copy(file, changed(file, old, new))))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(np.printoptions(precision=8))
        exec(compile(exercise.code[0], exercise.title, "exec"), {"__name__": "exercise"})
    return out.getvalue()


def agree(expected, found):
    return doctest.OutputChecker().check_output(expected, found, doctest.ELLIPSIS)


def test_each_main_page_has_two_exercises_or_more():
    counts = {page: sum(e.page == page for e in EXERCISES) for page in PAGES}
    assert min(counts.values()) >= 2, counts
    assert {e.page for e in EXERCISES} == set(PAGES)
    assert len({e.page for e in EXERCISES if e.broken}) >= 5


@each
def test_exercises_are_numbered_by_page_and_say_their_kind(exercise):
    number, kind = exercise.title.split()[0], exercise.title.split()[-1]
    same = [e for e in EXERCISES if e.page == exercise.page]
    assert number == f"{PAGES.index(exercise.page) + 1}.{same.index(exercise) + 1}"
    assert kind in ("(paper)", "(code)", "(break)")
    assert (kind == "(break)") == bool(exercise.broken)


@each
def test_a_solution_prints_what_it_says(exercise):
    found = printed(exercise)
    assert agree(exercise.code[1], found), f"{exercise.title} printed:\n{found}"


@pytest.mark.parametrize(
    "exercise", [e for e in EXERCISES if e.broken], ids=lambda e: e.title.split()[0]
)
def test_what_a_broken_line_shows_is_due_to_that_line(exercise):
    try:
        assert not agree(exercise.code[1], printed(exercise, broken=False))
    finally:
        import minialex

        assert Path(minialex.__file__).parent == ROOT / "minialex"
