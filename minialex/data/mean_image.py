"""MeanImage -- what all photos have in common says nothing about one of them: take it away.

Section 2 of the AlexNet paper subtracts "the mean activity over the training set from each pixel".
Its program keeps the mean of each place of the image apart: skies are bright above, and what was
photographed stands in the middle.  It cuts the middle of that mean image once, and subtracts it
from every crop, wherever in the photo that was cut (convdata.py, CroppedImageNetDP).

A mean image is smooth, so it goes into the settings of a run as a PNG: rounded to whole grey
levels, which errs by at most half of one in 255.

Reference: github.com/computerhistory/AlexNet-Source-Code, convdata.py.
"""

import base64
import functools
import io
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from minialex.data.folder import Dataset
from minialex.data.image import check_floats
from minialex.errors import check

SAMPLE = 1000  # photos that the mean is taken of
_STREAM = 0x3EA9  # keeps the draw of the sample apart from those of other users of the same seed


@functools.lru_cache(maxsize=8)
def pixels_of_png(png: str) -> np.ndarray:
    """float32 (H, W, 3) in 0..255 of a PNG in base64.  Raises ConfigError where it is none."""
    try:
        image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    except (OSError, ValueError, TypeError):
        check(False, "MeanImage: png must be a PNG in base64", png)
    return np.asarray(image, np.float32)


@dataclass(frozen=True)
class MeanImage:
    """x (H, W, 3), floats in 0..1, becomes 255 x less the mean image of that size, which is `png`.

    Raises ConfigError for text that is no such image, and where x has another shape.
    """

    png: str

    def __post_init__(self) -> None:
        pixels_of_png(self.png)

    def __repr__(self) -> str:  # short, and another one for another image
        return f"MeanImage({zlib.crc32(self.png.encode()):08x})"

    def __call__(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        check_floats("MeanImage", x, 3)
        mean = pixels_of_png(self.png)
        check(x.shape == mean.shape, f"MeanImage: expected an image of {mean.shape}", x.shape)
        return x * np.float32(255) - mean.astype(x.dtype)


def mean_image(dataset: Dataset, to_pixels: Any, seed: int, sample: int = SAMPLE) -> str:
    """The mean of a seeded sample of a dataset as a PNG in base64.

    `to_pixels(image)` makes a float array (H, W, 3) in 0..1 of an image, of one size for all.
    """
    chosen = np.random.default_rng([seed, _STREAM]).permutation(len(dataset))[:sample]
    total = sum(to_pixels(dataset[i][0]).astype(np.float64) for i in sorted(chosen.tolist()))
    file = io.BytesIO()
    Image.fromarray(np.rint(total * (255 / len(chosen))).astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
