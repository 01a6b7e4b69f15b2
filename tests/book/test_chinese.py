"""The Chinese edition: its sections, figures, code, formulas and numbers are the English text's."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAIRS = {
    "README.md": "README.md",
    "00-what-learning-is.md": "docs/book/00-what-learning-is.md",
    "08-alexnet.md": "docs/book/08-alexnet.md",
}
UNITS = {"million": 1e6, "万": 1e4, "亿": 1e8}
both = pytest.mark.parametrize("name", PAIRS)


def texts(name):
    """The Chinese text and the English one."""
    return ((ROOT / path).read_text(encoding="utf-8") for path in (f"docs/zh/{name}", PAIRS[name]))


def sections(text):
    """(level, text) of each section, code left out."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    parts = re.split(r"^(#+) ", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def numbers(text):
    """All numbers of a text, not of the places where its links lead."""
    text = re.sub(r"\]\([^)]*\)", "]", text)
    found = re.findall(r"(\d[\d,]*(?:\.\d+)?)(?:\s(million|万|亿))?", text)
    return {float(number.replace(",", "")) * UNITS.get(unit, 1) for number, unit in found}


def code(text):
    """Blocks of code without comments, and indented formulas without the words around them."""
    fence = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
    blocks = [(kind, re.sub(r"[ ]*#.*", "", block)) for kind, block in fence.findall(text)]
    formulas = re.findall(r"^ {4}(\S.*?)(?: {3,}.*)?$", fence.sub("", text), re.MULTILINE)
    return blocks, formulas


def pictures(text):
    return [Path(path).name for path in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)]


def tables(text):
    """How many columns each row of a table has."""
    return [line.count("|") for line in text.splitlines() if line.startswith("|")]


@both
def test_sections_are_the_same(name):
    chinese, english = ([level for level, _ in sections(text)] for text in texts(name))
    assert chinese == english


@both
def test_numbers_are_the_same_section_by_section(name):
    for (_, chinese), (_, english) in zip(*map(sections, texts(name)), strict=True):
        assert numbers(chinese) == numbers(english), chinese.partition("\n")[0]


@both
def test_code_and_formulas_are_the_same(name):
    chinese, english = map(code, texts(name))
    assert chinese == english


@both
def test_figures_are_the_same(name):
    chinese, english = map(pictures, texts(name))
    assert chinese == english


@both
def test_commands_and_links_are_the_same(name):
    chinese, english = (sorted(set(re.findall(r"`([^`\n]+)`", text))) for text in texts(name))
    assert chinese == english


def test_it_is_chinese():
    for name in PAIRS:
        chinese, _ = texts(name)
        assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 1000
        assert not re.search(r"[\u4e00-\u9fff][,;:?!]", chinese), "punctuation is full-width"
