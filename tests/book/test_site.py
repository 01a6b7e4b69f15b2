"""The site: one command builds it, its links lead somewhere, and no formula lost a star."""

import html.parser
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
VOID = {"area", "br", "hr", "img", "input", "link", "meta", "wbr", "path"}


class Page(html.parser.HTMLParser):
    """What the tests ask of one page: its links, anchors and text."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors, self.text, self.open = [], [], set(), [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes["id"]} if "id" in attributes else set()
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif "src" in attributes or "href" in attributes:
            self.loaded.append(attributes.get("src") or attributes["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while tag in self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & {*self.open}:
            self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out, start = tmp_path_factory.mktemp("site"), time.perf_counter()
    command = [sys.executable, "docs/build.py", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 120
    return out


@pytest.fixture(scope="module")
def pages(site):
    found = {path.relative_to(site): Page(path) for path in sorted(site.rglob("*.html"))}
    assert len(found) > 100
    return found


def test_every_link_and_picture_leads_somewhere(site, pages):
    broken = set()
    for name, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(unquote(link))
            if parts.scheme in ("http", "https", "data"):
                continue
            target = name.parent / parts.path if parts.path else name
            target = Path(os.path.normpath(target))
            anchors = pages[target].anchors if target in pages else set()
            found = (site / target).is_file() and (not parts.fragment or parts.fragment in anchors)
            broken |= set() if found else {(str(name), link)}
    assert sorted(broken) == []


def test_nothing_is_fetched_from_other_hosts(site, pages):
    assert [link for page in pages.values() for link in page.loaded if "//" in link[:8]] == []
    for path in site.rglob("*.html"):
        styles = re.findall(r"<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.DOTALL)
        assert not re.search(r"@import|url\(['\"]?(?!data:)\w+:", "".join(styles)), path


def test_only_words_are_emphasized(site):
    """A star of a formula, as in K*K*C, would leave an <em> beside a letter, or of a letter."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        odd = re.findall(r"[\w)\]]<em>[^<]*|<em>[^<]*</em>[\w(\[]", text, re.ASCII)
        odd += [words for words in re.findall(r"<em>(.*?)</em>", text) if len(words) < 3]
        assert odd == [], path


def test_no_line_of_prose_becomes_a_title_or_a_list(site):
    """A line that begins with "#145" or with "54." is one of a paragraph."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r"<h1\b", text)) == 1 and "<ol start" not in text, path


def test_no_line_ends_within_an_option_or_before_a_unit(site):
    text = (site / "improvements.html").read_text(encoding="utf-8")
    assert "\u00a0%" in text and " %<" not in text
    text = (site / "options.html").read_text(encoding="utf-8")
    assert '<span class="whole">--batch-size</span>' in text


def test_how_docstrings_are_rendered():
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    docstrings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docstrings)
    text = "D = K*K*C, M = N*OH*OW, a *word*, *size and **kw, **bold**, `x**2`.\n\n    y = a*b*c"
    assert docstrings.docstring_html(text).replace("\n", "") == (
        "<p>D = K*K*C, M = N*OH*OW, a <em>word</em>, *size and **kw, <strong>bold</strong>,"
        ' <code>x**2</code>.</p><pre class="formula" tabindex="0">y = a*b*c</pre>'
    )


def flat(text):
    """Text without what a rendering may change: blanks, dashes, and marks of code and bold."""
    text = re.sub(r"(?<![\w*])\*\*?(\w(?:[\w ,.?'’-]*[\w.?])?)\*\*?(?![\w*])", r"\1", text)
    return re.sub(r"\s|`| \| |—|--|\|", "", text)


def modules(pages):
    for name in pages:
        if name.parts[0].removesuffix(".html") == "minialex":
            yield ".".join(name.with_suffix("").parts), name


def test_no_star_and_no_letter_of_a_docstring_is_lost(pages):
    seen = 0
    for module, name in modules(pages):
        text = flat("".join(pages[name].text))
        head = inspect.getdoc(importlib.import_module(module))
        head = head.replace("%(prog)s", f"minialex {module.rpartition('.')[2]}")
        assert flat(head) in text, module
        seen += 1
    assert seen > 80


def test_the_front_page_has_the_pages_in_the_order_of_the_readme(pages):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    part = readme.partition("All paths start at")[2].partition("Then see")[0]
    order = [f"minialex/{path[:-3]}.html" for path in re.findall(r"`([\w/]+\.py)`", part)]
    links = pages[Path("index.html")].links
    assert order == [link for link in links if link in order] and len(order) == 26
    chapters = sorted((ROOT / "docs" / "book").glob("*.md"))
    assert {f"book/{path.stem.lower()}.html" for path in chapters} <= {*links}


def test_a_page_leads_to_its_chapter(pages):
    for module, chapter in (("layers/conv", "04-convolution"), ("optim", "06-optimizers")):
        links = pages[Path("minialex", f"{module}.html")].links
        assert any(link.endswith(f"/book/{chapter}.html") for link in links)


def test_code_in_documents_keeps_its_lines(pages):
    seen = 0
    for folder in ("book", "zh", "."):
        for path in (ROOT / "docs" / folder).glob("*.md"):
            blocks = re.findall(r"^```\w*\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
            page = pages[Path(folder, f"{path.stem.lower()}.html")]
            shown = {line.rstrip() for line in "".join(page.text).splitlines()}
            lines = {line.rstrip() for block in blocks for line in block.splitlines()}
            assert lines - shown <= {""}, path
            seen += len(blocks)
    assert seen > 100


def test_each_main_page_leads_to_its_exercises(pages):
    found = {
        name
        for name, page in pages.items()
        if name.parts[0] == "minialex" and any("exercises.html#" in link for link in page.links)
    }
    assert len(found) >= 12 and Path("minialex/layers/conv.html") in found


def test_the_search_knows_pages_and_chapters(site):
    text = (site / "search.js").read_text(encoding="utf-8")
    assert '"minialex.layers.conv"' in text and '"book/exercises"' in text


def test_every_page_fits_a_phone_and_the_dark(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "width=device-width" in text and "prefers-color-scheme" in text, path
