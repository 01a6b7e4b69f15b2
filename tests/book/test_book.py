"""The book: its terms, tables and numbers, and what the index promises."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from book_programs import load

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "docs" / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.md"))
TEXTS = {path.name: path.read_text("utf-8") for path in CHAPTERS}
FIRST = TEXTS["00-what-learning-is.md"]


# ------------------------------------------------------------------------------- chapter 0


def test_the_first_program_prints_what_stands_below_it_and_is_short():
    code, printed = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", FIRST, re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == printed
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 24
    assert all(len(line) <= 100 for line in lines)


def test_overfitting_is_as_chapter_0_tells(figures):
    losses = figures.learn(20, 40, 200)[2]
    best = losses[:, 1].argmin()
    form = r"lowest, ([\d.]+), after epoch (\d+)\..*?loss is ([\d.]+) and.*?loss ([\d.]+)"
    said = re.search(form, " ".join(FIRST.split()))
    seen = f"{losses[best, 1]:.2f}", str(best), *(f"{loss:.2f}" for loss in losses[-1])
    assert said.groups() == seen


# -------------------------------------------------- terms are explained before they are used


def prose(text):
    """A chapter without its look-up tables, titles, formulas, code, pictures and links."""
    text = text.partition("\n## Notation\n")[0]
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"^(#|    ).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"`(?:minialex|docs|examples)/[^`]*`", "", text)


GLOSSARY = re.findall(r"^\| (.+?) \| .+? \| \[\d\]\((.+?)\) \|$", FIRST, re.MULTILINE)


def pattern(term):
    """Where a term is used, in the singular or the plural, across the end of a line too."""
    words = r"[\s-]+".join(map(re.escape, re.split(r"[ -]", term)))
    return re.compile(rf"(?<![\w-]){words}(?:s|es)?(?![\w])", re.IGNORECASE)


def bold(text):
    """Where the bold parts of a text lie."""
    return [match.span() for match in re.finditer(r"\*\*.+?\*\*", text, re.DOTALL)]


def test_the_glossary_is_long_and_in_order():
    terms = [term for term, _ in GLOSSARY]
    assert len(terms) >= 60
    assert terms == sorted(terms, key=str.lower)


@pytest.mark.parametrize("term, chapter", GLOSSARY)
def test_a_term_is_used_first_where_it_is_explained(term, chapter):
    for name, text in TEXTS.items():
        text = prose(text)
        found = pattern(term).search(text)
        if found:
            line = text[: found.start()].count("\n") + 1
            assert name == chapter, (term, name, line, text[found.start() - 40 : found.end() + 40])
            assert any(a < found.start() < b for a, b in bold(text)), (term, name, line)
            return
    raise AssertionError(f"{term} does not occur")


# What the head of a page names in passing, though its chapter comes later.
IN_PASSING = {
    "layer.py": {"activation", "batch normalization", "channel", "dropout", "optimizer"},
    "linear.py": {"multiply-add", "ReLU"}, "numerical_gradient.py": {"ReLU"},
    "activations.py": {"Adam"},
}  # fmt: skip


def test_the_pages_use_terms_that_were_explained_before():
    order = reading_order()
    explained = {term: order.index(chapter) for term, chapter in GLOSSARY}
    for number, link in enumerate(order):
        if link.endswith(".py"):
            path = BOOK / link
            head = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            later = {
                term for term, at in explained.items() if at > number and pattern(term).search(head)
            }
            assert later <= IN_PASSING.get(path.name, set()), path.name


def test_each_term_in_bold_is_in_the_glossary():
    known = [pattern(term) for term, _ in GLOSSARY]
    for name, text in TEXTS.items():
        for a, b in bold(prose(text)):
            part = " ".join(prose(text)[a + 2 : b - 2].split())
            ends_a_sentence = part.rstrip().endswith((".", "?", ":"))  # a title of a paragraph
            assert ends_a_sentence or any(p.search(part) for p in known) or part in EMPHASIS, (
                name,
                part,
            )


EMPHASIS = {"add", "held", "not decided", "not measured", "What it thought minus what is true"}


def test_each_symbol_of_the_notation_occurs():
    notation = FIRST.partition("\n## Notation\n")[2].partition("\n## Glossary\n")[0]
    symbols = {
        s
        for row in re.findall(r"^\| (.+?) \|", notation, re.M)[2:]
        for s in re.findall(r"\w+", row)
    }
    text = "".join(part.partition("\n## Notation\n")[0] for part in TEXTS.values())
    assert len(symbols) >= 25
    assert sorted(s for s in symbols if not re.search(rf"(?<![A-Za-z]){s}(?![a-z])", text)) == []


# ------------------------------------------------------------------------- tables and numbers


def test_tables_are_what_is_counted_and_measured():
    tables = load("tables")
    names = {name for text in TEXTS.values() for name in re.findall(r"<!-- table (\w+) -->", text)}
    assert names == set(tables.TABLES)
    for text in TEXTS.values():
        assert tables.filled(text) == text


def test_each_improvement_has_one_line():
    tables = load("tables")
    assert len(tables.results().splitlines()) == 2 + 6


def test_numbers_of_the_trained_networks_are_those_that_were_seen():
    seen = json.loads((BOOK / "figures.json").read_text("utf-8"))
    runs, layers = seen["curves"], seen["layers"]
    curves, alexnet = (" ".join(TEXTS[name].split()) for name in
                       ("07-reading-curves.md", "08-alexnet.md"))  # fmt: skip
    good, over, low = (runs[name] for name in ("good", "overfitting", "rate too low"))
    for part in (
        f"{good['train_loss']:.2f} and {good['val_loss']:.2f} at the end",
        f"with {good['val_acc']:.0%} of the validation drawings right",
        f"goes to {over['train_loss']:.3f} and {over['train_acc']:.0%} right",
        f"lowest, {runs['best']['val_loss']:.2f}, in epoch {runs['best']['epoch']}",
        f"*rises* to {over['val_loss']:.2f}",
        f"the loss is {low['train_loss']:.2f}, where",
    ):
        assert part.replace("%", " %") in curves
    assert over["val_acc"] >= runs["best"]["val_acc"]  # the accuracy does not fall
    assert abs(runs["rate too high"]["train_loss"] - np.log(2)) < 0.01
    assert (
        runs["rate too high"]["dead"] == 16 and "all 16 filters of its first layer dead" in curves
    )
    trained, zeros = load("alexnet_figures").TRAINED, layers["zeros"]
    assert (trained["epochs"], trained["width"], trained["test"]) == (3, 0.25, 500)
    assert "a quarter of the width" in alexnet and "three epochs" in alexnet
    for part in (
        f"on {trained['drawings']:,} drawings",
        f"it got {layers['accuracy']:.1%} of 500 others right",
        f"{zeros['fc6']:.0%} and {zeros['fc7']:.0%} of their units",
        f"probability of {layers['dog']:.4f} of the two scores",
    ):
        assert part.replace("%", " %") in alexnet


def test_results_on_photos_are_those_of_docs_measured():
    measured = (ROOT / "docs" / "measured.md").read_text("utf-8")
    recipe = TEXTS["08-alexnet.md"].partition("## The recipe")[2].partition("\n## ")[0]
    shares = re.findall(r"[\d.]+ %", " ".join(recipe.split()))
    assert len(shares) == 3 and all(share in measured for share in shares)


def test_shares_of_parameters_and_work_are_as_stated():
    tables = load("tables")
    numbers = tables.count(tables.AlexNet(1000, "2012"))
    for what, first, share in (("parameters", 5, 96), ("connections", 0, 92)):
        part = numbers[5:] if first else numbers[:5]
        total = sum(getattr(row, what) for row in numbers)
        assert round(100 * sum(getattr(row, what) for row in part) / total) == share


# ---------------------------------------------------------------------------------- the index


def reading_order():
    """The chapters and pages in the order of the index, as its links."""
    index = (BOOK / "README.md").read_text("utf-8")
    order = index.partition("## Reading order")[2].partition("\n## ")[0]
    return re.findall(r"\]\(([^)]*)\)", order)


def test_the_index_names_each_chapter_and_page_once_and_in_order():
    links = reading_order()
    chapters = [link for link in links if re.match(r"\d", link)]
    assert chapters == [path.name for path in CHAPTERS]
    pages = [link for link in links if not re.match(r"\d", link)]
    assert len(pages) == len(set(pages)) >= 20


def test_the_readme_lists_the_pages_in_the_same_order():
    part = (ROOT / "README.md").read_text("utf-8").partition("All paths start at")[2]
    listed = re.findall(r"`([\w/]+\.py)`", part.partition("\nThen see")[0])
    links = [link.partition("minialex/")[2] for link in reading_order()]
    both = [page for page in listed if page in links]
    assert both == [page for page in links if page in listed] and len(both) >= 15


def anchors(text):
    """The anchors of the titles of a document, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_each_of_the_twenty_questions_leads_to_a_section():
    index = (BOOK / "README.md").read_text("utf-8")
    questions = index.partition("## Twenty questions")[2]
    links = re.findall(r"\]\((\d[^)#]*\.md)#([^)]*)\)", questions)
    assert len(re.findall(r"^\| \d+ \|", questions, re.MULTILINE)) == 20
    for name, anchor in links:
        assert anchor in anchors(TEXTS[name]), (name, anchor)


def test_no_line_of_prose_turns_into_a_list_or_a_title():
    for name, text in TEXTS.items():
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert re.findall(r"^(?:[+-]|\d+[.)]|=+|-+) .*$", text, re.MULTILINE) == [], name


def test_the_book_can_be_read_in_an_evening():
    words = 0
    for text in TEXTS.values():
        text = re.sub(r"```.*?```", "", text.partition("\n## Notation\n")[0], flags=re.DOTALL)
        lines = [one for one in text.splitlines() if not re.match(r"[| <]|\[\w+\]: ", one)]
        words += sum(len(line.split()) for line in lines)  # no tables, formulas, places of links
    assert 6000 <= words <= 10000
