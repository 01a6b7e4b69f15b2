"""Results in order, computed ahead by threads."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def ahead(call: Callable[[Any], Any], items: Iterable[Any], threads: int, most: int,
    name: str, stop: threading.Event) -> Generator[Any]:  # fmt: skip
    """call(item) of each item, in order; at most `most` of them are under way or waiting.

    The threads are called minialex-<name>; with none, each call is made when it is asked for.  What
    it raises is raised in its place.  When the generator ends, also because its user leaves the
    loop early, it sets `stop`, which a call may look at, and waits for the threads.
    """
    waiting, under_way = deque(items), deque[Future[Any]]()
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix=f"minialex-{name}")
    most *= threads > 0
    try:
        while waiting or under_way:
            try:
                while waiting and len(under_way) < most:
                    under_way.append(pool.submit(call, waiting[0]))
                    waiting.popleft()
            except RuntimeError:  # the system allows no more threads: go on in this one
                most = 0
            yield under_way.popleft().result() if under_way else call(waiting.popleft())
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
