"""From an image of any mode, lying as the camera was held, to upright RGB, in little memory."""

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from minialex.errors import DataError

MAX_BYTES = 600_000_000  # of memory that one photo may take while it is decoded and scaled
TILE = 1 << 20  # pixels: what is converted at a time, where that takes several copies


def check_bytes(need: int) -> None:
    """Raise DataError where a photo needs more than MAX_BYTES of memory."""
    if need > MAX_BYTES:
        raise DataError(f"it would take {need / 1e6:,.0f} MB of memory; make it smaller")


def upright(image: Image.Image) -> Image.Image:
    """Turn a camera's picture as its EXIF tag says."""
    turned = False
    # A damaged tag raises nearly anything, but is no reason to refuse a good picture.
    with contextlib.suppress(Exception):
        turned = image.getexif().get(0x0112, 1) in range(2, 9)
    if turned:
        check_bytes(8 * image.width * image.height)
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, transparent pixels over white; see `open_rgb`."""
    # I;16 and its byte orders, I, F: Pillow's own conversion would clip them at 255.
    deep = grey_range(image) if image.mode.startswith(("I", "F")) else None
    # Transparent is an alpha channel, or one colour of a palette that is declared so.
    if deep is None and not image.has_transparency_data:
        if image.mode != "RGB":
            return image.convert("RGB")
        # The copy has no file; a very large image has to do without.
        return image if 8 * image.width * image.height > MAX_BYTES else image.copy()
    rgb = Image.new("RGB", image.size, (255, 255, 255))
    for box in tiles(image):
        tile = image.crop(box)
        if deep is not None:
            rgb.paste(_scaled_grey(tile, *deep), box)
        else:
            rgba = tile.convert("RGBA")
            rgb.paste(rgba, box, mask=rgba.getchannel("A"))
    return rgb


def tiles(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of at most TILE pixels that cover an image."""
    W, H = image.size
    w = min(W, TILE)
    h = max(1, TILE // w)
    for top in range(0, H, h):
        for left in range(0, W, w):
            yield left, top, min(left + w, W), min(top + h, H)


def grey_range(image: Image.Image) -> tuple[float, float]:
    """What becomes black and white of grey of more than 8 bits: the smallest range that holds it.

    16-bit integers: 0..65535 always.  Floating point: 0..1.  Both kinds of 32-bit numbers: 0..255,
    0..65535, and where neither holds them, from the image's smallest to its largest value.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return 0.0, 65535.0
    extremes = [(x.min(), x.max()) for x in map(_finite, map(image.crop, tiles(image)))]
    low, high = float(min(extremes)[0]), float(max(high for _, high in extremes))
    if low < 0 or high > 65535:
        return low, high
    return 0.0, 65535.0 if high > 255 else 1.0 if image.mode == "F" and high <= 1 else 255.0


def _scaled_grey(image: Image.Image, low: float, high: float) -> Image.Image:
    x = _finite(image)
    scale = 255 / (high - low) if high > low else 0.0
    grey = np.rint((x - low) * scale).clip(0, 255).astype(np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):  # a grey that is see-through
        grey[x == clear] = 255
    return Image.fromarray(grey).convert("RGB")


def _finite(image: Image.Image) -> np.ndarray:
    x = np.asarray(image).astype(np.float64)  # (H, W)
    x[~np.isfinite(x)] = 0
    return x
