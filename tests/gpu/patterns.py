"""Change a place of a source file that is found by what it says, whatever way it is written.

A pattern is a piece of Python or CUDA C++.  It is compared token by token, so white space, line
breaks, comments, the kind of quotes and a last comma do not matter; and it may leave open what it
is not about:

    $x      one operand, such as `slot`, `self.memory[:size]`, `T(0)` or `(a + b)`
    $$x     anything, or nothing, up to where the pattern goes on; brackets in it come in pairs

What stands twice in a pattern must be the same twice.  `$s.wait_event($e)` is any wait for an
event.
"""

import ast
import re
from typing import NamedTuple

PYTHON = re.compile(
    r"""\s+ | \\\n | \#[^\n]* |                                          # not a token
    (?P<token> (?:[rbf]{0,2}(?:\"{3}.*?\"{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')) |
    \$?\$?[A-Za-z_]\w* | \d[\w.]* | \.\.\. | \*\* | // | << | >> | [-+*/%<>=!&|^:@]= | -> | . )""",
    re.VERBOSE | re.DOTALL,
)
CUDA = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/ |                                     # not a token
    (?P<token> "(?:\\.|[^"\\])*" |
    \$?\$?[A-Za-z_]\w* | \d[\w.]* | << | >> | && | \|\| | \+\+ | -- | :: | -> |
    [-+*/%<>=!&|^]= | . )""",
    re.VERBOSE | re.DOTALL,
)
OPENING, CLOSING = "([{", ")]}"


class Mutation(NamedTuple):
    """In `place`, a function of `file` or "" for all of it, `old` becomes `new` (see above).

    One of `tests`, node ids or files, should then fail.
    """

    file: str
    place: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]


class PatternError(Exception):
    """A place that is not there, or not once."""


def change(text, python, place, old, new):
    """`text`, a source file, with `new` in the place of the only code like `old` in `place`.

    `place` is the name of a function, such as "Slot.send", or "" for the whole file.
    """
    start, end = (python_place if python else cuda_place)(text, place) if place else (0, len(text))
    tokens = [t for t in tokenized(text, python) if start <= t[1] and t[2] <= end]
    pattern = [token for token, _, _ in tokenized(old, python)]
    words, found, at = [token for token, _, _ in tokens], [], 0
    while at < len(words):
        match = matched(pattern, words, at, {})
        if match:
            found.append((at, *match))
        at = max(at + 1, match[0] if match else 0)
    if len(found) != 1:
        where = place or "the file"
        raise PatternError(f"{where} has {len(found)} times, not once: {old!r}")
    ((first, last, bound),) = found

    def source(name):
        a, b = bound[name[0]]
        return text[tokens[a][1] : tokens[b - 1][2]] if b > a else ""

    new = re.sub(r"\$\$?\w+", source, new)
    return text[: tokens[first][1]] + new + text[tokens[last - 1][2] :]


def tokenized(text, python):
    """(token, start, end) of each; quotes are ", and no comma stands before a closing bracket."""
    found = []
    for match in (PYTHON if python else CUDA).finditer(text):
        token = match["token"]
        if token is None:
            continue
        if token[-1] == "'":
            token = token.replace("'", '"')
        if token in CLOSING and found and found[-1][0] == ",":
            found.pop()
        found.append((token, *match.span()))
    return found


def matched(pattern, words, at, bound):
    """(where a match from `at` on ends, {wildcard: (start, end)}), or None."""
    if not pattern:
        return at, bound
    first, rest = pattern[0], pattern[1:]
    if first[0] != "$" or len(first) == 1:
        return matched(rest, words, at + 1, bound) if words[at : at + 1] == [first] else None
    if first in bound:
        a, b = bound[first]
        same = words[at : at + b - a] == words[a:b]
        return matched(rest, words, at + b - a, bound) if same else None
    ends = runs(words, at) if first.startswith("$$") else reversed(list(operands(words, at)))
    for end in ends:
        match = matched(rest, words, end, {**bound, first: (at, end)})
        if match:
            return match
    return None


def runs(words, at):
    """Where a balanced run of tokens that begins `at` may end, the shortest first."""
    depth = 0
    yield at
    for end in range(at, len(words)):
        depth += (words[end] in OPENING) - (words[end] in CLOSING)
        if depth < 0:
            return
        if depth == 0:
            yield end + 1


def operands(words, at):
    """Where an operand that begins `at` may end, the shortest first."""
    if at >= len(words):
        return
    end = at
    if re.match(r"[\w\"]", words[at]):
        end += 1
    elif words[at] in OPENING:
        end = closed(words, at)
    else:
        return
    yield end
    while end < len(words):
        if words[end] in "([":
            end = closed(words, end)
        elif words[end] in (".", "->", "::"):
            end += 2
        else:
            return
        yield end


def closed(words, at):
    """The place after the bracket that closes the one `at`."""
    depth = 0
    for end in range(at, len(words)):
        depth += (words[end] in OPENING) - (words[end] in CLOSING)
        if depth == 0:
            return end + 1
    raise PatternError("a bracket is not closed")


def python_place(text, name):
    """The start and the end of a function or class in Python source."""
    node = ast.parse(text)
    for part in name.split("."):
        found = [child for child in ast.walk(node) if getattr(child, "name", None) == part]
        if len(found) != 1:
            raise PatternError(f"there are {len(found)} definitions of {name}, not one")
        node = found[0]
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    return lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno]


def cuda_place(text, name):
    """The start and the end of a __device__ function."""
    tokens = tokenized(text, python=False)
    words = [token for token, _, _ in tokens]
    found = []
    for k, word in enumerate(words):
        if word == name and words[k + 1] == "(" and words[closed(words, k + 1)] == "{":
            found.append((tokens[k][1], tokens[closed(words, closed(words, k + 1)) - 1][2]))
    if len(found) != 1:
        raise PatternError(f"there are {len(found)} definitions of {name}, not one")
    return found[0]
