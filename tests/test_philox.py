"""Philox against the known answers of its authors' Random123 1.09, and as a source of uniform numbers."""

import numpy as np
import pytest

from device import on_device, on_host
from minialex.xp import get_xp
from minialex.philox import philox4x32, random_uint16

xp = get_xp(on_device(np.zeros(1)))


@pytest.mark.parametrize(
    "counter, key, answer",
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, answer):
    assert tuple(int(word) for word in philox4x32(xp, counter, key)) == answer
    words = philox4x32(xp, (xp.full(3, counter[0]), *counter[1:]), key)  # an array of counters, the same
    assert all((word == want).all() and word.shape == (3,) for word, want in zip(words, answer, strict=True))


def test_numbers_are_the_halves_of_the_words():
    seed, stream, step = 0x299F31D0A4093822, 0x03707344, 0x13198A2E85A308D3
    numbers = random_uint16(xp, 16, seed=seed, stream=stream, step=step)
    words = philox4x32(xp, (1, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0))
    want = [half for word in words for half in (int(word) & 0xFFFF, int(word) >> 16)]
    assert numbers.dtype == np.uint16 and numbers[8:].tolist() == want


def test_both_devices_draw_the_same():
    place = {"seed": 7, "stream": 3, "step": 1 << 33}
    assert np.array_equal(on_host(random_uint16(xp, 1001, **place)), random_uint16(np, 1001, **place))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000])
def test_a_number_depends_on_its_place_alone(size):
    numbers = random_uint16(xp, size, seed=1, stream=2, step=3)
    assert xp.array_equal(numbers, random_uint16(xp, 1003, seed=1, stream=2, step=3)[:size])


def chi_square(counts):
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2).sum() / expected)


def test_uniform():
    numbers = on_host(random_uint16(xp, 1 << 18, seed=5, stream=0, step=0)).astype(np.int64)
    # 255 degrees of freedom: mean 255, standard deviation 22.6
    for bits in (numbers >> 8, numbers & 0xFF):
        assert 180 < chi_square(np.bincount(bits, minlength=256)) < 340
    pairs = (numbers[:-1:2] >> 12) * 16 + (numbers[1::2] >> 12)  # neighbours do not know of each other
    assert 180 < chi_square(np.bincount(pairs, minlength=256)) < 340


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 6},
        {"stream": 1},
        {"step": 1},
        {"seed": 5 + (1 << 32)},
        {"step": 1 << 32},
        {"seed": 0, "step": 5},
    ],
)
def test_seeds_streams_and_steps_are_independent(other):
    place = {"seed": 5, "stream": 0, "step": 0}
    a = on_host(random_uint16(xp, 1 << 16, **place)).astype(np.int64)
    b = on_host(random_uint16(xp, 1 << 16, **place | other)).astype(np.int64)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / 256  # five standard deviations
    assert 180 < chi_square(np.bincount((a >> 12) * 16 + (b >> 12), minlength=256)) < 340
    for shift in (1, 4, 8):
        assert abs(np.corrcoef(a[shift:], b[:-shift])[0, 1]) < 5 / 256
