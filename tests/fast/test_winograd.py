"""Winograd's transforms exactly, and the convolution against loops and against im2col; its error in float32."""

from fractions import Fraction

import numpy as np
import pytest
from test_layers import conv_by_definition

from device import assert_allclose, assert_array_equal, on_device, on_host
from minialex.fast.winograd import make_plan, winograd_backward, winograd_forward
from minialex.fast.winograd_matrices import inverse, transforms, vandermonde
from minialex.layers import Conv2d, ReLU, Sequential
from minialex.params import zeros_like

PAIRS = [(m, r) for r in range(1, 8) for m in range(1, 7) if 3 <= m + r - 1 <= 8]


def exact(matrix):
    return [[Fraction(float(v)) for v in row] for row in matrix]


@pytest.mark.parametrize("m, r", PAIRS)
def test_the_transforms_are_exact(m, r):
    """A^T [(G g) . (B^T d)] is the sliding sum, as rational numbers: no rounding, for any g and d.

    Entries such as 1/3 have no exact float64, so B is taken from `inverse` and scaled as `transforms` does.
    """
    n = m + r - 1
    A, G, B = transforms(m, r)
    assert A.shape == (n, m) and G.shape == (n, r) and B.shape == (n, n)
    points = [Fraction(t) for t in ("0", "1", "-1", "1/2", "-2", "-1/2", "2")][: n - 1]
    points.sort(key=abs)
    B_exact = inverse(vandermonde(points, n))
    A, G, V = exact(A), exact(G), vandermonde(points, r)
    for i in range(n):
        k = next(k for k in range(r) if V[i][k])
        scale = G[i][k] / V[i][k]
        assert scale in [Fraction(2) ** e for e in range(-20, 21)]  # a power of two, so divisions are exact
        assert G[i] == [scale * v for v in V[i]]
        for j in range(n):
            B_exact[j][i] /= scale
            assert float(B_exact[j][i]) == pytest.approx(B[j, i], abs=1e-15)
    for p in range(m):
        for i in range(r):
            for j in range(n):  # the coefficient of g[i] d[j] in y[p]
                assert sum(A[k][p] * G[k][i] * B_exact[j][k] for k in range(n)) == (j == p + i)


def test_inverse_is_exact_and_pivots():
    matrix = [[Fraction(v) for v in row] for row in ([0, 2, 1], [1, 0, 3], [4, 1, 0])]
    product = [
        [sum(a * b for a, b in zip(row, c, strict=True)) for c in zip(*inverse(matrix), strict=True)]
        for row in matrix
    ]
    assert product == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("m, r", [(1, 1), (0, 3), (3, 0), (6, 4), (4, 6), (1, 9)])
def test_tiles_without_enough_points_are_refused(m, r):
    with pytest.raises(ValueError, match=rf"F\({m}, {r}\) needs"):
        transforms(m, r)


# N, H, W, C, F, r, P, G, m
CASES = [
    (1, 1, 1, 1, 1, 1, 0, 1, 4), (1, 3, 3, 1, 1, 3, 0, 1, 4), (2, 1, 1, 2, 3, 3, 1, 1, 4),
    (1, 2, 3, 2, 2, 3, 1, 1, 2), (3, 5, 4, 2, 3, 3, 0, 1, 4), (2, 13, 13, 3, 4, 3, 1, 1, 4),
    (1, 7, 9, 4, 6, 3, 1, 2, 4), (2, 8, 5, 6, 3, 3, 2, 3, 4), (1, 6, 11, 1, 2, 3, 3, 1, 4),
    (2, 9, 9, 2, 2, 3, 1, 1, 6), (1, 10, 7, 2, 2, 3, 0, 1, 5), (1, 9, 8, 2, 2, 3, 2, 2, 3),
    (1, 5, 5, 2, 1, 5, 0, 1, 4), (2, 7, 6, 2, 3, 5, 2, 1, 4), (1, 27, 5, 2, 4, 5, 2, 2, 4),
    (1, 9, 4, 1, 2, 5, 3, 1, 2), (1, 2, 2, 2, 2, 5, 2, 1, 3), (1, 6, 6, 2, 2, 4, 0, 1, 4),
    (2, 5, 7, 2, 2, 4, 3, 2, 5), (1, 4, 6, 2, 2, 2, 1, 1, 4), (2, 3, 2, 1, 3, 2, 0, 1, 6),
    (1, 7, 7, 2, 2, 7, 3, 1, 2), (1, 8, 9, 2, 2, 6, 1, 2, 3), (1, 7, 8, 1, 1, 7, 0, 1, 1),
    (70, 3, 4, 2, 2, 3, 1, 1, 2),
    # batches of four and more in mosaics
    (4, 13, 13, 2, 3, 3, 1, 1, 4), (5, 13, 13, 2, 4, 3, 1, 2, 4), (7, 5, 5, 2, 2, 3, 1, 2, 4),
    (6, 6, 3, 2, 2, 3, 0, 1, 4), (3, 9, 9, 1, 2, 5, 2, 1, 4), (9, 2, 2, 1, 1, 3, 1, 1, 4),
    (4, 3, 4, 1, 2, 3, 2, 1, 4), (5, 3, 3, 2, 1, 3, 3, 1, 4), (2, 1, 5, 1, 1, 2, 1, 1, 6),
]  # fmt: skip


