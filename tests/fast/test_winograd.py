"""Winograd: its transforms exactly, the convolution against loops and the page, float32 errors."""

import doctest
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from minialex.attach import accelerate
from minialex.attach import plain as without_twins
from minialex.fast.winograd import transform_weight, winograd_backward, winograd_forward
from minialex.fast.winograd_matrices import transforms, vandermonde
from minialex.fast.winograd_tiles import axis, make_plan
from minialex.layers import Conv2d, ReLU, Sequential
from minialex.layers.conv import seven_loops
from minialex.params import zeros_like

PAIRS = [(m, r) for r in range(1, 8) for m in range(1, 7) if 3 <= m + r - 1 <= 8]

CHAPTER = Path(__file__).parents[2] / "docs" / "book" / "09-winograd.md"


@pytest.fixture(scope="module")
def plain_winograd():
    """The plain form, as the book's chapter has it."""
    found, names = doctest.DocTestParser().get_examples(CHAPTER.read_text(encoding="utf-8")), {}
    (source,) = (one.source for one in found if one.source.startswith("def plain_winograd"))
    exec(source, {"np": np, "transforms": transforms}, names)
    return names["plain_winograd"]


def exact(matrix):
    return [[Fraction(float(v)) for v in row] for row in matrix]


@pytest.mark.parametrize("m, r", PAIRS)
def test_the_transforms_are_exact(m, r):
    """A^T [(G g) . (B^T d)] is the sliding sum, as rational numbers: no rounding, for any g and d.

    Entries of B such as 1/3 have no exact float64: the fraction is taken that they are nearest to.
    """
    n = m + r - 1
    A, G, B = transforms(m, r)
    assert A.shape == (n, m) and G.shape == (n, r) and B.shape == (n, n)
    B_exact = [[v.limit_denominator(10_000) for v in row] for row in exact(B)]
    np.testing.assert_array_equal(B, np.array(B_exact, dtype=np.float64))
    V, A, G = exact(vandermonde(n, n)), exact(A), exact(G)
    assert [row[: len(G[0])] for row in V[1:]] == G[1:] and V[1] == [1, *[0] * (n - 1)]
    for i in range(n):  # B is the inverse of V
        for j in range(n):
            assert sum(V[i][k] * B_exact[k][j] for k in range(n)) == (i == j)
    for p in range(m):
        for i in range(r):
            for j in range(n):  # the coefficient of g[i] d[j] in y[p]
                assert sum(A[k][p] * G[k][i] * B_exact[j][k] for k in range(n)) == (j == p + i)


def test_tiles_of_all_sizes_evaluate_the_filter_at_the_same_points():
    for r in range(2, 6):
        largest = transforms(9 - r, r)[1]
        for m in range(max(1, 4 - r), 9 - r):
            np.testing.assert_array_equal(transforms(m, r)[1], largest[: m + r - 1])


@pytest.mark.parametrize("m, r", [(1, 1), (0, 3), (3, 0), (6, 4), (4, 6), (1, 9)])
def test_tiles_without_enough_points_are_refused(m, r):
    with pytest.raises(ValueError, match=rf"F\({m}, {r}\) needs"):
        transforms(m, r)


