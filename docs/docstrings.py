"""Docstrings as HTML.  They are plain text with indented formulas, not Markdown, which would take
the stars of K*K*C for emphasis.
"""

import html
import re
import textwrap

BOLD = re.compile(r"(?<![\w*])\*\*(?=\S)([^*]+)(?<=\S)\*\*(?![\w*])")
WHOLE = re.compile(r"(?<![\w-])--[a-z][\w-]*|\b\d[\d.]*e-\d+")
WORDS = re.compile(r"(?<![\w*])\*([A-Za-z][A-Za-z ]*)\*(?![\w*])")  # no formula, no *args


def docstring_html(text):
    """A docstring as HTML: prose as paragraphs, everything that is laid out as it stands."""
    blocks = []
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        lines = block.splitlines()
        kind = "pre" if is_laid_out(lines) else "p"
        if kind == "pre" and blocks and blocks[-1][0] == "pre" and block.startswith("    "):
            blocks[-1][1].extend(["", *lines])  # two formulas may be aligned with each other
        else:
            blocks.append((kind, lines))
    made = {"pre": preformatted, "p": prose}
    return "\n".join(made[kind](lines) for kind, lines in blocks)


def is_laid_out(lines):
    """Whether a paragraph is indented, in whole or in part, has columns, or is an example."""
    return lines[:1] == ["example:"] or any(
        line.startswith("    ") or re.search(r"\S {3,}\S", line) for line in lines
    )


def preformatted(lines):
    """Formulas and tables keep their places; a list of shapes becomes a list."""
    head, *rest = re.split(r" {3,}", lines[0], maxsplit=1)
    rows = [*rest, *lines[1:]]
    if head == "Shapes" and not any(re.search(r"\S {3,}\S", row.strip()) for row in rows):
        items = [item for row in rows for item in row.split(" | ")]
        return '<p class="shapes">Shapes</p>\n' + listed(items, ' class="shapes"')
    if head in ("Reference", "References") and not rest:
        items = re.split(r"\n {4}(?=\S)", "\n".join(lines))[1:]
        return f"<p>{head}</p>\n{listed(items)}"
    text = textwrap.dedent("\n".join(lines))
    return f'<pre class="formula" tabindex="0">{html.escape(text, quote=False)}</pre>'


def prose(lines):
    """A paragraph, or a list where lines begin with a dash."""
    if all(line.startswith(("- ", "  ")) for line in lines):
        items = re.split(r"^- |\n- ", "\n".join(lines))[1:]
        return listed(items)
    return f"<p>{inline(' '.join(lines))}</p>"


def listed(items, attributes=""):
    rows = (f"<li>{inline(' '.join(item.split()))}</li>" for item in items)
    return f"<ul{attributes}>{''.join(rows)}</ul>"


def inline(text):
    """`code`, **bold** and *words* in a line of text; any other star is a star."""
    parts = re.split(r"(`[^`]+`)", text)
    for i, part in enumerate(parts):
        part = html.escape(part, quote=False).replace(" -- ", " — ")
        if i % 2:
            parts[i] = f"<code>{part[1:-1]}</code>"
        else:
            part = BOLD.sub(r"<strong>\1</strong>", part)
            parts[i] = WORDS.sub(r"<em>\1</em>", part)
    return "".join(parts)


def whole(text):
    """HTML where no line ends within an option, or between a number and its unit or exponent."""
    parts = re.split(r"(<pre.*?</pre>|<[^>]*>)", text, flags=re.DOTALL)
    for i in range(0, len(parts), 2):
        part = re.sub(r"(?<=\d) (?=%|s\b)", "\u00a0", parts[i])
        parts[i] = WHOLE.sub(r'<span class="whole">\g<0></span>', part)
    return "".join(parts)
