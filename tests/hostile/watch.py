"""Every call that changes files, noted before it is made: where a program may die, or a disk fail.

After `watch(note)` there is a `note(FileCall)` before each call; what it raises, or that it never
returns, is the disk's doing.
"""

import builtins
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class FileCall:
    """A call: what it does, to which file, and with what."""

    kind: str  # "create", "write", "fsync", "fsync folder", "rename", "remove", "make folder"
    path: str
    to: str = ""  # of a rename
    data: bytes = b""  # of a write
    handle: int = -1  # of a write

    def __str__(self) -> str:
        return f"{self.kind} {os.path.basename(self.path)}"


class _Noted(io.FileIO):
    """A file that is written without a buffer, each write noted."""

    def __init__(self, handle: Any, mode: str, note: Callable[[FileCall], None], path: str):
        super().__init__(handle, mode)
        self.note, self.path = note, path

    def write(self, data: Any) -> int:
        self.note(FileCall("write", self.path, data=bytes(data), handle=self.fileno()))
        return super().write(data)


def watch(note: Callable[[FileCall], None]) -> None:
    """From now on, until this process ends, `note` hears of each call that changes files."""
    real_open, opened = builtins.open, dict[int, str]()
    real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "unlink", "mkdir")}

    def make(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            note(FileCall("create", os.fspath(path)))
        handle = real["open"](path, flags, *more, **named)
        opened[handle] = os.fspath(path)
        return handle

    def fsync(handle: int) -> None:
        path = opened.get(handle, "?")
        note(FileCall("fsync folder" if os.path.isdir(path) else "fsync", path))
        real["fsync"](handle)

    def replace(old: Any, new: Any) -> None:
        note(FileCall("rename", os.fspath(old), os.fspath(new)))
        real["replace"](old, new)

    def unlink(path: Any, **named: Any) -> None:
        if os.path.lexists(path):
            note(FileCall("remove", os.fspath(path)))
        real["unlink"](path, **named)

    def mkdir(path: Any, *more: Any, **named: Any) -> None:
        note(FileCall("make folder", os.fspath(path)))
        real["mkdir"](path, *more, **named)

    def opening(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        if mode not in ("wb", "w+b", "xb") or (isinstance(file, int) and file not in opened):
            return real_open(file, mode, *more, **named)
        path = opened[file] if isinstance(file, int) else os.fspath(file)
        if not isinstance(file, int):
            note(FileCall("create", path))
        raw = _Noted(file, mode, note, path)
        return raw if named.get("buffering") == 0 else io.BufferedWriter(raw)

    calls = {"open": make, "fsync": fsync, "replace": replace, "unlink": unlink, "mkdir": mkdir}
    for name, function in calls.items():
        setattr(os, name, function)
    for module in (builtins, io):
        module.open = opening
