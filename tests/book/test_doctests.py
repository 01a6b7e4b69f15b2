"""What the book computes by hand comes out so: its blocks ```pycon run as doctests."""

import doctest
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[2] / "docs" / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.md"))
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples(path):
    """The blocks of a chapter, each line in its place, so that a failure tells where it is."""
    lines, inside = [], False
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside, line = line == "```pycon", ""
        lines.append(line if inside else "")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_examples_give_what_stands_there(path):
    test = doctest.DocTestParser().get_doctest(examples(path), {}, path.name, str(path), 0)
    report = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert not report, "".join(report)


def test_each_derivation_has_a_worked_example():
    counts = {
        path.stem: len(re.findall(r"^>>> ", path.read_text("utf-8"), re.M)) for path in CHAPTERS
    }
    for name, count in counts.items():
        assert count >= 3 or name[:2] in ("00", "07"), (name, count)
