"""One image: any file that Pillow reads becomes upright 8-bit RGB, any image its pixels.

Whoever opens a photo, to train on it, to test or to predict, opens it here; so all see the same
pixels.  No file takes more than MAX_BYTES (convert.py) of memory, whatever it declares.
"""

import contextlib
import functools
import hashlib
import io
import math
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from minialex.data.convert import check_bytes, tiles, to_rgb, upright
from minialex.errors import ConfigError, DataError

AnyPath = str | os.PathLike[str]

# The most pixels that we decode: Pillow's own default.  There must be a limit, since a file of a
# few kilobytes can declare far more ("decompression bomb").  You may set another one, here.
MAX_PIXELS = 1024**3 // 4 // 3

# Pillow reads far more: EPS, for one, by starting another program.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "JPEG2000")
# Bytes that a pixel takes while its format is decoded, where they are more than the image's 4, ...
DECODING = {"WEBP": 16, "AVIF": 12, "JPEG2000": 20}
# ... and once it is: in its mode, and in RGB beside it.
CONVERTING = {"RGB": 4, "L": 5, "P": 5, "1": 5}
# What a whole file of a format has in its last bytes; "": its header says how long it is.
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b";", "WEBP": b""}

# Above its limit `open_rgb` raises an error, so Pillow's warning would only repeat it; and damaged
# tags, such as EXIF data, are no reason to refuse a good picture.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Cameras and programs write megabytes of text and profiles into a PNG; 1 MB is Pillow's default.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, 1 << 26)


class PhotoError(DataError):
    """A photo cannot be read.

    path      the file
    damaged   whether it is the file's fault; else it may be read another time, or on another
              machine
    """

    def __init__(self, path: AnyPath, reason: str, damaged: bool = True) -> None:
        # repr: a file name may hold a newline, an error message must not
        super().__init__(f"cannot read image {os.fspath(path)!r}: {reason}")
        self.path, self.damaged = os.fspath(path), damaged


def open_rgb(path: AnyPath, shorter_side: int | None = None) -> Image.Image:
    """The image in file `path` as an upright RGB image, fully decoded; for an animation, frame one.

    If you are going to shrink the image anyway, say so by `shorter_side`, the fewest pixels that
    either side has to keep: a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size where both sides
    keep that many, which saves most of the work.  (So is one of more than MAX_PIXELS pixels, which
    cannot be had whole.)  The image is not resized otherwise.

    It is rotated as its EXIF orientation says, and transparent pixels are laid over white.  16-bit
    grey is scaled to 8 bits; 32-bit integers and floating-point numbers have no agreed range, see
    `convert.grey_range`.  A JPEG that only lacks its end marker is read.

    Safe to call from several threads.  Raises PhotoError, a DataError, naming the file, where it is
    missing, not a file, empty, not an image, damaged, cut short, or takes more than MAX_PIXELS
    pixels or MAX_BYTES of memory.
    """
    with _opened(path) as image:
        _reduce(image, shorter_side)
        try:
            image.load()
        except OSError as error:
            if image.format != "JPEG" or "truncated" not in str(error):
                raise
            image = _without_end(path, shorter_side, error)
        rgb = to_rgb(upright(image))
    rgb.info = {"file": os.fspath(path)}  # for `refusal`
    return rgb


def fingerprint(path: AnyPath, decode: bool = False) -> str:
    """The size of a photo's file in bytes and a hash of them, "81234-9f86d081884c7d65".

    Its header is read as well, and where you say `decode`, or its end is not that of its format,
    all of it is decoded.  Raises PhotoError where `open_rgb` would, but for damage that only
    decoding shows.
    """
    with _opened(path) as image, open(path, "rb") as file:
        _reduce(image, 1)
        end, size = ENDS.get(image.format or ""), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64))
        if decode or end is None or end not in file.read():
            open_rgb(path)
        file.seek(0)
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8))
    return f"{size}-{digest.hexdigest()}"


def refusal(image: Image.Image, reason: str) -> DataError:
    """The error for an image that cannot be used, which names its file where that is known."""
    path = image.info.get("file")
    return DataError(reason) if path is None else PhotoError(path, reason)


def pixels_of(image: Any) -> np.ndarray:
    """What `ToArray` scales: uint8 or floats (H, W, C), of an image or an array (see there)."""
    if isinstance(image, Image.Image) and image.mode in ("RGB", "L"):
        image = np.asarray(image)
    kind = image.dtype if isinstance(image, np.ndarray) else np.dtype(object)
    if kind != np.uint8 and kind.kind != "f":
        found = getattr(image, "mode", None) or getattr(image, "dtype", type(image).__name__)
        text = "expected a Pillow image of mode RGB or L, or an array of uint8 or floats"
        raise ConfigError(f"ToArray: {text}, got {found}")
    return image[..., None] if image.ndim == 2 else image


