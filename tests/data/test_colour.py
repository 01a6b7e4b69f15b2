"""The PCA colour shift of the paper against calculations by hand."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from bad_input import refused
from minialex.data import ColourShift, Compose, ToArray, colour_statistics
from minialex.errors import ConfigError


class Photos:
    """A dataset of the given images, all of class 0."""

    classes = ("only",)

    def __init__(self, *images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], 0


def photo(*pixels):
    return Image.fromarray(np.array([pixels], dtype=np.uint8))


def test_components_by_hand():
    # About the mean (100, 150, 200), the four pixels are +-(3, 3, 3) and +-(1, -1, 0).  Their
    # covariance is (18 (1,1,1)(1,1,1)^T + 2 (1,-1,0)(1,-1,0)^T) / 4, so
    # lambda_1 = 18/4 * 3 along (1,1,1)/sqrt(3),
    # lambda_2 = 2/4 * 2 along (1,-1,0)/sqrt(2), lambda_3 = 0; all in units of 1/255^2.
    images = photo((103, 153, 203), (97, 147, 197)), photo((101, 149, 200), (99, 151, 200))
    found = colour_statistics(Photos(*images), ToArray(), seed=0)
    np.testing.assert_allclose(found["mean"], [100 / 255, 150 / 255, 200 / 255], rtol=1e-6)
    first, second, third = np.array(found["components"]) * 255**2
    np.testing.assert_allclose(first, 13.5 / math.sqrt(3) * np.ones(3), rtol=1e-4)
    np.testing.assert_allclose(
        second * np.sign(second[0]), [math.sqrt(0.5), -math.sqrt(0.5), 0], atol=1e-3
    )
    np.testing.assert_allclose(third, 0, atol=1e-3)
    assert json.loads(json.dumps(found)) == found


def test_the_sample_is_seeded_and_each_photo_counts_once():
    images = [photo((10 * k, 5 * k, 200 - k)) for k in range(20)]
    few = [colour_statistics(Photos(*images), ToArray(), seed, sample=5) for seed in (1, 1, 2)]
    assert few[0] == few[1] != few[2]
    all_of_them = colour_statistics(Photos(*images), ToArray(), seed=0)
    np.testing.assert_allclose(all_of_them["mean"], np.array([95, 47.5, 190.5]) / 255, rtol=1e-6)


class Draws:
    """A generator whose normal draws are known: 1, 2, 3 standard deviations."""

    def normal(self, mean, std, n):
        assert mean == 0 and n == 3
        return std * np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shift_by_hand(dtype):
    shift = ColourShift(((0.3, 0.2, 0.1), (0.0, -0.1, 0.1), (0.01, 0.0, 0.0)), std=0.1)
    x = np.random.default_rng(0).random((4, 5, 3)).astype(dtype)
    before = x.copy()
    y = shift(x, Draws())
    # 0.1 (0.3, 0.2, 0.1) + 0.2 (0, -0.1, 0.1) + 0.3 (0.01, 0, 0), the same at every pixel
    np.testing.assert_allclose(y, before + np.array([0.033, 0.0, 0.03]), atol=1e-6)
    assert y.dtype == dtype and np.array_equal(x, before)


def test_shifts_have_the_stated_spread():
    components = np.array([[0.1, 0.2, 0.3], [0.05, -0.1, 0.05], [0.0, 0.0, 0.2]])
    shift, x = ColourShift(components.tolist(), std=0.5), np.zeros((1, 1, 3))
    rng = np.random.default_rng(0)
    drawn = np.array([shift(x, rng)[0, 0] for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(drawn.T @ drawn / 4000, 0.25 * components.T @ components, atol=0.003)


def test_round_trip_through_json():
    pipeline = Compose((ToArray(), ColourShift([[0.1, 0.2, 0.3], [0, 0, 1], [0, 1, 0]], std=0.2)))
    again = Compose.from_config(json.loads(json.dumps(pipeline.to_config())))
    assert again == pipeline


@pytest.mark.parametrize(
    "components",
    ["abc", (), ((1, 2),), (1, 2, 3), ((1, 2, "3"),), ((math.nan, 0, 0),), None, ("abc",)],
)
def test_bad_components(components):
    with refused(ConfigError, "ColourShift"):
        ColourShift(components)


def test_bad_std_and_bad_images():
    with refused(ConfigError, "std"):
        ColourShift(((1, 2, 3),), std=-1)
    shift = ColourShift(((1, 2, 3),))
    for x in (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), Image.new("RGB", (2, 2))):
        with refused(ConfigError, "ColourShift: expected a float array"):
            shift(x, np.random.default_rng(0))