@pytest.mark.parametrize("N, H, W, C, F, r, P, G, m", CASES)
def test_forward_and_backward(N, H, W, C, F, r, P, G, m):
    rng = np.random.default_rng([N, H, W, C, F, r, P, G])
    plain = Conv2d(C, F, r, 1, P, G, rng=rng, algorithm="im2col").to(dtype=np.float64)
    plain.params["bias"] = rng.standard_normal(F)
    weight, bias = on_device(plain).params.values()
    x = on_device(rng.standard_normal((N, H, W, C)))
    y = plain(x)
    dy = on_device(rng.standard_normal(y.shape))
    before = [a.copy() for a in (x, dy, weight, bias)]

    got = winograd_forward(x, weight, bias, padding=P, groups=G, m=m)
    grad, want = zeros_like(plain.params), zeros_like(plain.params)
    dx = winograd_backward(dy, x, weight, grad, padding=P, groups=G, m=m)
    want_dx = plain.backward(dy, x, want)
    if N < 10:
        definition = conv_by_definition(on_host(x), on_host(weight), on_host(bias), 1, P, G)
        assert_allclose(got, definition, rtol=0, atol=1e-10)
    for a, b in ((got, y), (dx, want_dx), (grad["weight"], want["weight"]), (grad["bias"], want["bias"])):
        assert_allclose(a, b, rtol=0, atol=1e-10 * max(1, float(abs(b).max())))
    assert all(np.array_equal(a, b) for a, b in zip((x, dy, weight, bias), before, strict=True))


@pytest.mark.parametrize("N, H, mosaics", [(11, 13, True), (5, 12, False)])
def test_the_batch_is_worked_off_in_chunks_of_whole_canvases(monkeypatch, N, H, mosaics):
    rng = np.random.default_rng(N)
    x, weight, bias = (on_device(rng.standard_normal(s)) for s in ((N, H, H, 2), (3, 3, 2, 3), 3))
    dy = on_device(rng.standard_normal((N, H, H, 3)))
    assert (make_plan(x, weight, 1, 1, 1, 4).pitch is not None) == mosaics

    def results():
        grad = {"weight": on_device(np.empty((3, 3, 2, 3))), "bias": on_device(np.empty(3))}
        y = winograd_forward(x, weight, bias, padding=1)
        return y, winograd_backward(dy, x, weight, grad, padding=1), grad["weight"], grad["bias"]

    whole = results()
    monkeypatch.setattr("minialex.fast.winograd.CHUNK_TILES", 50 if mosaics else 20)
    assert [s.stop - s.start for s in make_plan(x, weight, 1, 1, 1, 4).chunks(N)] == (
        [4, 4, 3] if mosaics else [1, 2, 2]
    )
    for got, want in zip(results(), whole, strict=True):
        assert_allclose(got, want, rtol=0, atol=1e-10)


def test_a_mosaic_is_used_where_it_takes_fewer_tiles_and_images_do_not_overlap():
    def used(N, H, W, r, P, m=4):
        x, weight = on_device(np.zeros((N, H, W, 1))), on_device(np.zeros((r, r, 1, 1)))
        return make_plan(x, weight, P, 1, 1, m).pitch is not None

    assert used(4, 13, 13, 3, 1)  # 7 x 7 tiles for four images, not 4 * 4 * 4
    assert not used(1, 13, 13, 3, 1) and not used(4, 12, 12, 3, 1)
    assert used(4, 3, 4, 3, 2) and not used(4, 3, 4, 3, 3)
    assert sum(used(N, H, W, r, P, m) for N, H, W, _, _, r, P, _, m in CASES) >= 5


