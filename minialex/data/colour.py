"""ColourShift -- a cat in evening light is still a cat: photos with their colours shifted.

This is the second augmentation of AlexNet (section 4.1).  The network should learn that the light
may change while the class does not, so we change the light of each photo in the ways in which
light really varies.  Those are found in the photos themselves.  Take all pixels of the training
photos as points (R, G, B), and let p_1, p_2, p_3 be the directions along which they spread and
lambda_1..3 the variances along them: eigenvectors and eigenvalues of their 3 x 3 covariance
(principal component analysis).  For photos, p_1 is nearly (1, 1, 1), light against dark; p_2 is
warm against cold, p_3 green against magenta.  Each time a photo is used, one and the same colour
is added to all of its pixels:

    a_1 lambda_1 p_1 + a_2 lambda_2 p_2 + a_3 lambda_3 p_3     a_i ~ N(0, 0.1^2), drawn each time

The paper reports over 1 % less top-1 error for it.  To measure this claim yourself, and that of
crops and mirror images, run `examples/improvements/improvements.py augmentation`.

Mind the unit.  A variance has the square of its unit, so "lambda" is another shift for pixels in
0..255 than for 0..1, and the paper does not say which.  Here pixels lie in 0..1: lambda_1 is about
0.2, and a typical shift 0.02, or 3 grey levels of 255.  (In 0..255 it would be some 700 levels.
The program that Krizhevsky published later, cuda-convnet2, takes standard deviations,
sqrt(lambda), which have no such problem: about 6 levels.  So did already the one that won in 2012;
`ColourNoise` is what it does.)

Reference: Krizhevsky, Sutskever, Hinton (2012), section 4.1; section 2: the mean is subtracted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minialex.data.folder import Dataset
from minialex.data.image import check_floats
from minialex.errors import check, is_number

SAMPLE = 300  # photos that the colours are measured on: 20 million pixels

_STREAM = 0xC0105  # keeps the draw of the sample apart from those of other users of the same seed


@dataclass(frozen=True)
class ColourShift:
    """Add one random colour to x (H, W, 3), floats in 0..1.

    The colour is the sum over the rows of `components`, each times a draw of N(0, std^2); these
    rows are the lambda_i p_i of `colour_statistics`.  Raises ConfigError where they are not rows
    of three numbers, or std is negative, or x is not a float array (H, W, 3).
    """

    components: tuple[tuple[float, ...], ...]
    std: float = 0.1

    def __post_init__(self) -> None:
        rows = self.components
        fits = isinstance(rows, Sequence) and len(rows) > 0 and is_number(self.std)
        fits = fits and all(isinstance(row, Sequence) and len(row) == 3 for row in rows)
        fits = fits and all(is_number(n, -math.inf) for row in rows for n in row)
        rule = "components must be rows of three numbers, and std a number of 0 or more"
        check(fits, f"ColourShift: {rule}", (rows, self.std))
        object.__setattr__(self, "components", tuple(tuple(map(float, row)) for row in rows))

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        check_floats("ColourShift", x, 3)
        H, W, C = x.shape
        colour = np.tile(self.draw(rng).astype(x.dtype), W)
        return (x.reshape(H, W * C) + colour).reshape(H, W, C)  # long rows, as in Normalize

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A random colour, (3,): one draw of the a_i for a whole image."""
        a = rng.normal(0, self.std, len(self.components))
        return a @ np.asarray(self.components)


class ColourNoise(ColourShift):
    """What the program of 2012 does: (x + colour) / (1 + std), for x with a mean of 0.

    The program divides so that the scale stays near that of test images, which have no such noise
    (convdata.py).  As variances add, sqrt(1 + std^2) would do: with 1.1, training images have
    sqrt(1.01) / 1.1 = 0.914 times the deviation of test images.

    `components` are rows sqrt(lambda_i) p_i, in units of x.
    """

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return super().__call__(x, rng) / x.dtype.type(1 + self.std)


def deviations(components: Sequence[Sequence[float]]) -> Any:
    """The rows sqrt(lambda_i) p_i of rows lambda_i p_i, in 0..255 in place of 0..1."""
    rows = np.asarray(components)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)  # lambda_i
    return (255 * rows / np.sqrt(np.where(lengths > 0, lengths, 1))).tolist()


def colour_statistics(
    dataset: Dataset, to_pixels: Any, seed: int, sample: int = SAMPLE
) -> dict[str, Any]:
    """Mean and principal components of the pixels of a seeded sample of a dataset, ready for JSON.

    "mean": [R, G, B].  "components": the rows lambda_i p_i, largest variance first; of the two
    signs that p_i may have, the one whose sum is positive.  `to_pixels(image)` makes a float array
    (H, W, 3) of an image.
    """
    chosen = np.random.default_rng([seed, _STREAM]).permutation(len(dataset))[:sample]
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for i in sorted(chosen.tolist()):
        pixels = to_pixels(dataset[i][0]).reshape(-1, 3).astype(np.float64)
        count += len(pixels)
        total += pixels.sum(axis=0)
        products += pixels.T @ pixels
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    variances, directions = np.linalg.eigh(covariance)  # directions: columns
    directions *= np.where(directions.sum(axis=0) < 0, -1, 1)
    return {"mean": mean.tolist(), "components": (directions * variances).T[::-1].tolist()}
