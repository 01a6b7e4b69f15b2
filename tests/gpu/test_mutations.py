"""The list of mutations.py fits the sources, so that it can be run at any time; running it takes
minutes."""

import ast
import re

import pytest

from mutation_list import MUTATIONS
from mutations import REPOSITORY, ListError, apply, mutated
from patterns import change, tokenized

PACKAGE = REPOSITORY / "minialex"


def rewritten(text, python):
    """`text` in other words: without its comments and line breaks, with other quotes and spaces."""
    if python:
        return ast.unparse(ast.parse(text))
    return " ".join(token for token, _, _ in tokenized(text, python=False))


def meaning(text, python):
    return ast.dump(ast.parse(text)) if python else rewritten(text, python)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.file}: {m.what}")
def test_it_changes_one_place_whatever_way_that_is_written(mutation):
    python = mutation.file.endswith(".py")
    original = (PACKAGE / mutation.file).read_text(encoding="utf-8")
    changed = mutated(mutation, PACKAGE)
    assert meaning(changed, python) != meaning(original, python)
    of_rewritten = apply(mutation, rewritten(original, python))
    assert meaning(of_rewritten, python) == meaning(changed, python)


@pytest.mark.parametrize("test", sorted({test for m in MUTATIONS for test in m.tests}))
def test_the_tests_that_should_find_it_are_there(test):
    file, _, name = test.partition("::")
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE)


def test_all_are_different():
    assert len({(m.file, m.place, m.old, m.new) for m in MUTATIONS}) == len(MUTATIONS) >= 34
    assert len({m.what for m in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"old": "no_such($x)"}, r"Conv2d.forward has 0 times, not once: 'no_such\(\$x\)'"),
        ({"old": "self.window", "place": ""}, r"the file has \d+ times, not once: 'self.window'"),
        ({"place": "Conv2d.sideways"}, "there are 0 definitions of Conv2d.sideways, not one"),
        ({"file": "gpu/conv.cu"}, "there are 0 definitions of Conv2d.forward, not one"),
    ],
)
def test_a_place_that_is_not_there_exactly_once_is_an_error(change, message):
    mutation = next(m for m in MUTATIONS if m.file == "layers/conv.py")
    with pytest.raises(ListError, match=f"minialex/.*: {message}"):
        mutated(mutation._replace(**change), PACKAGE)


SEND = """
def other(stream): stream.wait_event(None)

class Slot:
    def send(self, x):
        size = sum(  # of all
            len(a) for a in x)
        self.copy \\
            .wait_event( self.free, )  # for the memory
        self.memory[:size].set(x, stream=self.copy); return {"a": 'b'}
"""


@pytest.mark.parametrize(
    "old, new, found",
    [
        ("$s.wait_event($e)", "pass", "pass  # for the memory"),
        ("$s.wait_event($e)", "$s.wait($e, 2)", "self.copy.wait(self.free, 2)  # for the"),
        (".set($$x, stream=$s)", ".set($$x)", "self.memory[:size].set(x); return"),
        ("$m[$$slice].set($x, $$more)", "$x[$$slice]", "        x[:size]; return"),
        ("sum($$none len($y) $$rest)", "len($y)", "size = len(a)\n"),
        ("{'a': \"b\"}", "{}", "; return {}\n"),
        ("$x in $x", "0", None),
        ("for $a in $b", "", "len(a) )\n"),
    ],
)
def test_patterns_of_python(old, new, found):
    if found is None:
        with pytest.raises(Exception, match="0 times"):
            change(SEND, True, "Slot.send", old, new)
    else:
        assert found in change(SEND, True, "Slot.send", old, new).replace(" \\\n            ", "")


GATHER = """
// gather(x) adds up
template <class T> __device__ T gather(const T& x, int C) {
    T sum = 0;  /* sum += x[i] */
    for (int c = 0; c < C; c++) { sum += x[c * 2]
        ; }
    return c >= 0 && c < C ? sum : T(0);
}
__device__ int other(int x) { sum += x; return gather(x); }
"""


@pytest.mark.parametrize(
    "old, new, found",
    [
        ("$s += $x;", "$s = $x;", "{ sum = x[c * 2]; }"),
        ("$c >= 0 && $c < C", "$c >= 0", "return c >= 0 ? sum"),
        ("for ($$a; $c < C; $$b)", "for ($$a; $c <= C; $$b)", "for (int c = 0; c <= C; c++) {"),
        ("int C", "long C", "(const T& x, long C)"),
        ("T(0)", "0.0", "sum : 0.0;"),
    ],
)
def test_patterns_of_cuda(old, new, found):
    assert found in change(GATHER, False, "gather", old, new)


def test_the_table_tells_of_each_that_it_was_found():
    """Else run mutations.py again, and put what it prints into mutations.md."""
    table = (REPOSITORY / "tests/gpu/mutations.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert [(file[2:], what) for file, what, _ in rows] == [(m.file, m.what) for m in MUTATIONS]
    assert all(found.startswith("`") for _, _, found in rows)