def test_without_bias_and_without_input_gradient():
    rng = np.random.default_rng(0)
    x, weight = on_device(rng.standard_normal((2, 5, 5, 2))), on_device(rng.standard_normal((3, 3, 2, 4)))
    y = winograd_forward(x, weight, None, padding=1)
    zero = winograd_forward(x, weight, on_device(np.zeros(4)), padding=1)
    assert_array_equal(y, zero)
    grad = {"weight": np.empty_like(weight)}
    full = {"weight": np.empty_like(weight), "bias": on_device(np.empty(4))}
    assert winograd_backward(y, x, weight, grad, padding=1, input_grad=False) is None
    winograd_backward(y, x, weight, full, padding=1)
    assert_array_equal(grad["weight"], full["weight"])


def test_input_that_is_not_contiguous():
    rng = np.random.default_rng(1)
    wide, weight = on_device(rng.standard_normal((6, 5, 4, 2))), on_device(rng.standard_normal((3, 3, 2, 2)))
    bias = on_device(np.ones(2))
    x = wide.transpose(2, 1, 0, 3)[:, ::-1]
    y = winograd_forward(x, weight, bias, padding=1)
    assert_array_equal(y, winograd_forward(x.copy(), weight, bias, padding=1))


def rms_error(algorithm, r, C=64):
    """Root mean square of float32 - float64, over that of float64."""
    rng = np.random.default_rng(r)
    x = np.maximum(rng.standard_normal((2, 13, 13, C)), 0)
    layer, x = on_device(Conv2d(C, 32, r, padding=r // 2, rng=rng, algorithm=algorithm)), on_device(x)
    got = on_host(layer(x.astype(np.float32)))
    layer.algorithm = "im2col"
    want = on_host(layer.to(dtype=np.float64)(x))
    return np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))


@pytest.mark.parametrize(
    "algorithm, r, documented", [("im2col", 3, 3e-7), ("winograd", 3, 1e-6), ("winograd", 5, 3e-6)]
)
def test_float32_errors_are_as_documented(algorithm, r, documented):
    assert documented / 2 < rms_error(algorithm, r) < documented * 1.2


@pytest.mark.parametrize("r", [3, 5])
def test_float64_errors_are_a_billion_times_smaller(r):
    rng = np.random.default_rng(0)
    x = on_device(rng.standard_normal((1, 13, 13, 64)))
    layer = Conv2d(64, 32, r, padding=r // 2, rng=rng, algorithm="winograd").to(dtype=np.float64)
    y = on_host(on_device(layer)(x))
    layer.algorithm = "im2col"
    assert 0 < np.sqrt(np.mean((y - on_host(layer(x))) ** 2) / np.mean(y**2)) < 1e-14


def test_groups_of_a_batch_share_the_transformed_weights():
    rng = np.random.default_rng(5)
    plain = Sequential(Conv2d(3, 4, 7, 2, rng=rng), ReLU(), Conv2d(4, 4, 3, padding=1, groups=2, rng=rng))
    layer = MicroBatches(plain.to(dtype=np.float64), workers=2, size=2)
    x = rng.standard_normal((7, 51, 51, 3))
    for _ in range(2):  # the second time with other weights
        y, cache = layer.forward(x)
        assert [leaf for leaf, _ in cache[2]] == [plain[0], plain[2]]
        assert all(U is not None for _, U in cache[2])
        dy, grad, want = rng.standard_normal(y.shape), zeros_like(plain.params), zeros_like(plain.params)
        want_y, plain_cache = plain.forward(x)
        dx, want_dx = layer.backward(dy, cache, grad), plain.backward(dy, plain_cache, want)
        for a, b in ((y, want_y), (layer(x), want_y), (dx, want_dx), (grad["0"]["weight"], want["0"]["weight"])):
            assert_allclose(a, b, rtol=0, atol=1e-10 * float(abs(b).max()))
        assert all(leaf.shared is None for _, leaf in plain.leaves())
        plain[0].params["weight"] *= -1
        plain[2].params["weight"] += 1