# N, H, W, C, F, r, P, G, m
CASES = [
    (1, 3, 3, 1, 1, 3, 0, 1, 4), (2, 1, 1, 2, 3, 3, 1, 1, 4),
    (1, 2, 3, 2, 2, 3, 1, 1, 2), (3, 5, 4, 2, 3, 3, 0, 1, 4), (2, 13, 13, 3, 4, 3, 1, 1, 4),
    (1, 7, 9, 4, 6, 3, 1, 2, 4), (2, 8, 5, 6, 3, 3, 2, 3, 4), (1, 6, 11, 1, 2, 3, 3, 1, 4),
    (2, 9, 9, 2, 2, 3, 1, 1, 6), (1, 10, 7, 2, 2, 3, 0, 1, 5), (1, 9, 8, 2, 2, 3, 2, 2, 3),
    (1, 5, 5, 2, 1, 5, 0, 1, 4), (2, 7, 6, 2, 3, 5, 2, 1, 4), (1, 27, 5, 2, 4, 5, 2, 2, 4),
    (1, 9, 4, 1, 2, 5, 3, 1, 2), (1, 2, 2, 2, 2, 5, 2, 1, 3), (1, 6, 6, 2, 2, 4, 0, 1, 4),
    (2, 5, 7, 2, 2, 4, 3, 2, 5),
    (1, 7, 7, 2, 2, 7, 3, 1, 2), (1, 8, 9, 2, 2, 6, 1, 2, 3), (1, 7, 8, 1, 1, 7, 0, 1, 1),
    (70, 3, 4, 2, 2, 3, 1, 1, 2),
    (4, 13, 13, 2, 3, 3, 1, 1, 4), (5, 13, 13, 2, 4, 3, 1, 2, 4), (7, 5, 5, 2, 2, 3, 1, 2, 4),
    (6, 6, 3, 2, 2, 3, 0, 1, 4), (3, 9, 9, 1, 2, 5, 2, 1, 4), (9, 2, 2, 1, 1, 3, 1, 1, 4),
    (4, 3, 4, 1, 2, 3, 2, 1, 4), (5, 3, 3, 2, 1, 3, 3, 1, 4), (2, 1, 5, 1, 1, 4, 2, 1, 5),
]  # fmt: skip


def convolve(x, weight, bias, P, G=1, m=None):
    plan = make_plan(x.shape, weight.shape, P, groups=G, m=m)
    return winograd_forward(x, transform_weight(weight, plan.m), bias, plan), plan


@pytest.mark.parametrize("N, H, W, C, F, r, P, G, m", CASES)
def test_forward_and_backward(plain_winograd, N, H, W, C, F, r, P, G, m):
    rng = np.random.default_rng([N, H, W, C, F, r, P, G])
    page = Conv2d(C, F, r, 1, P, G, rng=rng).to(dtype=np.float64)
    page.params["bias"] = rng.standard_normal(F)
    weight, bias = page.params.values()
    x = rng.standard_normal((N, H, W, C))
    want_y, cache = page.forward(x)
    dy = rng.standard_normal(want_y.shape)
    before = [a.copy() for a in (x, dy, weight, bias)]

    y, plan = convolve(x, weight, bias, P, G, m)
    grad, want = zeros_like(page.params), zeros_like(page.params)
    dx = winograd_backward(dy, x, transform_weight(weight, plan.m), grad, plan)
    want_dx = page.backward(dy, cache, want)
    if N < 10 and G == 1:
        np.testing.assert_allclose(y, seven_loops(x, weight, bias, 1, P), rtol=0, atol=1e-10)
        by_einsum = plain_winograd(x, weight, P, m) + bias
        np.testing.assert_allclose(y, by_einsum, rtol=0, atol=1e-10)
    pairs = [(y, want_y), (dx, want_dx), *((grad[key], want[key]) for key in grad)]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * max(1, float(abs(b).max())))
    assert all(np.array_equal(a, b) for a, b in zip((x, dy, weight, bias), before, strict=True))


