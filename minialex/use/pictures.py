"""Pictures: filters, and maps as colours over a photo."""

import numpy as np
from PIL import Image

from minialex.xp import Array, to_cpu


def filter_pictures(weight: Array) -> list[Image.Image]:
    """The filters of a first layer, weight (K, K, 3, F), as in the paper's figure 3.

    Each filter is stretched to the full range of brightness; grey is a weight of zero.  The layer
    may look at grey images, too: (K, K, 1, F).
    """
    if weight.ndim != 4 or weight.shape[2] not in (1, 3):
        raise ValueError(f"filter_pictures: expected a weight (K, K, 3, F), got {weight.shape}")
    w = to_cpu(weight).transpose(3, 0, 1, 2)  # (F, K, K, 3)
    w = 0.5 + 0.5 * w / np.maximum(np.abs(w).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    return [Image.fromarray((255 * one).astype(np.uint8).repeat(3 // w.shape[3], 2)) for one in w]


def heat(values: np.ndarray) -> Image.Image:
    """A map (H, W) in colours: black for 0 or less, then red, yellow, and white for the largest."""
    v = np.clip(values / max(float(values.max()), 1e-12), 0, 1)[..., None]
    return Image.fromarray((np.clip(3 * v - np.arange(3), 0, 1) * 255).astype(np.uint8))


def overlay(photo: Image.Image, values: np.ndarray) -> Image.Image:
    """The photo in grey under a map (H, W) in the colours of `heat`."""
    colours = heat(values).resize(photo.size, Image.Resampling.BICUBIC)
    return Image.blend(photo.convert("L").convert("RGB"), colours, 0.5)


def different(maps: np.ndarray, count: int) -> list[int]:
    """The numbers of `count` channels of maps (H, W, C) that are strong, and unlike each other.

    Many channels see the same edges.  The strongest comes first; then, each time, the one whose
    strength times (1 - its largest correlation with those chosen) is largest.
    """
    flat = np.maximum(maps, 0).reshape(-1, maps.shape[2]).astype(np.float64)
    strength = flat.mean(axis=0)
    flat = flat - strength
    flat /= np.maximum(np.sqrt((flat**2).sum(axis=0)), 1e-12)
    likeness, chosen = np.zeros(len(strength)), list[int]()
    for _ in range(min(count, len(strength))):
        score = strength * (1 - likeness)
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        likeness = np.maximum(likeness, flat[:, chosen[-1]] @ flat)
    return chosen
