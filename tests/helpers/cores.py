"""A number of threads for a part of a test, whatever the machine has."""

import contextlib

from minialex.fast import threads


@contextlib.contextmanager
def cores(count):
    """minialex uses `count` threads inside."""
    threads.limit_threads(count)
    try:
        yield
    finally:
        threads.limit_threads(None)