def test_the_batch_is_worked_off_in_chunks(monkeypatch):
    rng = np.random.default_rng(5)
    x, weight, bias = (rng.standard_normal(s) for s in ((5, 12, 12, 2), (3, 3, 2, 3), 3))
    dy = rng.standard_normal((5, 12, 12, 3))

    def results():
        grad = {"weight": np.empty((3, 3, 2, 3)), "bias": np.empty(3)}
        y, plan = convolve(x, weight, bias, 1)
        dx = winograd_backward(dy, x, transform_weight(weight, plan.m), grad, plan)
        return plan, (y, dx, grad["weight"], grad["bias"])

    _, whole = results()
    monkeypatch.setattr("minialex.fast.winograd_tiles.CHUNK_TILES", 20)
    monkeypatch.setattr("minialex.fast.winograd.BLOCK", 50)
    plan, parts = results()
    assert [s.stop - s.start for s in plan.chunks(5)] == [1, 2, 2]
    for got, want in zip(parts, whole, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("m", [None, 2, 3, 5, 6])
@pytest.mark.parametrize("H, W", [(13, 13), (12, 13), (13, 12), (7, 9), (2, 3), (11, 5), (1, 26)])
def test_tiles_of_up_to_four_shapes(m, H, W):
    rng = np.random.default_rng([m or 0, H, W])
    page = Conv2d(2, 3, 3, 1, 1, rng=rng).to(dtype=np.float64)
    weight, bias = page.params["weight"], rng.standard_normal(3)
    page.params["bias"] = bias
    x, dy = rng.standard_normal((3, H, W, 2)), rng.standard_normal((3, H, W, 3))
    want_y, cache = page.forward(x)
    grad, want = zeros_like(page.params), zeros_like(page.params)
    want_dx, (y, plan) = page.backward(dy, cache, want), convolve(x, weight, bias, 1, m=m)
    dx = winograd_backward(dy, x, transform_weight(weight, plan.m), grad, plan)
    for a, b in ((y, want_y), (dx, want_dx), *((grad[key], want[key]) for key in grad)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * max(1, float(abs(b).max())))


def test_tiles_make_up_the_outputs_as_equal_as_can_be():
    assert axis(3, 13, 4) == [(0, 4, 1), (4, 3, 3)]  # 21 positions, not the 24 of 4 tiles of 4
    assert axis(3, 13, 4, five=True) == [(0, 5, 1), (5, 4, 2)]  # 19
    assert axis(3, 55, 4) == [(0, 4, 13), (52, 3, 1)] and axis(3, 64, 4) == [(0, 4, 16)]
    assert axis(5, 27, 4) == [(0, 4, 6), (24, 3, 1)] and axis(7, 9, 2) == [(0, 2, 4), (8, 1, 1)]
    for outputs, r, five in itertools.product(range(1, 60), range(3, 8), (False, True)):
        first = 0
        for at, m, count in axis(r, outputs, 4, five):
            assert at == first and m > 0 and count > 0
            first += m * count
        assert first == outputs


def test_tiles_of_three_by_three_kernels_are_of_5_down_where_that_saves_enough():
    largest = {outputs: axis(3, outputs, 4, five=True)[0][1] for outputs in range(5, 31)}
    assert [outputs for outputs, m in largest.items() if m == 5] == [5, 9, 10, 13, 14, 25]
    of = {r: make_plan((1, 12 + r, 12 + r, 1), (r, r, 1, 1), 0).m for r in range(3, 8)}
    assert of == {3: (5, 4), 4: (4, 4), 5: (4, 4), 6: (3, 3), 7: (2, 2)}


def test_products_of_alexnets_convolutions():
    """Those that the heads of winograd.py and winograd_tiles.py count, beside im2col's."""
    shapes = [(227, 11, 3, 96, 0, 4), (27, 5, 96, 256, 2, 1), (13, 3, 256, 384, 1, 1),
              (13, 3, 384, 384, 1, 1), (13, 3, 384, 256, 1, 1)]  # fmt: skip
    plain, ours = 0, 0
    for side, K, C, F, P, S in shapes:
        plan = make_plan((1, side, side, C), (K, K, C, F), P, S)
        ours += plan.positions * S * S * C * F
        plain += plan.OH * plan.OW * K * K * C * F
    assert plan.positions == 399
    assert round(ours / plain, 2) == 0.23


@pytest.mark.parametrize("side", [5, 9, 13])
def test_images_of_a_batch_do_not_see_each_other(side):
    rng = np.random.default_rng(side)
    x, weight = (rng.standard_normal(s).astype("f") for s in ((5, side, side, 8), (3, 3, 8, 6)))
    bias = np.ones(6, dtype=np.float32)
    alone = [convolve(x[i : i + 1], weight, bias, 1)[0][0] for i in range(5)]
    for strange in (x[2] * np.float32(1e6), np.full_like(x[2], np.nan)):
        x[2] = strange
        y, plan = convolve(x, weight, bias, 1)
        grad = {"weight": np.empty_like(weight), "bias": bias.copy()}
        dx = winograd_backward(y, x, transform_weight(weight, plan.m), grad, plan)
        for i in (0, 1, 3, 4):
            np.testing.assert_array_equal(y[i], alone[i])
            assert np.isfinite(dx[i]).all() and abs(dx[i]).max() < 1e3


def test_input_that_is_not_contiguous():
    rng = np.random.default_rng(1)
    wide, weight = rng.standard_normal((6, 5, 4, 2)), rng.standard_normal((3, 3, 2, 2))
    x = wide.transpose(2, 1, 0, 3)[:, ::-1]
    bias = np.ones(2)
    y, same = (convolve(a, weight, bias, 1)[0] for a in (x, x.copy()))
    np.testing.assert_array_equal(y, same)


def rms(got, want):
    """Root mean square of the difference, over that of `want`."""
    return np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))


