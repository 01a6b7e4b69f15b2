"""How many threads the package may use, for the length of a `with` block."""

import contextlib

from minialex.fast import threads


@contextlib.contextmanager
def cores(count):
    """At most, or at least, `count` of them, whatever the machine has."""
    with threads._blas().limit(limits=None):  # gives back what is changed inside
        threads.limit_threads(count)
        try:
            yield
        finally:
            threads.limit_threads(None)
