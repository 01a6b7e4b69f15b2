"""Programs that start at once, for tests that start many: forked off one that has imported all.

    process = Forked(networks.main, "lenet", folder)
    process.stdout.read(1)

has what those tests use of subprocess.Popen.  Where nothing can be forked, each imports for itself.
"""

import contextlib
import io
import multiprocessing
import os
import sys
from unittest import mock

METHODS = multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if "forkserver" in METHODS else "spawn")


class Forked:
    """`main(*arguments)` in a process of its own; what it writes can be read byte by byte."""

    def __init__(self, main, *arguments):
        pipes = [CONTEXT.Pipe(duplex=False) for _ in range(2)]
        theirs = [pipe for _, pipe in pipes]
        # The server of the forks knows no more paths than the environment names.
        path = mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path)})
        # And it must not import the program of the tests once more.
        here = mock.patch.object(sys.modules["__main__"], "__spec__", None, create=True)
        file = mock.patch.object(sys.modules["__main__"], "__file__", None, create=True)
        with path, here, file:
            CONTEXT.set_forkserver_preload([__name__, "networks", "tiny_run", "pictures_drawn"])
            self.process = CONTEXT.Process(target=run, args=(theirs, main, arguments))
            self.process.start()
        for pipe in theirs:
            pipe.close()
        self.pipes = [pipe for pipe, _ in pipes]  # closed with the last reference to them
        self.stdout, self.stderr = (io.FileIO(pipe.fileno(), closefd=False) for pipe in self.pipes)

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=None):
        self.process.join(timeout)
        return self.process.exitcode

    def kill(self):
        self.process.kill()

    def communicate(self):
        """What is left of its output, once it has ended, and its errors."""
        found = self.stdout.read(), self.stderr.read()
        self.process.join()
        return found


def run(pipes, main, arguments):
    """What such a process does."""
    for handle, pipe, name in zip((1, 2), pipes, ("stdout", "stderr"), strict=True):
        os.dup2(pipe.fileno(), handle)
        pipe.close()
        setattr(sys, name, os.fdopen(handle, "w", closefd=False))
    with contextlib.suppress(BrokenPipeError):
        main(*arguments)
