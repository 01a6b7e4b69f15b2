"""Ctrl-C while the program reads itself in ends it without a word.  Programs of yours are left alone.

Python would show what it was importing.  Once all is there, `minialex/commands/main.py` takes over.
"""

import signal
import sys
from pathlib import Path

BY_NAME = bool(sys.argv[:1]) and Path(sys.argv[0]).stem == "minialex"
BY_MODULE = sys.argv[:1] == ["-m"] and "minialex" in sys.orig_argv  # python -m minialex
WAITS = (BY_NAME or BY_MODULE) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if WAITS:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
