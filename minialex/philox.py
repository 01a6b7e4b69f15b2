"""Philox -- random numbers that are a function of their position, not of what was drawn before.

An ordinary generator walks from state to state, so its n-th number needs the n-1 before it.  Philox
instead *encrypts a counter*: number i of a stream is a fixed scramble of (i, stream) under a key.
Any part can be drawn at any time, by any thread, on any device, with the same bits; and after a
restart nothing has to be restored, since training step t simply uses t as a part of its counter.

One round takes four 32-bit words (c0, c1, c2, c3) and a key (k0, k1); with the 64-bit products

    p = M0 * c0,   q = M1 * c2          M0 = D2511F53, M1 = CD9E8D57 (hexadecimal)

it gives (hi(q) ^ c1 ^ k0, lo(q), hi(p) ^ c3 ^ k1, lo(p)), where hi and lo are the upper and the
lower 32 bits and ^ is exclusive or.  Each word of the result depends on other words than before, so
that after a few rounds each bit depends on all.  Then the round raises the key by (9E3779B9,
BB67AE85): the golden ratio and sqrt(3), each less 1, as fractions of 2^32.  After ten rounds the
numbers pass the 106 tests of TestU01's BigCrush (Salmon et al.; not run again here).

The counter of a number drawn here holds its position divided by 8, the step and the stream; the key
is the seed.  Each counter yields four words, each word two numbers of 16 bits, the low half first.

Shapes     a counter word (blocks,) or one int | numbers: those of the array that asks for them

Reference: Salmon, Moraes, Dror, Shaw (2011), "Parallel Random Numbers: As Easy as 1, 2, 3".
"""

from minialex.seeds import State
from minialex.xp import get_xp

LOW = 0xFFFFFFFF  # the low 32 bits


def philox4x32(xp, counter, key):
    """Ten rounds over four counter words, each an array of uint64 below 2^32 or an int.

    Gives four words of the same kind; `key` is two ints below 2^32.
    """
    c0, c1, c2, c3 = (xp.asarray(word, dtype=xp.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        p, q = c0 * xp.uint64(0xD2511F53), c2 * xp.uint64(0xCD9E8D57)
        c0, c1 = (q >> xp.uint64(32)) ^ c1 ^ xp.uint64(k0), q & xp.uint64(LOW)
        c2, c3 = (p >> xp.uint64(32)) ^ c3 ^ xp.uint64(k1), p & xp.uint64(LOW)
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0, c1, c2, c3


def random_uint16(x, seed, stream, step, first=0):
    """Uniform integers 0..65535 (uint16), shaped like x and where x is.

    They depend on (seed, stream, step) and their positions, first, first + 1 ..., alone.
    """
    xp = get_xp(x)
    start, skipped = divmod(first, 8)
    blocks = -(-(skipped + x.size) // 8)  # rounded up
    position = xp.arange(start, start + blocks, dtype=xp.uint64)
    counter = (position, step & LOW, step >> 32 & LOW, stream & LOW)
    words = xp.stack(philox4x32(xp, counter, (seed & LOW, seed >> 32 & LOW)), axis=1)
    halves = xp.stack((words & xp.uint64(0xFFFF), words >> xp.uint64(16)), axis=2)  # (blocks, 4, 2)
    return halves.astype(xp.uint16).reshape(-1)[skipped : skipped + x.size].reshape(x.shape)


def new_stream(seed=None):
    """(seed, stream): the seed given, or else that of seeds.py; and a number new at each call."""
    State.streams += 1
    return State.seed if seed is None else seed, State.streams - 1
