"""Ctrl-C while the program reads itself in ends it without a word.

Python would show what it was importing.  Once all is there, `minialex/commands/main.py` takes over.
Programs of your own keep their Ctrl-C.
"""

import signal
import sys
from pathlib import Path

TYPED = sys.argv[0] if sys.argv else ""
WAITS = Path(TYPED).stem == "minialex" or (TYPED == "-m" and "minialex" in sys.orig_argv)
WAITS = WAITS and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if WAITS:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
