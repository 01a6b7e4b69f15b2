"""Winograd's three matrices -- a sliding sum with fewer multiplications, from polynomials.

A filter g of r weights slid over d gives m outputs y[p] = sum over i of g[i] d[p+i] with m*r
multiplications: call it F(m, r).  That sum is the transpose of another one, the product of two
polynomials

    s(t) = a(t) g(t)     a of m coefficients, g of r coefficients, s of n = m + r - 1

and a polynomial with n coefficients is known from its values at n points.  At each point the value
of s is ONE multiplication, a(t) g(t).  With V_k the matrix whose rows are (1, t, t^2 ... t^(k-1))
at each point t, where the point "infinity" reads the leading coefficient (0 ... 0, 1):

    s = V_n^-1 [ (V_m a) . (V_r g) ]       "." multiplies element-wise: n multiplications

For a fixed g this is a linear map of a.  Transposing it, factor by factor, gives the sliding sum:

    y = V_m^T [ (V_r g) . (V_n^-T d) ] = A^T [ (G g) . (B^T d) ]     A = V_m,  G = V_r,  B = V_n^-1

d are the n inputs under m neighbouring outputs.  The three matrices hold small numbers and are the
same for all data, so transforming costs little when the middle part is shared by many channels and
filters.

**Which points?**  Values at large t are large, and their differences lose digits; so few points,
close to 1 in size: infinity, 0, 1, -1, 2, -1/2, 1/2, -2.  A smaller tile takes the first of them,
so its G is the first rows of a larger tile's.  Each number in A and G is a whole number divided by
a power of two, which float64 holds exactly; B is rounded once, in its division.

Shapes     g (r,) | d (n,) | y (m,) | A (n, m) | G (n, r) | B (n, n)

References
    Toom (1963), Cook (1966): products of polynomials by evaluation and interpolation.
    Winograd (1980), "Arithmetic Complexity of Computations": the transposed form.
"""

from functools import lru_cache

import numpy as np

POINTS = (0.0, 1.0, -1.0, 2.0, -0.5, 0.5, -2.0)  # the finite ones
ONE = 2  # where t = 1 stands among the points, infinity being the first


def vandermonde(n, k):
    """V_k: the powers 0..k-1 of the first n points, of which the first is infinity."""
    return np.vstack([np.eye(k)[-1], np.vander(POINTS[: n - 1], k, increasing=True)])


def interpolation(n):
    """V_n^-1: the coefficients of a polynomial, from its values at the first n points (Lagrange).

    Its columns are polynomials that are 1 at one of the points and 0 at all others.  For infinity
    that is the product of t - u over all finite points u; for t = t_i, of (t - u) / (t_i - u) over
    all others.
    """
    points = np.array(POINTS[: n - 1])
    columns = [np.poly(points)[::-1]]
    for i, t in enumerate(points):
        others = np.delete(points, i)
        columns.append(np.append(np.poly(others)[::-1] / np.prod(t - others), 0))
    return np.stack(columns, axis=1)


@lru_cache
def transforms(m, r):
    """A (n, m), G (n, r), B (n, n) of F(m, r) in float64.

    Raises ValueError where n - 1 finite points are not at hand.
    """
    n = m + r - 1
    if m < 1 or r < 1 or not 3 <= n <= len(POINTS) + 1:
        needs = f"F({m}, {r}) needs {n - 1} points"
        raise ValueError(f"winograd: {needs}; from 2 to {len(POINTS)} are at hand")
    return vandermonde(n, m), vandermonde(n, r), interpolation(n)
