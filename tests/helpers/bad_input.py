"""How tests say "this must be refused": with one line that names the problem, no file touched."""

from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def refused(kind, *parts):
    """The block must raise `kind` with a message of one line that holds each of `parts`."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert message and len(message.splitlines()) == 1, message
    for part in parts:
        assert str(part) in message, message


def snapshot(folder):
    """{relative path: content} of all files below a folder."""
    return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
