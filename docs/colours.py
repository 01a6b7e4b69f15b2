"""Code as HTML, with its colours."""

import ast

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import CppLexer, get_lexer_for_filename

FORMATTER = HtmlFormatter(cssclass="pdoc-code", linenos=False)


def coloured(code, name):
    """The code of the file `name`."""
    lexer = CppLexer() if name.endswith(".cu") else get_lexer_for_filename(name)
    return highlight(code, lexer, FORMATTER)


def page_code(module):
    """The code of a module, without the docstring that stands above it already."""
    tree = ast.parse(module.source)
    end = tree.body[0].end_lineno if ast.get_docstring(tree) else 0
    code = "\n".join(module.source.splitlines()[end:]).strip("\n")
    return Markup(coloured(code, "page.py")) if code else ""


def dark_code():
    """The colours of code for those who read light on dark."""
    return HtmlFormatter(style="github-dark").get_style_defs(".pdoc-code")
