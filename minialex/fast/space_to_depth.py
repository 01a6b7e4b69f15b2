"""Space to depth -- a convolution with stride S as one with stride 1 over S*S times the channels.

Winograd's method is for stride 1, and AlexNet's first layer has stride 4.  Cut the image into
blocks of S x S pixels and call the S*S*C numbers of a block the channels of one pixel.  A filter
that moves S pixels now moves one, and a K x K filter, filled up with zeros to a multiple of S, is
one of K' x K' pixels, K' = K/S rounded up.  With i = S*i' + a and j = S*j' + b:

    y[p,q,f] = sum over i,j,c of             x[p*S + i, q*S + j, c] * W[i,j,c,f]
             = sum over i',j' and (a,b,c) of x'[p + i', q + j', abc] * W'[i',j',abc,f]

These are the same products, only in another order: nothing is saved yet, but now Winograd's method
fits.  For AlexNet's first layer, 11 x 11 with stride 4, K' is 3: 121 multiplications become
(83/55)^2 * 16 = 36, with 83 positions for 55 outputs (winograd_tiles.py).

Reference: rearranging pixels into channels is as old as "polyphase" filters in signal processing.
"""

import numpy as np

from minialex.fast.scratch import packed, scratch


def on_canvas(image, name, side, at):
    """`image` (N, H, W, C) from row and column `at` on in zeros (N, *side, C), cut off there."""
    (N, H, W, C), (row, column) = image.shape, at
    H, W = min(H, side[0] - row), min(W, side[1] - column)
    canvas = scratch(image, name, (N, *side, C))
    canvas[:, :row], canvas[:, row + H :] = 0, 0
    canvas[:, :, :column], canvas[:, :, column + W :] = 0, 0
    canvas[:, row : row + H, column : column + W] = image[:, :H, :W]
    return canvas


def to_depth(x, stride, padding, blocks):
    """x (N, H, W, C) in `padding` zeros as x' (N, *blocks, S*S*C).

    What overhangs is cut off, what lacks is 0.
    """
    N, _, _, C = x.shape
    S, (high, wide) = stride, blocks
    pixels = on_canvas(x, "canvas", (high * S, wide * S), (padding, padding))
    if S == 1:
        return pixels
    view = pixels.reshape(N, high, S, wide, S, C).transpose(0, 1, 3, 2, 4, 5)
    return packed(view, "depth").reshape(N, high, wide, S * S * C)


def to_space(deep, x, stride, padding):
    """The transpose of `to_depth`: fills x (N, H, W, C) from x' (N, high, wide, S*S*C).

    Pixels that x' lacks become 0.
    """
    (N, high, wide, _), S, P = deep.shape, stride, padding
    _, H, W, C = x.shape
    pixels = deep.reshape(N, high, wide, S, S, C).transpose(0, 1, 3, 2, 4, 5)
    part = pixels.reshape(N, high * S, wide * S, C)[:, P : P + H, P : P + W]
    h, w = part.shape[1:3]
    x[:, :h, :w] = part
    x[:, h:], x[:, :, w:] = 0, 0


def weight_to_depth(weight, stride):
    """W (K, K, C, F) as W' (K', K', S*S*C, F)."""
    K, _, C, F = weight.shape
    S, small = stride, -(-K // stride)
    if S == 1:
        return weight
    filled = np.zeros((small * S, small * S, C, F), dtype=weight.dtype)
    filled[:K, :K] = weight
    blocks = filled.reshape(small, S, small, S, C, F).transpose(0, 2, 1, 3, 4, 5)
    return blocks.reshape(small, small, S * S * C, F)


def weight_to_space(deep, weight, stride):
    """W (K, K, C, F) back from W' (K', K', S*S*C, F)."""
    K, _, C, F = weight.shape
    S, small = stride, len(deep)
    blocks = deep.reshape(small, small, S, S, C, F).transpose(0, 2, 1, 3, 4, 5)
    weight[...] = blocks.reshape(small * S, small * S, C, F)[:K, :K]
