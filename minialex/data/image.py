"""One image: any file that Pillow reads becomes upright 8-bit RGB, any image its pixels."""

import contextlib
import os
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from minialex.errors import ConfigError, DataError

# The largest image that we decode, in pixels: Pillow's own default, 256 MiB of RGB.  There must be
# a limit, since a file of a few kilobytes can declare far more ("decompression bomb").
MAX_PIXELS = 1024**3 // 4 // 3

# Above Pillow's limit `open_rgb` raises DataError, so Pillow's warning would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def open_rgb(path: str | os.PathLike[str], shorter_side: int | None = None) -> Image.Image:
    """The image in file `path` as an upright RGB image, fully decoded; for an animation, frame one.

    If you are going to shrink the image anyway, say so by `shorter_side`, the fewest pixels that
    either side has to keep: a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size where both sides
    keep that many, which saves most of the work.  The image is not resized otherwise.

    It is rotated as its EXIF orientation says, and transparent pixels are laid over white.  16-bit
    grey is scaled to 8 bits; 32-bit integers and floating-point numbers have no agreed range, see
    `_deep_grey_to_8_bits`.

    Safe to call from several threads.  Raises DataError, naming the file, where it is missing, not
    a file, empty, not an image, damaged, cut short, or has more than MAX_PIXELS pixels.
    """
    name = repr(os.fspath(path))  # repr: a file name may hold a newline, an error message must not
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else _first_line(error)
        raise DataError(f"cannot open image {name}: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"cannot open image {name}: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"cannot open image {name}: it is not a regular file")
    if status.st_size == 0:
        raise DataError(f"cannot open image {name}: the file is empty; delete it or fetch it again")

    try:
        with Path(path).open("rb") as file, Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if shorter_side is not None:
                image.draft(None, (shorter_side, shorter_side))  # affects JPEGs alone
            image.load()
            return _to_rgb(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        text = f"it has more than {MAX_PIXELS:,} pixels; make it smaller"
        raise DataError(f"cannot open image {name}: {text}") from None
    except Image.UnidentifiedImageError:
        text = "it is not an image, or of a format unknown to Pillow"
        raise DataError(f"cannot open image {name}: {text}") from None
    except Exception as error:
        # On damaged files Pillow's readers raise nearly anything: SyntaxError, IndexError, ...
        text = f"the file is damaged or cut short ({_first_line(error)})"
        raise DataError(f"cannot read image {name}: {text}; delete it or fetch it again") from None


def pixels_of(image: Any) -> np.ndarray:
    """What `ToArray` scales: uint8 or floats (H, W, C), of an image or an array (see there)."""
    if isinstance(image, Image.Image) and image.mode in ("RGB", "L"):
        image = np.asarray(image)
    if not (isinstance(image, np.ndarray) and (image.dtype == np.uint8 or image.dtype.kind == "f")):
        found = getattr(image, "mode", None) or getattr(image, "dtype", type(image).__name__)
        text = "expected a Pillow image of mode RGB or L, or an array of uint8 or floats"
        raise ConfigError(f"ToArray: {text}, got {found}")
    return image[..., None] if image.ndim == 2 else image


def _upright(image: Image.Image) -> Image.Image:
    """Turn a camera's picture as its EXIF tag says."""
    # A damaged tag raises nearly anything too, but is no reason to refuse a good picture.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    # I;16 and its byte orders, I, F: Pillow's own conversion would clip them at 255.
    if image.mode.startswith(("I", "F")):
        image = _deep_grey_to_8_bits(image)
    # Transparent is an alpha channel, or one colour of a palette that is declared so.
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _deep_grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits to mode L, scaled from the smallest range below that holds it all.

    16-bit integers: 0..65535 always.  Floating point: 0..1.  Both kinds of 32-bit numbers: 0..255,
    0..65535, and where neither holds them, from the image's smallest to its largest value.
    """
    x = np.asarray(image).astype(np.float64)  # (H, W)
    x[~np.isfinite(x)] = 0
    low, high = float(x.min()), float(x.max())
    sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if low >= 0 and (sixteen_bits or high <= 65535):
        small = 1.0 if image.mode == "F" and high <= 1 else 255.0
        low, high = 0.0, 65535.0 if sixteen_bits or high > 255 else small
    scale = 255 / (high - low) if high > low else 0.0
    return Image.fromarray(np.rint((x - low) * scale).astype(np.uint8))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
