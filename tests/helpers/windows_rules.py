"""Windows' rules on Linux, for one process: `import windows_rules` before minialex.

No SIGHUP, no fork, no fcntl, no cores of a process, no /proc, no folder that can be opened; fsync
takes files that may be written alone; a file that is open or mapped can be neither replaced nor
removed; and text is cp1252 where nobody says what it is.
"""

import asyncio  # noqa: F401 -- from Python 3.13 on it asks for sysconf
import builtins
import errno
import fcntl as real_fcntl
import io
import multiprocessing
import os
import signal
import stat
import subprocess  # noqa: F401 -- what it imports depends on msvcrt
import sys
import types

LACKING = {
    os: (
        "sched_getaffinity", "O_NOFOLLOW", "O_DIRECTORY", "fork", "register_at_fork", "mkfifo",
        "sysconf", "geteuid", "killpg", "getpgid",
    ),
    signal: ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "alarm", "setitimer"),
}  # fmt: skip


def in_use(path):
    """Whether this process has a file open, or mapped."""
    path = os.path.realpath(path)
    handles = [f"/proc/self/fd/{handle}" for handle in os.listdir("/proc/self/fd")]
    with open("/proc/self/maps") as maps:
        mapped = path in maps.read()
    return mapped or path in [os.path.realpath(handle) for handle in handles]


def refuse_in_use(name):
    real = getattr(os, name)

    def function(*paths, **options):
        for path in paths:
            if os.path.exists(path) and not os.path.isdir(path) and in_use(path):
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        return real(*paths, **options)

    setattr(os, name, function)


def fsync(handle, real=os.fsync):
    if real_fcntl.fcntl(handle, real_fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    real(handle)


def open_file(path, flags, mode=0o777, *, dir_fd=None, real=os.open):
    if os.path.isdir(path) and not flags & getattr(os, "O_TMPFILE", 0):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return real(path, flags, mode, dir_fd=dir_fd)


def open_text(file, mode="r", buffering=-1, encoding=None, *rest, real=io.open, **options):
    if "b" not in mode and encoding in (None, "locale"):
        encoding = "cp1252"
    return real(file, mode, buffering, encoding, *rest, **options)


def locking(handle, mode, count):
    assert count == 1 and stat.S_ISREG(os.fstat(handle).st_mode)
    try:
        real_fcntl.flock(handle, real_fcntl.LOCK_EX | real_fcntl.LOCK_NB)
    except OSError:
        raise PermissionError(errno.EACCES, "Permission denied") from None


def impose():
    for name in ("replace", "rename", "unlink", "remove"):
        refuse_in_use(name)
    os.fsync, os.open, io.open, builtins.open = fsync, open_file, open_text, open_text
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="cp1252")
    for module, names in LACKING.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in ("fcntl", "resource", "pwd", "grp", "termios"):
        sys.modules[name] = None
    windows = types.ModuleType("msvcrt")
    windows.locking, windows.LK_NBLCK = locking, 2
    sys.modules["msvcrt"] = windows
    multiprocessing.set_start_method("spawn", force=True)
    from minialex.train import memory

    memory.system_bytes = lambda *_: 0


import tempfile  # noqa: E402, F401

impose()
