"""The figures of the book, for the tests of their numbers and of the pictures."""

import pytest

from book_programs import load


@pytest.fixture(scope="session")
def figures():
    return load("figures")
