"""Downloads: what fails half-way continues where it stopped, and nothing is used unverified.

with locked(folder, wait=True):
    download(url, folder / "weights.safetensors", sha256, most=250_000_000, progress=tqdm)

Whatever a server sends, and wherever it redirects to: the checksum finds what is not that file.
"""

import contextlib
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minialex.errors import DataError
from minialex.files import reason

Progress = Callable[..., Any]  # tqdm, or anything that is called and used like it

_CHUNK = 1 << 20  # bytes read at a time
_AGAIN = "run the same command again to continue"


def download(url: str, path: Path, sha256: str, most: int, progress: Progress | None = None,
    timeout: float = 30.0, else_do: str = "try again later") -> None:  # fmt: skip
    """Download `url` to `path`, unless it is there; either way its SHA-256 must be right.

    The bytes go to path.part, which becomes `path` once it is whole.  `most` is how many they can
    be, `progress` is tqdm or None to show nothing, `timeout` is how many seconds to wait for the
    server, and `else_do` what to do where it refuses.

    Raises DataError where the network, the disk or the checksum fails.
    """
    part = path.with_name(path.name + ".part")
    if path.exists():
        part = path
    else:
        try:
            _fetch(url, part, most, progress, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416:  # nothing is left to send: the part is whole, or a wrong one
                text = f"the server refused {url} (HTTP {error.code} {error.reason}); {else_do}"
                raise DataError(text) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            text = f"cannot download {url} to {str(part)!r} ({reason(error)})"
            raise DataError(f"{text}; check the network and the disk, then {_AGAIN}") from None
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        text = f"{path.name} was damaged on its way (sha256 {found}, expected {sha256})"
        again = "it was deleted: run the same command again to download it anew"
        raise DataError(f"{text}; {again}")
    part.replace(path)


def _fetch(url: str, part: Path, most: int, progress: Progress | None, timeout: float) -> None:
    """Append to `part` what it lacks."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "minialex"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        have *= response.status == 206  # else it sends the whole file whatever was asked for
        total = None if response.length is None else have + response.length
        bar = (progress or tqdm)(total=total, initial=have, desc=part.stem, unit="B",
            unit_scale=True, disable=None if progress else True)  # fmt: skip
        with contextlib.closing(bar), part.open("ab" if have else "wb") as file:
            while chunk := response.read1(_CHUNK):
                have += len(chunk)
                if have > most:
                    larger = "is larger than it should be; it is another file, or a fault"
                    raise DataError(f"{url} {larger}")
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and have < total:
        text = f"the connection to {url} was lost after {have:,} of {total:,} bytes; {_AGAIN}"
        raise DataError(text)
