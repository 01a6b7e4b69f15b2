"""Mosaics -- small images side by side in one, for Winograd's tiles.

Small images waste work in tiles that overhang: 13 outputs take 4 tiles of 4.  Four images in a square, with the
padding that they need anyway between them, are one image of 27 + 1 outputs and take 7 tiles instead of 2 * 4.
A tile may then span two images; that is exact but for rounding, as the zeros between them cancel only nearly.

The `pitch` is the distance from corner to corner: (rows, columns).
"""

from collections.abc import Iterator

from minialex.fast.scratch import scratch
from minialex.xp import Array

PIECES = 4  # images of a mosaic


def mosaic(images: Array, at: int, pitch: tuple[int, int], side: tuple[int, int]) -> Array:
    """Up to four images (N, H, W, C) in zeros (1, *side, C), the first from row and column `at` on."""
    canvas = scratch(images, "canvas", (1, *side, images.shape[3]))
    canvas[...] = 0
    for image, piece in pieces(images, canvas, at, pitch):
        piece[...] = image
    return canvas


def unmosaic(canvas: Array, images: Array, at: int, pitch: tuple[int, int]) -> None:
    """Fills the images (N, H, W, C) from where `mosaic` puts them."""
    for image, piece in pieces(images, canvas, at, pitch):
        image[...] = piece


def pieces(
    images: Array, canvas: Array, at: int, pitch: tuple[int, int]
) -> Iterator[tuple[Array, Array]]:
    """Each image (H, W, C) with its part of the canvas."""
    for k, image in enumerate(images):
        h, w = at + k // 2 * pitch[0], at + k % 2 * pitch[1]
        yield image, canvas[0, h : h + image.shape[0], w : w + image.shape[1]]