def errors(algorithm, K, S, m, C, F, side):
    """rms errors of y, dx and dw in float32, and of y in float64, for C channels and F filters."""
    rng = np.random.default_rng(K)
    layer = Conv2d(C, F, K, S, K // 2 // S, rng=rng)
    x = rng.standard_normal((2, side, side, C))
    exact = Conv2d(C, F, K, S, K // 2 // S, rng=rng).to(dtype=np.float64)
    exact.params = {key: array.astype(np.float64) for key, array in layer.params.items()}
    want, cache = exact.forward(x.astype(np.float32).astype(np.float64))
    dy, into = rng.standard_normal(want.shape), zeros_like(exact.params)
    results = {"y": want, "dx": exact.backward(dy, cache, into), "dw": into["weight"]}
    accelerate(layer, algorithm=algorithm)
    assert algorithm == "im2col" or layer.plan(x.shape).m == m
    y, cache = layer.forward(x.astype(np.float32))
    grad = zeros_like(layer.params)
    dx = layer.backward(dy.astype(np.float32), cache, grad)
    accelerate(exact, algorithm=algorithm)
    found = [rms(got, results[k]) for k, got in (("y", y), ("dx", dx), ("dw", grad["weight"]))]
    return found, rms(exact(x.astype(np.float32).astype(np.float64)), want)


@pytest.mark.parametrize("algorithm, K, S, m, C, F, side, documented", [
    ("im2col", 3, 1, 0, 384, 384, 13, (4e-7, 4e-7, 4e-7)),
    ("winograd", 11, 4, (4, 4), 3, 96, 227, (1.0e-6, 1.3e-6, 2.5e-6)),
    ("winograd", 3, 1, (4, 4), 384, 384, 12, (2.6e-6, 2.6e-6, 8e-7)),
    ("winograd", 3, 1, (5, 4), 384, 384, 13, (3.1e-6, 3.1e-6, 1.0e-6)),
    ("winograd", 5, 1, (4, 4), 96, 256, 27, (3.6e-6, 5.6e-6, 3.6e-6)),
])  # fmt: skip
def test_float32_errors_are_as_documented(algorithm, K, S, m, C, F, side, documented):
    found, in_float64 = errors(algorithm, K, S, m, C, F, side)
    for error, stated in zip(found, documented, strict=True):
        assert stated / 2 < error < stated * 1.1
    assert 0 < in_float64 < 2e-14 or algorithm == "im2col"


def test_groups_of_a_batch_share_the_transformed_weights():
    rng = np.random.default_rng(5)
    convolutions = Conv2d(3, 8, 7, 2, rng=rng), Conv2d(8, 8, 3, padding=1, groups=2, rng=rng)
    plain = Sequential(convolutions[0], ReLU(), convolutions[1]).to(dtype=np.float64)
    x = rng.standard_normal((35, 51, 51, 3))
    for _ in range(2):  # the second time with other weights
        want_y, cache = plain.forward(x)
        dy, want = rng.standard_normal(want_y.shape), zeros_like(plain.params)
        want_dx = plain.backward(dy, cache, want)
        accelerate(plain, algorithm="winograd")
        y, cache = plain.forward(x)
        shared = cache._cache[2]
        assert [leaf for leaf, _ in shared] == list(convolutions)
        assert all(U is not None for _, U in shared)
        grad = zeros_like(plain.params)
        dx = plain.backward(dy, cache, grad)
        pairs = [(y, want_y), (plain(x), want_y), (dx, want_dx)]
        pairs += [(grad[k]["weight"], want[k]["weight"]) for k in grad]
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * float(abs(b).max()))
        assert all(leaf.shared is None for leaf in convolutions)
        convolutions[0].params["weight"] *= -1
        convolutions[1].params["weight"] += 1
        without_twins(plain)
