"""The numbers of the AlexNet paper: what agrees with it, what does not, and by how much."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import paper_numbers
from minialex.layers import AvgPool2d, Conv2d, MaxPool2d
from minialex.models import AlexNet
from minialex.params import zeros_like
from minialex.use.summary import multiply_adds
from paper_numbers import NAMES, PAPER_NEURONS, count, dense_share, on_padding, views


@pytest.fixture(scope="module")
def published():
    return AlexNet(1000, "2012")


def test_the_published_network(published):
    rows = count(published)
    assert tuple(row.name for row in rows) == NAMES and len(rows) == 8
    own = [row.neurons for row in rows]
    assert own[0] == 55 * 55 * 96 == 290_400 and PAPER_NEURONS[0] == 253_440 == 55 * 48 * 96
    assert own[1:] == list(PAPER_NEURONS[1:])
    assert sum(own) == 659_272 and sum(PAPER_NEURONS) == 622_312
    assert sum(row.parameters for row in rows) == 60_965_224
    for part, millions, on_image in ((rows, 724, 671), (rows[:5], 666, 613)):
        assert round(sum(row.connections for row in part) / 1e6) == millions
        assert round(sum(row.on_image for row in part) / 1e6) == on_image
    assert [row.field for row in rows] == [11, 51, 99, 131, 163, 227, 227, 227]


def test_the_share_of_the_dense_layers(published):
    assert f"{dense_share(published):.1%}" == "96.2%"
    assert f"{dense_share(AlexNet(1000, 'ungrouped')):.2%}" == "93.99%"
    assert dense_share(AlexNet(1000, "owt")) > 0.95


def test_views_of_a_photo():
    assert views(256, 224) == 33 * 33 * 2 == 2178
    assert views(256, 227) == 1800
    assert views(5, 5) == 2


@pytest.mark.parametrize("K, S, P", [(3, 1, 1), (5, 1, 2), (5, 2, 2), (4, 3, 3), (3, 2, 0)])
def test_connections_on_padding_are_those_that_see_only_zeros(K, S, P):
    layer = Conv2d(2, 4, K, S, P, groups=2, rng=np.random.default_rng(0))
    layer.params["weight"][...] = 1
    ones = np.ones((1, 9, 7, 2), dtype=np.float32)
    # Every weight times 1 where it sees the image, times 0 elsewhere.
    on_image = round(float(layer(ones).sum()))
    assert multiply_adds(layer, (9, 7, 2)) - on_padding(layer, (9, 7, 2)) == on_image


def test_receptive_field_of_the_last_convolution_by_its_gradient():
    """One output of conv5 depends on 163 x 163 pixels, and on no others."""
    model = AlexNet(2, "2012", width=1 / 16, lrn=False)
    layers = model.features.layers[:-1]  # without the last pooling
    # Averages, in which every input counts.
    layers = [AvgPool2d(3, 2) if isinstance(layer, MaxPool2d) else layer for layer in layers]
    x, caches = np.ones((1, 227, 227, 3), dtype=np.float32), []
    for layer in layers:
        if isinstance(layer, Conv2d):
            layer.params["weight"][...] = 0.1  # positive: nothing cancels, and every ReLU is open
        x, cache = layer.forward(x)
        caches.append(cache)
    dy = np.zeros_like(x)
    dy[0, 6, 6] = 1
    for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
        dy = layer.backward(dy, cache, zeros_like(layer.params))
    for axis in (1, 2):
        seen = np.flatnonzero(abs(dy[0]).sum(axis=(axis - 1, 2)))
        assert (seen[0], seen[-1], len(seen)) == (113 - 81, 113 + 81, 163)


def test_the_program_prints_the_table():
    program = Path(__file__).parents[2] / "benchmarks" / "paper_numbers.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == paper_numbers.table()
    for number in ("290,400", "253,440", "60,965,224", "724,406,816", "96.17%", "1,800", "163"):
        assert number in done.stdout
