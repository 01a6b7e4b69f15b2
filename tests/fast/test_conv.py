"""Conv2d's twin: which algorithm it takes, and that the answer does not depend on the batch."""

import numpy as np
import pytest

from minialex.attach import accelerate, plain
from minialex.errors import ConfigError
from minialex.fast import winograd
from minialex.layers import Conv2d


def twin(*sizes, algorithm="auto", **options):
    layer = Conv2d(*sizes, rng=np.random.default_rng(0), **options)
    return accelerate(layer, algorithm=algorithm)


def uses_winograd(layer, N, side):
    return layer.plan((N, side, side, layer.in_channels)) is not None


ALEXNET = [
    (twin(3, 96, 11, 4), 227), (twin(96, 256, 5, padding=2), 27),
    (twin(256, 384, 3, padding=1), 13), (twin(384, 384, 3, padding=1), 13),
    (twin(384, 256, 3, padding=1), 13),
]  # fmt: skip


@pytest.mark.parametrize("layer, side", ALEXNET)
def test_alexnets_layers_use_winograd_in_groups(layer, side):
    assert uses_winograd(layer, 16, side)


def test_for_a_single_image_transforming_the_weights_may_not_pay():
    assert [uses_winograd(layer, 1, side) for layer, side in ALEXNET] == [True, True] + 3 * [False]


@pytest.mark.parametrize(
    "layer, side",
    [
        (twin(1, 16, 3), 8), (twin(1, 16, 5), 8), (twin(3, 8, 3, padding=1), 16),
        (twin(16, 16, 1), 32), (twin(16, 16, 2), 32), (twin(16, 16, 7), 32),
        (twin(4, 96, 11, 4, groups=2), 227),
        (twin(3, 8, 3, 2), 227),
    ],
)  # fmt: skip
def test_small_images_and_kernels_that_do_not_fit_take_im2col(layer, side):
    assert not any(uses_winograd(layer, N, side) for N in (1, 16, 64))


@pytest.mark.parametrize("layer, side", [*ALEXNET, (twin(1, 16, 3), 8), (twin(16, 16, 3), 32)])
def test_beyond_a_group_the_batch_does_not_change_the_choice(layer, side):
    assert len({uses_winograd(layer, N, side) for N in (16, 17, 64, 1000)}) == 1


def test_float16_takes_im2col():
    assert not uses_winograd(twin(64, 64, 3, padding=1).to(dtype=np.float16), 16, 12)


def test_an_algorithm_can_be_asked_for():
    assert not uses_winograd(twin(96, 256, 5, padding=2, algorithm="im2col"), 16, 27)
    assert uses_winograd(twin(1, 1, 3, algorithm="winograd"), 1, 3)
    assert not uses_winograd(twin(1, 1, 2, algorithm="winograd"), 1, 3)  # there is nothing to save
    eight = twin(1, 1, 8)
    eight.algorithm = "winograd"  # past what `accelerate` checks
    assert not uses_winograd(eight, 1, 9)
    with pytest.raises(ConfigError, match="'fft'; choose auto, im2col, winograd"):
        twin(1, 1, 3, algorithm="fft")
    with pytest.raises(ConfigError, match=r"winograd cannot do Conv2d.*groups=2"):
        twin(2, 2, 3, 2, groups=2, algorithm="winograd")


CHANGES = {
    "nothing": lambda layer: layer,
    "a weight": lambda layer: layer.params["weight"].__setitem__((0, 0, 0, 0), 3),
    "the sign of a zero": lambda layer: layer.params["weight"].__setitem__((1, 1, 1, 1), -0.0),
    "the array": lambda layer: layer.params.update(weight=layer.params["weight"] * 2),
    "not a number": lambda layer: layer.params["weight"].__setitem__((0, 0, 0, 0), np.nan),
    "the dtype": lambda layer: layer.params.update(
        {k: v.astype(np.float64) for k, v in layer.params.items()}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_trained_network_transforms_its_weights_once_and_anew_when_they_change(
    change, monkeypatch
):
    made = []
    transform = winograd.transform_weight
    monkeypatch.setattr(
        winograd, "transform_weight", lambda *args: made.append(1) or transform(*args)
    )
    layer = twin(4, 6, 3, algorithm="winograd")
    layer.train(False)
    layer.params["weight"][1, 1, 1, 1] = 0
    x = np.random.default_rng(1).standard_normal((2, 9, 9, 4), dtype=np.float32)
    layer(x), layer(x)
    assert len(made) == 1
    CHANGES[change](layer)
    x = x.astype(layer.params["weight"].dtype)
    y = layer(x)
    assert len(made) == (1 if change == "nothing" else 2)
    layer(x)
    assert len(made) == (1 if change == "nothing" else 2)  # also where one is not a number
    layer.train(True)
    expected, _ = layer.forward(x)
    np.testing.assert_array_equal(y, expected)
    assert layer.kept is None  # training changes them with each step


def test_plain_forgets_the_transformed_weights():
    layer = twin(4, 6, 3, algorithm="winograd")
    layer.train(False)
    layer(np.zeros((1, 9, 9, 4), dtype=np.float32))
    assert vars(plain(layer)).keys().isdisjoint({"kept", "shared"})
