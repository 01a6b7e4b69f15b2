"""Pipelines of transforms: in order, repeatable, and written down as JSON."""

import json

import numpy as np
import pytest

from bad_input import refused
from minialex.data import (
    CenterCrop,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToArray,
)
from minialex.errors import ConfigError
from noise_pictures import generator, noise

FULL = Compose(
    [
        Resize((48, 40)),
        CenterCrop(36),
        RandomCrop((30, 32), padding=2),
        RandomResizedCrop(24, scale=(0.2, 0.9)),
        RandomHorizontalFlip(0.3),
        ToArray(),
        Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.1)),
    ]
)


def test_compose_runs_in_order_and_the_generator_decides_alone():
    first, again, other = (FULL(noise(70, 60), generator(seed)) for seed in (1, 1, 2))
    assert first.shape == (24, 24, 3) and first.dtype == np.float32
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_config_round_trip_through_json():
    config = json.loads(json.dumps(FULL.to_config()))
    assert config[0] == {"name": "Resize", "size": [48, 40]}
    again = Compose.from_config(config)
    assert again == FULL and again.to_config() == config
    assert np.array_equal(again(noise(70, 60), generator(5)), FULL(noise(70, 60), generator(5)))


def test_repr_is_the_code_that_makes_it():
    assert repr(Resize(256)) == "Resize(size=256)"
    assert eval(repr(FULL)) == FULL


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("Resize", "expected a list"),
        ([["Resize", 3]], "['Resize', 3] makes no transform"),
        ([{"size": 3}], "unknown transform None; choose Resize, CenterCrop, "),
        (
            [{"name": "Rezise", "size": 3}],
            "unknown transform 'Rezise'; choose Resize, ",
        ),
        ([{"name": ["Resize"]}], "unknown transform ('Resize',); choose Resize, "),
        ([{"name": "Compose", "transforms": []}], "unknown transform 'Compose'; choose "),
        ([{"name": "Resize"}], "missing 1 required positional argument: 'size'"),
        ([{"name": "Resize", "size": 3, "mode": "cubic"}], "unexpected keyword argument 'mode'"),
        ([{"name": "Resize", "size": "3"}], "'3'"),
        ([{"name": "Resize", "size": 3.5}], "3.5"),
        ([{"name": "RandomCrop", "size": 3, "padding": -1}], "padding"),
        ([{"name": "Normalize", "mean": [0.5], "std": [0]}], "positive"),
        ([{"name": "Resize", "size": "x" * 500}], "..."),
        ([{"name": "two\nlines"}], "unknown transform 'two\\nlines'; choose "),
        ([{"name": "x" * 500}], "...; choose"),
        ([{"name": {}}], "unhashable"),
        ([None], "None makes no transform"),
        ([{"name": "MeanImage", "png": {}}], "MeanImage"),
    ],
)
def test_bad_configs(config, says):
    with refused(ConfigError, says):
        Compose.from_config(config)


@pytest.mark.parametrize("wrong", [np.flipud, lambda: 0, Resize, 3, [ToArray()], "Resize"])
def test_a_transform_takes_an_image_and_a_generator(wrong):
    with refused(ConfigError, "transform(image, rng)"):
        Compose([wrong, ToArray()])


def test_transforms_of_your_own():
    def upside_down(image, rng):
        return image.rotate(180)

    class Add:
        def __init__(self, value):
            self.value = value

        def __call__(self, x, rng=None):
            return x + self.value

    x = Compose([upside_down, ToArray(), Add(1), lambda x, rng: 2 * x])(noise(5, 4))
    assert np.array_equal(x, 2 * (ToArray()(noise(5, 4))[::-1, ::-1] + 1))
    Compose([max])  # built in: it does not tell what it takes


def test_only_known_transforms_can_be_written_down():
    with refused(ConfigError, "cannot write down"):
        Compose([lambda image, rng: image]).to_config()
