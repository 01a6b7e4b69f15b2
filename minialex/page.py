"""A page for a browser: one HTML file that needs no other, no server and no network.

Names of files and classes come from anywhere, so all text is escaped, but for what `element` made.
Beside that, the page forbids every browser to run a script in it or to load anything.
"""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from minialex.files import write_whole

HEAD = b"""<!doctype html><html lang="en"><meta name="generator" content="minialex">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
"""
LARGEST = 512  # pixels of the longer side of a JPEG


class Html(str):
    """Text that is HTML; every other text is escaped before it comes into a page."""


CHART_STYLE = Html(Path(__file__).with_name("chart.css").read_text("utf-8"))
STYLE = Html(Path(__file__).with_name("page.css").read_text("utf-8") + CHART_STYLE)


def element(name: str, /, *inside: Any, **attributes: Any) -> Html:
    """<name attributes>inside</name>; underscores in the names of attributes become hyphens.

    One at the end goes: `class_`.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    words = "".join(f' {key}="{html.escape(str(value))}"' for key, value in pairs)
    text = "".join(one if isinstance(one, Html) else html.escape(str(one)) for one in inside)
    return Html(f"<{name}{words}>{text}" + f"</{name}>" * (name != "img"))


def embedded(picture: Image.Image, alt: str, kind: str = "PNG") -> Html:
    """A picture as part of the page; a "JPEG" is made no larger than LARGEST."""
    file = io.BytesIO()
    if kind == "JPEG":
        picture = picture.copy()
        picture.thumbnail((LARGEST, LARGEST))
    picture.save(file, kind)
    data = base64.b64encode(file.getvalue()).decode()
    return element("img", src=f"data:image/{kind.lower()};base64,{data}", alt=alt)


def table(caption: str, head: Iterable[Any], rows: Iterable[Iterable[Any]], kind: str) -> Html:
    """A table that scrolls by itself where it is wide; the first cell of a row is its heading."""
    heads = [element("th", one, scope="col") for one in head]
    lines = [element("tr", element("th", first, scope="row"), *(element("td", one) for one in more))
        for first, *more in rows]  # fmt: skip
    whole = element("table", element("caption", caption), element("thead", element("tr", *heads)),
        element("tbody", *lines), class_=kind)  # fmt: skip
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def section(heading: str, *inside: Any) -> Html:
    """A part of the page; without a heading it belongs to the one before it."""
    return element("section", *[element("h2", heading)] * bool(heading), *inside)


def pictures(heading: str, cells: Iterable[tuple[Image.Image, str]]) -> Html:
    """A section of pictures, each with the text below it."""
    figures = [element("figure", embedded(picture, text or heading), element("figcaption", text))
        for picture, text in cells]  # fmt: skip
    return section(heading, element("div", *figures, class_="pictures"))


def inlay(*inside: Any) -> str:
    """A part of somebody else's page, such as a notebook's; our styles hold in there alone.

    It is plain text, since some notebooks send no str of another class.
    """
    nested = f".minialex {{ {STYLE.replace(':root', '&')} }}"  # & is .minialex in there
    return str(element("div", element("style", Html(nested)), *inside, class_="minialex"))


def write_page(path: Path, title: str, sections: Iterable[Html]) -> None:
    """Write the file.  Raises CheckpointError where the disk refuses."""
    body = element("main", element("h1", title), *sections)
    text = element("title", title) + element("style", STYLE) + body + "</html>\n"
    write_whole(path, [HEAD, text.encode("utf-8", "backslashreplace")])
