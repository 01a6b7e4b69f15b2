"""The list of mutations.py fits the sources, so that it can be run at any time; running it takes minutes."""

import ast
import re

import pytest

from mutation_list import MUTATIONS
from mutations import REPOSITORY, ListError, mutated

PACKAGE = REPOSITORY / "minialex"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.file}: {m.what}")
def test_it_changes_one_place_and_leaves_python(mutation):
    original = (PACKAGE / mutation.file).read_text(encoding="utf-8")
    changed = mutated(mutation, PACKAGE)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(original))
    for test in mutation.tests:
        file, _, name = test.partition("::")
        text = (REPOSITORY / file).read_text(encoding="utf-8")
        assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), test


def test_all_are_different():
    assert len({(m.file, m.old, m.new) for m in MUTATIONS}) == len(MUTATIONS) >= 20


def test_a_text_that_is_not_there_exactly_once_is_an_error():
    for old in ("no such text", "import"):
        with pytest.raises(ListError, match=f"times, not once: '{old}'"):
            mutated(MUTATIONS[0]._replace(old=old), PACKAGE)
