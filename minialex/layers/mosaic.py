"""Mosaics -- small images side by side in one, for Winograd's tiles.

Small images waste work in tiles that overhang: 13 outputs take 4 tiles of 4.  Four images in a square, with the
padding that they need anyway between them, are one image of 27 + 1 outputs and take 7 tiles instead of 2 * 4.
A tile may then span two images; that is exact but for rounding, as the zeros between them cancel only nearly.
"""

from typing import Any

from minialex.backend import Array, get_xp


def saves_tiles(x: Array, plan: Any) -> bool:
    """Whether mosaics of x (N, H, W, C) take fewer tiles than the images one by one do by the `Plan`."""
    if plan.padding >= plan.r:  # outputs of neighbours would overlap
        return False
    N, H, W, _ = x.shape
    th, tw = -(-(H + plan.padding + plan.OH) // plan.m), -(-(W + plan.padding + plan.OW) // plan.m)
    return -(-N // 4) * th * tw < N * plan.th * plan.tw


def mosaic(x: Array, pitch: tuple[int, int]) -> Array:
    """Images x (N, H, W, C) four by four in squares with `pitch` from corner to corner; zeros elsewhere."""
    N, H, W, C = x.shape
    squares = get_xp(x).zeros((-(-N // 4), pitch[0] + H, pitch[1] + W, C), dtype=x.dtype)
    for k in range(min(4, N)):
        h, w = k // 2 * pitch[0], k % 2 * pitch[1]
        squares[: len(x[k::4]), h : h + H, w : w + W] = x[k::4]
    return squares


def unmosaic(squares: Array, pitch: tuple[int, int], shape: tuple[int, ...]) -> Array:
    """The images x of `shape` (N, H, W, C) back from their squares."""
    x = get_xp(squares).empty(shape, dtype=squares.dtype)
    for k in range(min(4, len(x))):
        h, w = k // 2 * pitch[0], k % 2 * pitch[1]
        x[k::4] = squares[: len(x[k::4]), h : h + shape[1], w : w + shape[2]]
    return x
