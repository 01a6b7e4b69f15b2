"""Philox -- random numbers that are a function of their place, not of what was drawn before.

An ordinary generator walks from state to state, so its n-th number needs the n-1 before it.  Philox instead
*encrypts a counter*: number i of a stream is a fixed scramble of (i, stream) under a key.  Any part can be
drawn at any time, by any thread, on any device, with the same bits; and after a restart nothing has to be
restored, since training step t simply uses t as a part of its counter.

One round takes four 32-bit words (c0, c1, c2, c3) and a key (k0, k1); with the 64-bit products

    p = M0 * c0,   q = M1 * c2          M0 = D2511F53, M1 = CD9E8D57 (hexadecimal)

it gives (hi(q) ^ c1 ^ k0, lo(q), hi(p) ^ c3 ^ k1, lo(p)), and then raises the key by (9E3779B9, BB67AE85), the
golden ratio and sqrt(3) - 1 as fractions of 2^32.  Ten rounds pass all known tests of randomness.

Reference: Salmon, Moraes, Dror, Shaw (2011), "Parallel Random Numbers: As Easy as 1, 2, 3", section 3.3.
"""

from types import ModuleType

from minialex.backend import Array, Kernel

LOW = 0xFFFFFFFF


def philox4x32(xp: ModuleType, counter: tuple[Array | int, ...], key: tuple[int, int]) -> tuple[Array, ...]:
    """Ten rounds over four counter words, each an array of uint64 below 2^32 or an int; four uint64 arrays."""
    c0, c1, c2, c3 = (xp.asarray(word, dtype=xp.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        p, q = c0 * xp.uint64(0xD2511F53), c2 * xp.uint64(0xCD9E8D57)
        c0, c1 = (q >> xp.uint64(32)) ^ c1 ^ xp.uint64(k0), q & xp.uint64(LOW)
        c2, c3 = (p >> xp.uint64(32)) ^ c3 ^ xp.uint64(k1), p & xp.uint64(LOW)
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0, c1, c2, c3


PHILOX = Kernel(
    "philox", "int64 first, uint32 step0, uint32 step1, uint32 stream, uint32 key0, uint32 key1", "uint16 number",
    """
    const unsigned long long place = first + i;
    unsigned int c0 = place / 8, c1 = step0, c2 = step1, c3 = stream, k0 = key0, k1 = key1;
    for (int round = 0; round < 10; round++) {
        const unsigned long long p = 0xD2511F53ull * c0, q = 0xCD9E8D57ull * c2;
        c0 = (unsigned int)(q >> 32) ^ c1 ^ k0; c1 = (unsigned int)q;
        c2 = (unsigned int)(p >> 32) ^ c3 ^ k1; c3 = (unsigned int)p;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
    const int half = place % 8;
    const unsigned int word = half < 2 ? c0 : half < 4 ? c1 : half < 6 ? c2 : c3;
    number = half % 2 ? word >> 16 : word & 0xFFFF
    """,
)  # fmt: skip


def random_uint16(xp: ModuleType, size: int, *, seed: int, stream: int, step: int, first: int = 0) -> Array:
    """`size` uniform integers 0..65535 (uint16) that depend on (seed, stream, step) and their place alone.

    Their places are first, first + 1 ...  Each counter yields four 32-bit words, each word two numbers, the low
    half first.
    """
    if xp.__name__ == "cupy":  # one kernel in place of two hundred, with the same bits
        numbers = xp.empty(size, dtype=xp.uint16)
        PHILOX(first, step & LOW, step >> 32 & LOW, stream & LOW, seed & LOW, seed >> 32 & LOW, numbers)
        return numbers
    return plain_uint16(xp, size, seed=seed, stream=stream, step=step, first=first)


def plain_uint16(xp: ModuleType, size: int, *, seed: int, stream: int, step: int, first: int = 0) -> Array:
    """The same, array by array."""
    start, skipped = divmod(first, 8)
    blocks = -(-(skipped + size) // 8)
    counter = (xp.arange(start, start + blocks, dtype=xp.uint64), step & LOW, step >> 32 & LOW, stream & LOW)
    words = xp.stack(philox4x32(xp, counter, (seed & LOW, seed >> 32 & LOW)), axis=1).astype(xp.uint32)
    halves = xp.stack((words & xp.uint32(0xFFFF), words >> xp.uint32(16)), axis=2)  # (blocks, 4, 2)
    return halves.astype(xp.uint16).reshape(-1)[skipped : skipped + size]
