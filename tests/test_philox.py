"""Philox against the known answers of its authors' Random123 1.09, and as a uniform source."""

import numpy as np
import pytest

from device import on_device, on_host
from minialex.philox import new_stream, philox4x32, random_uint16
from minialex.xp import get_xp

xp = get_xp(on_device(np.zeros(1)))


def numbers_of(size, xp=xp, **place):
    """`size` of them, in a row."""
    return random_uint16(xp.zeros(size, dtype=np.float32), **place)


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
    words = philox4x32(xp, (xp.full(3, counter[0]), *counter[1:]), key)  # three equal counters
    for word, want in zip(words, answer, strict=True):
        assert (word == want).all() and word.shape == (3,)


def test_numbers_are_the_halves_of_the_words():
    seed, stream, step = 0x299F31D0A4093822, 0x03707344, 0x13198A2E85A308D3
    numbers = numbers_of(16, seed=seed, stream=stream, step=step)
    words = philox4x32(xp, (1, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0))
    want = [half for word in words for half in (int(word) & 0xFFFF, int(word) >> 16)]
    assert numbers.dtype == np.uint16 and numbers[8:].tolist() == want


def test_both_devices_draw_the_same():
    place = {"seed": 7, "stream": 3, "step": 1 << 33}
    assert np.array_equal(on_host(numbers_of(1001, **place)), numbers_of(1001, np, **place))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000])
def test_a_number_depends_on_its_place_alone(size):
    numbers = numbers_of(size, seed=1, stream=2, step=3)
    assert xp.array_equal(numbers, numbers_of(1003, seed=1, stream=2, step=3)[:size])


@pytest.mark.parametrize("first", [0, 1, 7, 8, 13, 1 << 33])
@pytest.mark.parametrize("size", [0, 1, 5, 8, 20])
def test_any_part_of_a_stream_can_be_drawn(first, size):
    place = {"seed": 1, "stream": 2, "step": 3}
    numbers = numbers_of(size, first=first, **place)
    low = first // 8 * 8
    assert numbers.shape == (size,)
    whole = numbers_of(size + 8, first=low, **place)
    assert xp.array_equal(numbers, whole[first - low : first - low + size])
    if first < 100:
        assert xp.array_equal(numbers, numbers_of(200, **place)[first : first + size])


def test_numbers_have_the_shape_of_x_in_its_order():
    place = {"seed": 1, "stream": 2, "step": 3}
    x = xp.zeros((4, 5, 3), dtype=np.float32).transpose(1, 0, 2)
    numbers = random_uint16(x, **place)
    assert numbers.shape == (5, 4, 3)
    assert xp.array_equal(numbers.reshape(-1), numbers_of(60, **place))


def test_every_stream_is_new():
    streams = [new_stream() for _ in range(100)]
    assert len(set(streams)) == 100


def chi_square(counts):
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2).sum() / expected)


def test_uniform():
    numbers = on_host(numbers_of(1 << 18, seed=5, stream=0, step=0)).astype(np.int64)
    # 255 degrees of freedom: mean 255, standard deviation 22.6
    for bits in (numbers >> 8, numbers & 0xFF):
        assert 180 < chi_square(np.bincount(bits, minlength=256)) < 340
    # neighbours do not know of each other
    pairs = (numbers[:-1:2] >> 12) * 16 + (numbers[1::2] >> 12)
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
    a = on_host(numbers_of(1 << 16, **place)).astype(np.int64)
    b = on_host(numbers_of(1 << 16, **place | other)).astype(np.int64)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / 256  # five standard deviations
    assert 180 < chi_square(np.bincount((a >> 12) * 16 + (b >> 12), minlength=256)) < 340
    for shift in (1, 4, 8):
        assert abs(np.corrcoef(a[shift:], b[:-shift])[0, 1]) < 5 / 256
