"""Build the book as a static site: python docs/build.py [site]

That needs `pip install -e ".[docs]"`.  pdoc renders the modules of minialex, its Markdown library
the chapters and documents, `docstrings.py` the docstrings.  The site needs no network, neither to
be built nor to be read.
"""

import argparse
import ast
import html
import json
import os
import pkgutil
import re
import shutil
from functools import cache
from pathlib import Path

import markdown2
import pdoc.render
import pdoc.search
from colours import coloured, dark_code, page_code
from docstrings import docstring_html, inline, whole
from markupsafe import Markup
from pdoc.render_helpers import markdown_extensions

import minialex

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
MODULES = [
    "minialex",
    *(m.name for m in pkgutil.walk_packages(minialex.__path__, "minialex.") if "__" not in m.name),
]
CHINESE_BREAK = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=(?!\d+\. |\* )[\w`*“（\[])")
FILE = re.compile(r"<code>((?:[\w.-]+/)*[\w-]+\.(?:py|cu|md))(?: [^<]*)?</code>")
DOCUMENT = re.compile(r"(?<![\w\"/>.-])(docs/[\w/-]+\.md)(?![\w\"])")  # named without `...`


# -------------------------------------------------------------------------- what lies where


def place(path):
    """Where on the site a file or folder of the repository is shown; None where it is not there."""
    path = Path(os.path.normpath(path))
    if not (ROOT / path).exists() or path.parts[:1] == ("..",):
        return None
    inside = path.relative_to("docs") if path.parts[0] == "docs" else path
    if path.suffix == ".md" and (inside != path or path.as_posix() in DOCUMENTS):
        return inside.with_name(inside.name.lower()).with_suffix(".html")
    if path.suffix == ".png":
        return inside
    if path.parts[0] == "minialex" and path.suffix == ".py":
        return (path.parent if path.name == "__init__.py" else path).with_suffix(".html")
    if (ROOT / path).is_dir():
        return Path("source", path, "index.html")
    return Path("source", f"{path}.html")


def link(page, path, shown):
    """From the page at `page` to where `path` is shown; files that are linked get shown."""
    target = place(path)
    if target is None:
        return None
    if target.parts[0] == "source":
        shown.add(Path(os.path.normpath(path)))
    return Path(os.path.relpath(target, page.parent)).as_posix()


def link_files(text, page, shown):
    """Make links of the file names in <code>, which stand from the root or from minialex/."""

    def linked(match):
        for path in (match[1], f"minialex/{match[1]}", f"docs/{match[1]}"):
            if (ROOT / path).is_file():
                return f'<a href="{link(page, path, shown)}">{match[0]}</a>'
        return match[0]

    return DOCUMENT.sub(linked, FILE.sub(linked, text))


# ------------------------------------------------------------------------------------- chapters


def chapter_html(path, shown):
    """A Markdown document of the repository as HTML, and its table of contents."""
    text, page = (ROOT / path).read_text(encoding="utf-8"), place(path)
    parts = re.split(r"^(```.*?^```)$", text, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [CHINESE_BREAK.sub("", part) for part in parts[::2]]  # not within code
    text = "".join(parts)
    left_out = "link-patterns", "toc", "cuddled-lists"
    extras = {k: v for k, v in markdown_extensions.items() if k not in left_out}
    extras["tag-friendly"] = None  # a title has a space behind its #
    parts = re.split(r"^(</?details>|<summary>.*</summary>)$", text, flags=re.MULTILINE)
    for i in range(0, len(parts), 2):  # between the tags, which Markdown would take for HTML
        if parts[i].strip():
            parts[i] = str(markdown2.markdown(parts[i], extras=extras))
    text = "\n".join(parts)

    def relative(match):
        target, _, anchor = match[2].partition("#")
        if "://" in target or not target:
            return match[0]
        found = link(page, Path(path).parent / target, shown)
        assert found, f"{path} links to {target}, which does not exist"
        return f'{match[1]}="{found}{"#" + anchor if anchor else ""}"'

    text = re.sub(r'(href|src)="([^"]*)"', relative, text)
    text = text.replace("<pre>", '<pre tabindex="0">')
    text = re.sub(r'<img (src="([^"]*)")', r'<a href="\2"><img loading="lazy" \1', text)
    text = re.sub(r"(<img [^>]*>)", r"\1</a>", text)  # a figure is a link to itself, to enlarge it
    return whole(link_files(text, page, shown)), re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', text)


@cache
def title(path):
    """The first heading of a document."""
    return re.search(r"^# (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)[1]


def head(path):
    """The first line of a program's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def sections(text):
    """(anchor, heading, HTML) of each section of a chapter, for the search."""
    parts = re.split(r'<h[123] id="([^"]+)">(.*?)</h[123]>', text)
    return zip(parts[1::3], parts[2::3], parts[3::3], strict=True)


# ------------------------------------------------------------------------------------- the site


def reading_order():
    """The pages that the README lists under "Read the book", as modules."""
    part = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Read the book")[2]
    items = part[part.index("\n1. ") : part.index("\nThen see")]
    paths = re.findall(r"`([\w/]+\.py)`", items)
    names = [f"minialex.{path.removesuffix('.py').replace('/', '.')}" for path in paths]
    return list(dict.fromkeys(name for name in names if name in MODULES))


def chapter_of_pages():
    """For each module that the book's reading order names: the chapter that it belongs to."""
    text = (ROOT / "docs" / "book" / "README.md").read_text(encoding="utf-8")
    found, chapter = {}, None
    for link in re.findall(r"\]\(([\w./-]+)\)", text.partition("## Twenty")[0]):
        if re.match(r"\d", link):
            chapter = f"docs/book/{link}"
        elif link.startswith("../../minialex/"):
            found[link[6:].removesuffix(".py").replace("/", ".")] = chapter
    return {page: (place(path).as_posix(), title(path)) for page, path in found.items()}


def summary(name):
    """What the first line of a module's docstring says behind its name."""
    line = (pdoc.doc.Module.from_name(name).docstring or "").partition("\n")[0]
    return line.partition(" -- ")[2] or line


class Site:
    """The pages of the site, written into the folder `out`."""

    def __init__(self, out):
        self.out, self.shown, self.searched, self.exercises = out, set(), [], {}
        self.order = reading_order()
        self.chapters, self.chinese, self.documents = (
            sorted(
                (path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob(pattern)),
                key=lambda path: (not path.endswith("README.md"), path),
            )
            for pattern in ("book/*.md", "zh/*.md", "*.md")
        )
        self.modules = {name: pdoc.doc.Module.from_name(name) for name in MODULES}
        pdoc.render.configure(
            docformat="markdown", include_undocumented=False,
            template_directory=ROOT / "docs" / "site",
        )  # fmt: skip
        self.env = pdoc.render.env
        self.env.filters |= {"to_html": docstring_html, "page_code": page_code}
        self.env.filters["link_files"] = lambda text, page: Markup(
            link_files(str(text), Path(page), self.shown)
        )
        self.env.filters["whole"] = lambda text: Markup(whole(str(text)))
        self.env.globals |= {"exercises": self.exercises, "chapter_of": chapter_of_pages()}
        self.env.globals |= {"order": self.order, "names": MODULES, "dark_code": dark_code()}
        self.env.globals["place_of"] = lambda name: f"{name.replace('.', '/')}.html"
        pdoc.search.to_html = docstring_html
        pdoc.render.precompile_index = lambda index, _: json.dumps(index + self.searched)

    def build(self):
        """Write all pages; what they link to comes last."""
        for figure in (ROOT / "docs" / "figures").rglob("*.png"):
            target = self.out / place(figure.relative_to(ROOT))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(figure, target)
        for path in self.chapters + self.chinese + self.documents + DOCUMENTS:
            self.chapter(path)
        for name, module in self.modules.items():
            self.write(Path(*name.split(".")), pdoc.render.html_module(module, self.modules))
        self.front()
        for path in sorted(self.shown):  # grows: folders show their files
            self.source(path)
        search = self.out / "search.js"
        search.write_text(pdoc.render.search_index(self.modules), encoding="utf-8")

    def write(self, page, text):
        path = self.out / page.with_suffix(".html")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def page(self, template, page, **values):
        """Write a page that is not a module's.  `root` leads back to the front page."""
        depth = len(page.parts) - 1
        values |= {"root": "../" * depth, "module": {"modulename": "." * depth}}  # of pdoc's search
        self.write(page, self.env.get_template(template).render(**values))

    def chapter(self, path):
        page = place(path)
        text, contents = chapter_html(path, self.shown)
        for anchor, heading, body in sections(text):
            self.searched.append(
                {
                    "fullname": f"{title(path)} / {plain(heading)}",
                    "modulename": page.with_suffix("").as_posix(), "qualname": anchor,
                    "kind": "chapter", "doc": re.sub(r"<img[^>]*>|</?a\b[^>]*>", "", body),
                }
            )  # fmt: skip
        if path == "docs/book/exercises.md":  # each section's title names its pages
            for anchor, heading in contents:
                for file in re.findall(r">([\w/]+)\.py<", heading):
                    self.exercises[f"minialex.{file.replace('/', '.')}"] = anchor
        row = self.chinese if path in self.chinese else self.chapters
        row = [None, *(row if path in row else [path]), None]
        both = row[row.index(path) - 1], row[row.index(path) + 1]
        near = [other and (place(other).name, title(other)) for other in both]
        self.page(
            "chapter.html.jinja2", page, title=title(path), text=Markup(text), contents=contents,
            before=near[0], after=near[1], lang="zh-Hans" if path in self.chinese else "en",
        )  # fmt: skip

    def front(self):
        rooms = {}
        for name in MODULES:
            if name not in self.order:
                rooms.setdefault(name.rpartition(".")[0] or name, []).append(name)
        entries = {
            key: [(place(path).as_posix(), title(path)) for path in paths]
            for key, paths in (
                ("chapters", self.chapters), ("chinese", self.chinese),
                ("documents", self.documents + DOCUMENTS),
            )
        }  # fmt: skip
        entries["notebooks"] = [
            (link(Path("index.html"), path.relative_to(ROOT), self.shown), head(path))
            for path in sorted((ROOT / "docs" / "notebooks").glob("*.py"))
        ]
        self.page(
            "front.html.jinja2", Path("index.html"), rooms=rooms, **entries,
            summaries={name: Markup(inline(summary(name))) for name in MODULES},
        )  # fmt: skip

    def source(self, path):
        """A file of the repository with its colours, or the list of those in a folder."""
        page, there = place(path), ROOT / path
        if there.is_dir():
            files = sorted(p for p in there.iterdir() if p.suffix in (".py", ".cu", ".md"))
            shown = set()
            rows = [(link(page, file.relative_to(ROOT), shown), file.name) for file in files]
            items = (f'<li><a href="{target}">{name}</a></li>' for target, name in rows)
            text = f"<ul>{''.join(items)}</ul>"
            for file in shown:
                self.source(file)
        else:
            text = coloured(there.read_text(encoding="utf-8"), path.name)
        self.page(
            "chapter.html.jinja2", page, title=path.as_posix(), lang="en",
            text=Markup(f"<h1>{path.as_posix()}</h1>{text}"),
        )  # fmt: skip


def plain(text):
    """HTML without its tags."""
    return html.unescape(re.sub("<[^>]+>", "", text))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path("site"), help="default: site")
    out = parser.parse_args().out
    Site(out).build()
    print(f"{sum(1 for _ in out.rglob('*.html'))} pages: open {out / 'index.html'}")


if __name__ == "__main__":
    main()
