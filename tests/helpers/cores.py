"""How many threads the package may use, for the length of a `with` block."""

import contextlib

from minialex.fast.threads import limit_threads


@contextlib.contextmanager
def cores(count):
    """So many, whatever the machine has."""
    limit_threads(count)
    try:
        yield
    finally:
        limit_threads(None)
