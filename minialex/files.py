"""Files that are written whole or not at all, in folders that one program at a time writes to.

A crash in the middle of writing must not cost you the old file.  So a file is written under a
temporary name, forced to the disk, and only then renamed: at any moment there is either the old
file or the new one.  What a killed process leaves under a temporary name is known by its form.
"""

import contextlib
import csv
import errno
import importlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from minialex.errors import CheckpointError, ConfigError

# A file that is new: never one that is there, nor where a link of that name points to.
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
# A temporary name of ours, of earlier versions, and of the library safetensors.
TEMPORARY = r"\.(?:{names})(?:\.[0-9a-f]{{8}})?\.tmp|\.tmp[A-Za-z0-9]{{6}}"
TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # what a lock says that another process holds


def write_whole(path: str | os.PathLike[str], pieces: Iterable[Any], keep: Path | None = None
) -> None:  # fmt: skip
    """Write `pieces`, bytes or arrays of them, to a file, atomically.

    The old file is `keep` afterwards, if that is given.  Raises CheckpointError where the disk
    refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(os.open(temporary, NEW_FILE, 0o666), "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave the name without content
            if keep is not None and path.exists():
                os.replace(path, keep)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        kept = "; the old file is kept" if os.path.lexists(path) else ""
        raise CheckpointError(f"cannot write {str(path)!r}: {reason(error)}{kept}") from None
    # Else a power cut could leave the old file.  Windows cannot open a folder; some network disks
    # cannot do it, and need not.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a small text file atomically.  Raises CheckpointError where the disk refuses."""
    write_whole(path, [text.encode()])


def write_json(path: str | os.PathLike[str], value: Any, indent: int = 2) -> None:
    """Write a JSON file atomically.  Raises CheckpointError where the disk refuses."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """The text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def check_ours(path: Path | None, begins: bytes) -> None:
    """Raise ConfigError where a folder is, or a file that does not begin as `begins` does.

    So what a command writes takes the place of nothing but what it wrote before.  A folder that is
    missing is said at once, too, not after the work.
    """
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"there is no folder {str(path.parent)!r} to write to; make it first")
    if path is None or not os.path.lexists(path):
        return
    if not path.is_file() or not path.read_bytes().startswith(begins):
        raise ConfigError(f"{str(path)!r} is something else already; choose another name")


def read_text(path: Path) -> str:
    """The text of a file.  Raises OSError for what is no file, such as a pipe: it has no end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return path.read_text(encoding="utf-8")


def read_json(path: Path, advice: str = "start a new run") -> Any:
    """What a JSON file holds.

    Raises FileNotFoundError where there is none, CheckpointError, with advice, for a damaged one.
    """
    try:
        return json.loads(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise CheckpointError(f"cannot read {str(path)!r}: {reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged ({reason(error)}); {advice}") from None


def remove_temporary(folder: Path, names: Iterable[str]) -> None:
    """Remove what a process that was killed left of these files, under their temporary names."""
    form = re.compile(TEMPORARY.format(names="|".join(map(re.escape, names))))
    for path in folder.iterdir():
        if form.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Of all programs, only this block writes to `folder`; a process that dies lets go of it.

    Where another one has it, raises CheckpointError, or else waits for it; OSError where the folder
    cannot be opened.  Disks that know no locks do without.
    """
    try:
        fcntl: Any = importlib.import_module("fcntl")
        handle = os.open(folder, os.O_RDONLY)
    except ImportError:  # Windows, which cannot lock a folder; there it waits for ten seconds
        fcntl, windows = None, importlib.import_module("msvcrt")
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            else:
                windows.locking(handle, windows.LK_LOCK if wait else windows.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in TAKEN:
                raise CheckpointError(f"another program is writing to {str(folder)!r}") from None
        yield
    finally:
        os.close(handle)


def reason(error: BaseException) -> str:
    """What an error says, in one line; of the operating system's, its words alone."""
    words = getattr(error, "strerror", None) or str(error)
    return " ".join(str(words).split()) or type(error).__name__
