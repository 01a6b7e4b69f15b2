"""Bytes to numbers: to the bit what the single steps of the pipeline make, on either device."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from bad_input import refused
from device import DEVICE, assert_array_equal, assert_on_device, on_device
from minialex import gpu
from minialex.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    ColourShift,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToArray,
)  # fmt: skip
from minialex.data.pixels import Finish, ToBytes, fixed_part, split_transform
from minialex.errors import ConfigError

SHIFT = ColourShift(((0.21, 0.2, 0.19), (0.01, 0.0, -0.01), (0.002, -0.004, 0.002)))
IMAGENET = Normalize(IMAGENET_MEAN, IMAGENET_STD)
PAPER = Normalize((0.48, 0.45, 0.4), (1 / 255,) * 3)
CROPS = (RandomCrop((9, 11)), RandomHorizontalFlip())
TAILS = {
    "only ToArray": (ToArray(),),
    "ImageNet's": (ToArray(), IMAGENET),
    "the paper's": (ToArray(), SHIFT, PAPER),
    "colours alone": (ToArray(), SHIFT),
}


def all_bytes():
    """Images in which every channel has every value."""
    values = np.stack([np.random.default_rng(k).permutation(256) for k in range(24)])
    pixels = values.reshape(8, 3, 16, 16).transpose(0, 2, 3, 1).astype(np.uint8)
    return [Image.fromarray(image) for image in pixels.copy()]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("crops", [(), CROPS], ids=["whole", "cropped"])
def test_a_batch_is_what_the_single_steps_make_of_its_images(tail, crops):
    transform = Compose((*crops, *TAILS[tail]))
    to_bytes, finish = split_transform(transform)
    images = all_bytes()
    draws = [(image, np.random.default_rng(k)) for k, image in enumerate(images)]
    expected = np.stack([transform(*draw) for draw in draws])
    pairs = [to_bytes(image, np.random.default_rng(k)) for k, image in enumerate(images)]
    pixels = np.stack([pixels for pixels, _ in pairs])
    assert pixels.dtype == np.uint8 and (pairs[0][1] is not None) == (SHIFT in TAILS[tail])
    colours = None
    if SHIFT in TAILS[tail]:
        colours = on_device(np.stack([c for _, c in pairs]).astype(np.float32))
    forms = [finish, partial(gpu.pixels.finish, finish)] if DEVICE == "gpu" else [finish]
    for form in forms:
        y = form(on_device(pixels), colours)
        assert_on_device(y)
        assert y.dtype == np.float32
        assert_array_equal(y, expected)


@pytest.mark.skipif(DEVICE != "gpu", reason="the twin in gpu/ needs one")
def test_one_launch_on_a_gpu():
    from cupyemu import device as emulated

    pixels = on_device(np.zeros((2, 3, 4, 3), np.uint8))
    colours = on_device(np.zeros((2, 3), np.float32))
    finish = Finish(IMAGENET_MEAN, IMAGENET_STD)
    gpu.pixels.finish(finish, pixels, colours)
    before = emulated.counters()
    gpu.pixels.finish(finish, pixels, colours)
    after = emulated.counters()
    after.subtract(before)
    assert after["launches"] == 1
    assert after["copies_h2d"] == after["synchronizations"] == after["float64"] == 0


def test_what_cannot_be_split():
    for steps in (
        (Resize(8),),
        (ToArray(), IMAGENET, IMAGENET),
        (ToArray(), IMAGENET, SHIFT),
        (ToArray(), ToArray()),
        (IMAGENET,),
        (SHIFT,),
        (ToArray(), Normalize((0.5,), (0.5,))),
        (ToArray(), lambda x, rng: x),
    ):
        parts = split_transform(Compose(steps))
        assert parts is None or steps[-2:] == (ToArray(), ToArray())
    assert split_transform(lambda image, rng: image) is None
    assert split_transform(Compose([])) is None
    assert split_transform(ToArray()) == (
        ToBytes(Compose(()), None, Compose([ToArray()])),
        Finish(),
    )


GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
OTHERS = {
    "grey image": (Image.fromarray(GREY), ()),
    "bytes (H, W)": (GREY, ()),
    "bytes of five channels": (GREY[..., None].repeat(5, axis=2), ()),
    "floats": (GREY[..., None].repeat(3, axis=2) / 255, (SHIFT, PAPER)),
    "vector": (GREY[0], ()),
}


@pytest.mark.parametrize("image, tail", OTHERS.values(), ids=OTHERS)
def test_what_has_no_bytes_of_three_channels_goes_through_all_steps_at_once(image, tail):
    steps = (ToArray(), *tail)
    to_bytes, _ = split_transform(Compose(steps))
    sample, colour = to_bytes(image, np.random.default_rng(3))
    assert sample.dtype == np.float32 and colour is None
    assert_array_equal(sample, Compose(steps)(image, np.random.default_rng(3)))


def test_bytes_of_an_array_are_those_of_an_image():
    to_bytes, _ = split_transform(Compose((ToArray(), IMAGENET)))
    image = all_bytes()[0]
    for form in (image, np.asarray(image)):
        pixels, _ = to_bytes(form, None)
        assert pixels.dtype == np.uint8
        assert_array_equal(pixels, np.asarray(image))


def test_only_images_and_arrays():
    to_bytes, _ = split_transform(ToArray())
    for wrong in (Image.new("CMYK", (2, 2)), np.zeros((2, 2, 3), np.int64), [1, 2]):
        with refused(ConfigError, "ToArray: expected"):
            to_bytes(wrong, None)


def test_the_fixed_part_ends_where_chance_begins():
    fixed = (Resize(20), CenterCrop(16))
    rest = (*CROPS, ToArray())
    assert fixed_part(Compose((*fixed, *rest))) == (Compose(fixed), Compose(rest))
    assert fixed_part(Compose((*CROPS, *fixed))) == (Compose(()), Compose((*CROPS, *fixed)))
    assert fixed_part(Compose(fixed)) == (Compose(fixed), Compose(()))
