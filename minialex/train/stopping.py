"""Ctrl-C ends a run after the step that it is at, with a checkpoint; a second one, at once.

So does whoever ends the process by SIGTERM, and a terminal that is closed (SIGHUP, not on Windows),
unless the program was started by nohup.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Stop:
    """Whether somebody asked the run to stop."""

    asked = False

    @contextlib.contextmanager
    def on_signal(self, say: Callable[[str], None]) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and SIGHUP ask, while the block runs; `say` shows a line about it.

        Python takes signals in the main thread only; in others they stay as they are.
        """

        def stop(number: int, frame: Any) -> None:
            if not self.asked:
                self.asked = True
                with contextlib.suppress(RuntimeError):  # it came in the middle of another print
                    say("stopping after this step (Ctrl-C again: at once, without a checkpoint)")
            elif number != hang_up:  # which a terminal may say twice
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt

        hang_up = getattr(signal, "SIGHUP", None)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if hang_up and signal.getsignal(hang_up) is not signal.SIG_IGN:
            numbers.append(hang_up)
        takes = threading.current_thread() is threading.main_thread()
        before = {n: signal.signal(n, stop) for n in numbers if takes}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
