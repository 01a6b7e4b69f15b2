"""The twin of data/pixels.py on a GPU -- one kernel from bytes to the input, see pixels.cu."""

import numpy as np

from minialex.gpu.kernel import Kernel
from minialex.xp import get_xp

NUMBERS = ", ".join(f"float32 {name}{channel}" for name in ("mean", "std") for channel in range(3))
FINISH = Kernel("pixels.cu", "finish", f"uint8 p, float32 colour, {NUMBERS}", "float32 y",
    "y = finish(p, colour, i % 3, mean0, mean1, mean2, std0, std1, std2)")  # fmt: skip


def finish(form, pixels, colours=None):
    """As form(pixels, colours), a `Finish`: float32 (N, H, W, 3) of pixels uint8 (N, H, W, 3)."""
    y = get_xp(pixels).empty(pixels.shape, dtype=np.float32)
    colours = np.float32(0) if colours is None else colours[:, None, None, :]
    FINISH(pixels, colours, *form.mean, *form.std, y)
    return y