def check_floats(owner: str, x: Any, channels: int) -> None:
    """Raise ConfigError, in the name of `owner`, unless x is a float array (H, W, channels)."""
    is_array = isinstance(x, np.ndarray)
    if not is_array or x.dtype.kind != "f" or x.ndim != 3 or x.shape[2] != channels:
        found = f"{x.dtype} {x.shape}" if is_array else type(x).__name__
        raise ConfigError(f"{owner}: expected a float array (H, W, {channels}), got {found}")


# ------------------------------------------------------------------------------------------ opening


@contextlib.contextmanager
def _opened(path: AnyPath) -> Iterator[Image.Image]:
    """The image in a file, of which only the header is read.  What fails becomes a PhotoError."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError(path, "it is a folder, or not a regular file")
        if status.st_size == 0:
            raise PhotoError(path, "the file is empty; delete it or fetch it again")
        with open(path, "rb") as file, _identified(file) as image:
            yield image
    except PhotoError:
        raise
    except Exception as error:
        raise PhotoError(path, *_explained(error)) from None


def _identified(file: Any) -> Image.Image:
    head = file.read(30)
    if head[8:12] == b"WEBP":  # Pillow takes the memory of all pixels when it opens it
        check_bytes(DECODING["WEBP"] * math.prod(_webp_size(head)))
    if head.startswith(b"\xff\xd8"):
        file.seek(0)
        # Not by Image.open, which refuses large JPEGs, also those that need not be decoded whole.
        try:
            return JpegImageFile(file)
        except SyntaxError:
            raise Image.UnidentifiedImageError from None
    file.seek(0)
    return Image.open(file, formats=_formats())


def _webp_size(head: bytes) -> tuple[int, int]:
    """(width, height) that the first 30 bytes of a WebP file declare."""
    if head[12:16] == b"VP8X":
        bits = int.from_bytes(head[24:30], "little")
        return 1 + (bits & 0xFFFFFF), 1 + (bits >> 24)
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    bits = int.from_bytes(head[26:30], "little")
    return bits & 0x3FFF, bits >> 16 & 0x3FFF


@functools.cache
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _explained(error: Exception) -> tuple[str, bool]:
    """Why a photo could not be read, and whether it is the file's fault."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, FileNotFoundError):
        return "there is no such file", True
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not an image, or of a format that is not read here", True
    if isinstance(error, MemoryError) or "memory error" in text:
        return "there is not enough memory to decode it", False
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or text, False
    if isinstance(error, Image.DecompressionBombError):
        return "it has far too many pixels; make it smaller", True
    if isinstance(error, DataError) or re.search("MAX_TEXT|text chunks|embedded null", text):
        return text, True
    # On damaged files Pillow's readers raise nearly anything: SyntaxError, IndexError, ...
    return f"the file is damaged or cut short ({text}); delete it or fetch it again", True


def _reduce(image: Image.Image, shorter_side: int | None) -> None:
    """Choose the size that a JPEG is decoded at; refuse what would take too much memory."""
    # Of a progressive JPEG all coefficients are in memory at once, at full size: 2 bytes each.
    layers = [h * v for _, h, v, _ in getattr(image, "layer", ())]
    scans = 2 * image.width * image.height * sum(layers) // max(layers, default=1)
    side, k = min(image.size), 1
    while shorter_side is None and image.width * image.height > MAX_PIXELS * k * k and k < 8:
        k *= 2
    asked = max(1, side // k if shorter_side is None else shorter_side)
    image.draft(None, (asked, asked))  # affects JPEGs alone
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError(f"it has more than {MAX_PIXELS:,} pixels; make it smaller")
    converting = 8 if image.has_transparency_data else CONVERTING.get(image.mode, 8)
    each = max(DECODING.get(image.format or "", 4), converting)
    rows = 16 * image.height  # Pillow keeps where each begins
    check_bytes(pixels * each + rows + scans * ("progressive" in image.info))


def _without_end(path: AnyPath, shorter_side: int | None, error: OSError) -> Image.Image:
    """The JPEG whose data end before its end marker.  Raises `error` where pixels are missing too.

    Are they?  Then the decoder goes on with the bytes that we add, and shows what they mean.
    """
    data, seen = Path(path).read_bytes().removesuffix(b"\xff"), set()
    for added in (b"\0\0", b"\xaa\x35"):
        image = JpegImageFile(io.BytesIO(data + 32 * added + b"\xff\xd9"))
        _reduce(image, shorter_side)
        image.load()
        digest = hashlib.blake2b()
        for box in tiles(image):
            digest.update(image.crop(box).tobytes())
        seen.add(digest.digest())
    if len(seen) > 1:
        raise error
    return image
