"""Downloads: what fails half-way continues where it stopped, and nothing is used unverified.

with alone_in(folder, "about 1.7 GB"):
    download(url, folder / "weights.safetensors", sha256, most=250_000_000, progress=tqdm)
"""

import contextlib
import errno
import hashlib
import http.client
import importlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minialex.errors import DataError

Progress = Callable[..., Any]  # tqdm, or anything that is called and used like it

_CHUNK = 1 << 20  # bytes read at a time
_SLOWEST = 1000  # bytes per second: a server that sends less for so long as the timeout is no use
_AGAIN = "run the same command again to continue"


@contextlib.contextmanager
def alone_in(folder: Path, room: str) -> Iterator[None]:
    """Make a folder, and wait until no other program is in such a block.

    The system ends a lock with its program.  What the disk refuses in the block becomes a
    DataError; `room` is how much of it all needs.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            # On Windows, which cannot lock a folder, two downloads at once disturb each other.
            with contextlib.suppress(ImportError):
                fcntl: Any = importlib.import_module("fcntl")
                opened = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, opened)
                fcntl.flock(opened, fcntl.LOCK_EX)
            yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"the disk of {str(folder)!r} is full; free {room}, then {_AGAIN}"
            raise DataError(text) from None
        why = one_line(error.strerror or error)
        raise DataError(f"cannot write to {str(folder)!r} ({why})") from None


def download(url: str, path: Path, sha256: str, most: int, progress: Progress | None = None,
    timeout: float = 30.0, else_do: str = "try again later") -> None:  # fmt: skip
    """Download `url` to `path`, unless it is there; either way its SHA-256 must be right.

    The bytes go to path.part, which becomes `path` once it is whole.  `most` is how many they can
    be, `progress` is tqdm or None to show nothing, `timeout` is how many seconds to wait for the
    server, and `else_do` what to do where it refuses.

    Raises DataError where the network or the checksum fails, OSError where the disk does.
    """
    part = path.with_name(path.name + ".part")
    if path.exists():
        part = path
    else:
        _fetch(url, part, most, progress, timeout, else_do)
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        text = f"{path.name} was damaged on its way (sha256 {found}, expected {sha256})"
        again = "it was deleted: run the same command again to download it anew"
        raise DataError(f"{text}; {again}")
    part.replace(path)


def _fetch(url: str, part: Path, most: int, progress: Progress | None, timeout: float,
    else_do: str) -> None:  # fmt: skip
    """Append to `part` what it lacks, if anything."""
    have = part.stat().st_size if part.exists() else 0
    with _network_errors(url, else_do):
        response = _open(url, have, timeout)
    if response is None:
        return
    with response:
        have *= response.status == 206  # else it sends the whole file whatever was asked for
        total = None if response.length is None else have + response.length
        bar = (progress or tqdm)(total=total, initial=have, desc=part.stem, unit="B",
            unit_scale=True, disable=None if progress else True)  # fmt: skip
        with contextlib.closing(bar), part.open("ab" if have else "wb") as file:
            for chunk in _chunks(url, response, timeout):
                have += len(chunk)
                if have > most:
                    larger = "is larger than it should be; it is another file, or a fault"
                    raise DataError(f"{url} {larger}")
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and have < total:
        text = f"the connection to {url} was lost after {have:,} of {total:,} bytes; {_AGAIN}"
        raise DataError(text)


class _StaysSafe(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from https to anything less."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, start: int, timeout: float) -> Any:
    """The server's response, from byte `start` on; None where it says that nothing is there.

    Then the part is complete, or wrong, as the checksum will tell.
    """
    headers = {"User-Agent": "minialex", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.build_opener(_StaysSafe).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        raise
    sent = response.headers.get("Content-Range", "")
    if response.status == 206 and not sent.startswith(f"bytes {start}-"):
        response.close()
        raise http.client.HTTPException("it sent another part of the file than was asked for")
    return response


def _chunks(url: str, response: Any, timeout: float) -> Iterator[bytes]:
    """What the server still sends, piece by piece."""
    since, sent = time.monotonic(), 0
    with _network_errors(url):
        while chunk := response.read1(_CHUNK):
            sent += len(chunk)
            if (now := time.monotonic()) - since > timeout:
                if sent < _SLOWEST * timeout:
                    raise TimeoutError
                since, sent = now, 0
            yield chunk


@contextlib.contextmanager
def _network_errors(url: str, else_do: str = "") -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        text = f"the server refused {url} (HTTP {error.code} {one_line(error.reason)})"
        raise DataError(f"{text}; {else_do}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        slow = "the server does not answer, or too slowly"
        why = slow if isinstance(reason, TimeoutError) else one_line(reason)
        text = f"cannot download {url} ({why}); check the network, then {_AGAIN}"
        raise DataError(text) from None


def one_line(error: object) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":")
