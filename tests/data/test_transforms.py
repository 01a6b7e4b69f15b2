"""The transforms, held against calculations by hand and the definition of the triangle filter."""

import math

import numpy as np
import pytest
from PIL import Image

from bad_input import refused
from minialex.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToArray,
)
from minialex.errors import ConfigError, DataError
from noise_pictures import generator, noise


def coordinates(width, height):
    """An image whose pixel (x, y) has the colour (x, y, 7)."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, np.full_like(x, 7)], axis=2).astype(np.uint8))


def triangle(start, length, total, size):
    """(size, total): antialiased bilinear weights of `size` outputs over a part of a line.

    The part is start .. start + length.  Output k looks at the position start + (k + 1/2) * s with
    s = length / size; pixel j has its centre at j + 1/2 and weighs 1 - |distance| / max(s, 1) where
    that is positive; weights are made to sum to 1.
    """
    s = length / size
    place = start + (np.arange(size)[:, None] + 0.5) * s
    weight = np.maximum(0, 1 - np.abs(np.arange(total) + 0.5 - place) / max(s, 1))
    return weight / weight.sum(axis=1, keepdims=True)


def resized(image, box, height, width):
    """float64 (height, width, 3): the part `box` (left, top, right, bottom), at a new size."""
    rows = triangle(box[1], box[3] - box[1], image.height, height)
    columns = triangle(box[0], box[2] - box[0], image.width, width)
    return np.einsum("ph,qw,hwc->pqc", rows, columns, np.asarray(image, dtype=np.float64))


# ------------------------------------------------------------------------------------------- Resize


@pytest.mark.parametrize(
    ("size", "before", "after"),
    [
        (256, (500, 375), (341, 256)),  # 256 * 500 / 375 = 341.33
        (256, (375, 500), (256, 341)),
        (256, (300, 300), (256, 256)),
        (256, (256, 400), (256, 400)),
        (100, (50, 30), (166, 100)),  # 166.67 rounds down, as torchvision's does
        (100, (30, 50), (100, 166)),
        ((20, 30), (100, 100), (30, 20)),  # (height, width) against Pillow's (width, height)
    ],
)
def test_resize_sizes(size, before, after):
    assert Resize(size)(Image.new("RGB", before)).size == after


def test_resize_by_hand():
    # 4 pixels to 2, s = 2: output 0 looks at 1.0; the centres 0.5, 1.5, 2.5 are 0.5, 0.5, 1.5 away
    # and weigh
    # 3/4, 3/4, 1/4 out of 7/4.  Output 1 is the mirror image.
    line = Image.fromarray(np.array([[[0] * 3, [70] * 3, [140] * 3, [210] * 3]], np.uint8))
    expected = [(3 * 0 + 3 * 70 + 140) / 7, (70 + 3 * 140 + 3 * 210) / 7]
    found = np.asarray(Resize((1, 2))(line))[0, :, 0].tolist()
    assert found == [round(v) for v in expected] == [50, 160]


@pytest.mark.parametrize(("before", "size"), [((50, 37), 16), ((37, 50), (64, 21)), ((9, 11), 30)])
def test_resize_is_the_triangle_filter(before, size):
    image = noise(*before)
    shown = Resize(size)(image)
    expected = resized(image, (0, 0, *before), shown.height, shown.width)
    assert np.abs(np.asarray(shown) - expected).max() < 1.1  # Pillow rounds between its two passes


# -------------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize(
    ("size", "before", "left_top"),
    [
        (4, (10, 8), (3, 2)),
        (2, (5, 5), (2, 2)),
        (2, (3, 3), (0, 0)),
        ((2, 6), (6, 6), (0, 2)),
        (5, (5, 5), (0, 0)),
    ],
)
def test_center_crop(size, before, left_top):
    # (5 - 2) / 2 = 1.5 and (3 - 2) / 2 = 0.5 round to the even number.
    h, w = size if isinstance(size, tuple) else (size, size)
    shown = np.asarray(CenterCrop(size)(coordinates(*before)))
    assert shown.shape == (h, w, 3)
    assert shown[0, 0].tolist() == [*left_top, 7]
    assert shown[-1, -1].tolist() == [left_top[0] + w - 1, left_top[1] + h - 1, 7]


def test_random_crop_reaches_every_place_equally_often():
    crop, rng, seen = RandomCrop((3, 2)), generator(), np.zeros((3, 4))
    # 5 x 5 pixels leave 3 x 4 positions, so 200 each; the standard deviation is 13.5.
    for _ in range(2400):
        shown = np.asarray(crop(coordinates(5, 5), rng))
        assert shown.shape == (3, 2, 3)
        x, y, _ = shown[0, 0]
        assert shown[-1, -1].tolist() == [x + 1, y + 2, 7]
        seen[y, x] += 1
    assert seen.min() > 140 and seen.max() < 260


def test_random_crop_pads_with_black():
    white, rng, found = Image.new("RGB", (4, 4), (255, 255, 255)), generator(), set()
    for _ in range(300):
        shown = np.asarray(RandomCrop(4, padding=2)(white, rng))[:, :, 0] == 255
        rows, columns = shown.any(axis=1), shown.any(axis=0)
        assert np.array_equal(shown, np.outer(rows, columns))
        found.add((int(rows.sum()), int(columns.sum()), bool(rows[0]), bool(columns[0])))
    assert len(found) == 5 * 5  # offsets -2 .. 2 both ways


def test_crops_refuse_an_image_that_is_too_small():
    with refused(DataError, "CenterCrop", "20x30", "10x40"):
        CenterCrop((30, 20))(Image.new("RGB", (10, 40)))
    with refused(DataError, "RandomCrop", "8x8", "7x9", "Resize"):
        RandomCrop(8)(Image.new("RGB", (7, 9)), generator())
    with refused(DataError, "RandomCrop", "12x12", "9x9", "border of 1"):
        RandomCrop(12, padding=1)(Image.new("RGB", (9, 9)), generator())
    assert RandomCrop(11, padding=1)(Image.new("RGB", (9, 9)), generator()).size == (11, 11)


def test_random_resized_crop_is_the_triangle_filter_over_its_box():
    image, crop = noise(60, 45), RandomResizedCrop((24, 20))
    for seed in range(20):
        box = crop.draw_box(60, 45, generator(seed))
        shown = np.asarray(crop(image, generator(seed)))
        assert shown.shape == (24, 20, 3)
        assert np.abs(shown - resized(image, box, 24, 20)).max() < 1.1


def test_random_resized_crop_boxes_have_the_stated_area_and_shape():
    crop, rng = RandomResizedCrop(8, scale=(0.1, 0.3)), generator()
    boxes = np.array([crop.draw_box(1000, 1000, rng) for _ in range(4000)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, aspect = w * h / 1e6, np.log(w / h)
    assert boxes.min() >= 0 and boxes.max() <= 1000
    # Uniform: mean (a + b) / 2, deviation (b - a) / sqrt(12), known here to 1 / sqrt(4000) = 1.6 %.
    assert 0.0995 < area.min() < 0.101 and 0.299 < area.max() < 0.3005
    assert abs(area.mean() - 0.2) < 0.004 and abs(area.std() - 0.2 / math.sqrt(12)) < 0.003
    assert abs(aspect).max() < math.log(4 / 3) + 0.005
    assert abs(aspect.mean()) < 0.011
    assert abs(aspect.std() - 2 * math.log(4 / 3) / math.sqrt(12)) < 0.008
    free = boxes[:, 0] / (1000 - w)  # the place, as a share of the room: uniform on 0..1
    assert abs(free.mean() - 0.5) < 0.02 and abs(free.std() - 1 / math.sqrt(12)) < 0.01


def test_random_resized_crop_of_a_thin_image_takes_its_middle():
    crop = RandomResizedCrop(8, scale=(0.9, 1.0))
    assert crop.draw_box(1000, 10, generator()) == (493, 0, 506, 10)  # 10 * 4/3 = 13 wide
    assert crop.draw_box(10, 1000, generator()) == (0, 493, 10, 506)  # 10 / (3/4) = 13 high
    assert crop.draw_box(1, 1, generator()) == (0, 0, 1, 1)


def test_flip():
    image = noise(5, 4)
    assert RandomHorizontalFlip(0)(image, generator()) is image
    assert np.array_equal(RandomHorizontalFlip(1)(image, generator()), np.asarray(image)[:, ::-1])
    rng = generator()
    kept = sum(RandomHorizontalFlip(0.25)(image, rng) is image for _ in range(2000))
    assert 1420 < kept < 1580  # 1500 +- 4 standard deviations of 19.4


# ------------------------------------------------------------------------------------------- arrays


def test_to_array():
    image = Image.fromarray(np.array([[[0, 51, 255], [1, 2, 3]]], np.uint8))
    x = ToArray()(image)
    assert x.dtype == np.float32 and x.shape == (1, 2, 3)
    assert np.array_equal(x, np.float32([[[0, 51 / 255, 1], [1 / 255, 2 / 255, 3 / 255]]]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalize_by_hand(dtype):
    x = generator().random((3, 4, 3)).astype(dtype)
    before = x.copy()
    y = Normalize(IMAGENET_MEAN, IMAGENET_STD)(x)
    assert y.dtype == dtype and np.array_equal(x, before)
    for c in range(3):
        expected = (before[:, :, c] - IMAGENET_MEAN[c]) / IMAGENET_STD[c]
        assert np.allclose(y[:, :, c], expected, rtol=0, atol=1e-6)


def test_normalize_of_a_view_that_is_not_contiguous():
    x = generator().random((4, 6, 3), dtype=np.float32).swapaxes(0, 1)[::2]
    assert np.allclose(Normalize((1, 2, 3), (2, 2, 2))(x), (x - np.float32([1, 2, 3])) / 2)


def test_normalized_photos_centre_on_zero():
    grey = Image.new("RGB", (4, 4), (124, 116, 104))  # about 255 times the means
    assert np.abs(Compose([ToArray(), Normalize(IMAGENET_MEAN, IMAGENET_STD)])(grey)).max() < 0.02


# ------------------------------------------------------------------------------------------ Compose


@pytest.mark.parametrize(
    "build",
    [
        lambda: Resize(0),
        lambda: Resize(-3),
        lambda: Resize(True),
        lambda: Resize((3, 4, 5)),
        lambda: Resize(()),
        lambda: CenterCrop(None),
        lambda: CenterCrop((3, 0)),
        lambda: RandomCrop(3, padding=1.5),
        lambda: RandomResizedCrop(3, scale=(0, 1)),
        lambda: RandomResizedCrop(3, scale=(0.5, 0.2)),
        lambda: RandomResizedCrop(3, scale=(0.5, 1.2)),
        lambda: RandomResizedCrop(3, scale=0.5),
        lambda: RandomResizedCrop(3, ratio=(-1, 1)),
        lambda: RandomResizedCrop(3, ratio=(1, math.inf)),
        lambda: RandomHorizontalFlip(1.5),
        lambda: RandomHorizontalFlip("0.5"),
        lambda: RandomHorizontalFlip(math.nan),
        lambda: RandomHorizontalFlip(True),
        lambda: Normalize((0.5, 0.5), (0.5,)),
        lambda: Normalize((), ()),
        lambda: Normalize(0.5, 0.5),
        lambda: Normalize((0.5,), (-1,)),
        lambda: Normalize(("a",), (1,)),
        lambda: Compose(3),
        lambda: Compose([3]),
    ],
)
def test_bad_arguments(build):
    with refused(ConfigError):
        build()


def test_arrays_and_images_in_the_wrong_place():
    for mode in ("RGBA", "CMYK", "1", "I"):
        with refused(ConfigError, "ToArray", f"got {mode}"):
            ToArray()(Image.new(mode, (3, 3)))
    with refused(ConfigError, "ToArray", "got int64"):
        ToArray()(np.zeros((3, 3, 3), np.int64))
    with refused(ConfigError, "ToArray", "got list"):
        ToArray()([[1.0]])
    for transform in (
        Resize(2),
        CenterCrop(2),
        RandomCrop(2),
        RandomResizedCrop(2),
        RandomHorizontalFlip(),
    ):
        with refused(ConfigError, type(transform).__name__, "ndarray", "Image.fromarray"):
            transform(np.zeros((3, 3, 3), np.uint8), np.random.default_rng(0))
    for x in (
        np.zeros((3, 3, 3), np.uint8),
        np.zeros((3, 3), np.float32),
        np.zeros((3, 3, 4)),
        Image.new("RGB", (3, 3)),
    ):
        with refused(ConfigError, "Normalize"):
            Normalize(IMAGENET_MEAN, IMAGENET_STD)(x)


def test_to_array_of_images_and_arrays():
    grey = np.array([[0, 51, 255]], np.uint8)
    expected = np.array([[[0], [0.2], [1]]], np.float32)
    for image in (Image.fromarray(grey), grey, grey[..., None], expected, expected[..., 0]):
        x = ToArray()(image)
        assert x.dtype == np.float32 and np.array_equal(x, expected)
        assert x is not image  # a step that follows may write to it
    assert np.array_equal(ToArray()(grey[0]), expected[0, :, 0])
    x = ToArray()(np.float64([[-3.5, 1e3]]))
    assert x.dtype == np.float32 and x.tolist() == [[[-3.5], [1000]]]


def test_one_name_for_all_transforms():
    from minialex import data, transforms

    assert all(getattr(transforms, name) is getattr(data, name) for name in transforms.__all__)
    steps = [t for t in vars(data.transforms).values() if hasattr(t, "__dataclass_fields__")]
    assert len(steps) == 7 and {t.__name__ for t in steps} <= set(transforms.__all__)
