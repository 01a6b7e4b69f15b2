"""Numerical gradient -- is a derivative that was found by hand right?  Ask the function itself.

Move one number v by a little h to either side, and see how far the loss L moves:

    dL/dv  =  ( L(v + h) - L(v - h) ) / 2h   +   an error of the order of h^2

Where that comes from.  Write both terms as Taylor series, L(v) + h L' + h^2 L''/2 + h^3 L'''/6 ...
and the same with -h for h, and subtract; the even powers of h cancel,

    L(v + h) - L(v - h)  =  2h L' + h^3 L'''/3 + ...

so the first error is h^2 L'''/6.  One-sided, (L(v + h) - L(v)) / h, it would be h L''/2.

How small should h be?  Rounding adds about 1e-16 |L| / h in float64, so smaller is not always
better.  For L = exp(v) at v = 0, h = 1e-5 errs by 1.7e-11 from the series and by about 1e-11 from
rounding, close to the best there is.  In float32, whose rounding is 6e-8, the same h errs by 6e-3
and even the best (0.006) by about 2e-5, which hides mistakes; so we check gradients in float64.

A loss for a layer.  A layer puts out many numbers; L = sum of dy * y with a random dy makes one
number of them, and dL/dy = dy.  The plain sum (dy = 1) would not notice a backward pass that swaps
two axes of dy, or hands one image's gradient to another:

    y, cache = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(dy, cache, grad)                                       by the chain rule
    dx = numerical_gradient(lambda: (dy * layer.forward(x)[0]).sum(), x)       by asking

`gradient_check.py` is this page with everything that makes it an instrument: all parameters at
once, layers with kinks such as the ReLU, and a report.

Reference: Nocedal, Wright (2006), "Numerical Optimization", section 8.1.
"""

import numpy as np


def numerical_gradient(loss, v, h=1e-5):
    """dL/dv by central differences, a NumPy array shaped like v.

    `loss()` computes L from v, a float64 array of NumPy or CuPy, whose numbers are moved in place,
    one after the other; each costs two calls.
    """
    gradient = np.zeros(v.shape)
    for i in np.ndindex(v.shape):
        middle = float(v[i])
        v[i] = middle + h
        right = float(loss())
        v[i] = middle - h
        left = float(loss())
        v[i] = middle
        gradient[i] = (right - left) / (2 * h)
    return gradient
