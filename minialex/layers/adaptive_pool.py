"""AdaptiveAvgPool2d, GlobalAvgPool2d -- the mean of windows that fit the image, whatever its size.

Why.  A Linear layer wants as many inputs as it has weights, so a network that ends in one takes
images of one size only.  An adaptive pooling is told the size of its OUTPUT, and lays its windows
accordingly: after it, images of any size are maps of one size.  In torchvision's AlexNet it stands
before the classifier with 6 x 6 windows.  An image of 224 pixels has 6 x 6 pixels there, each is a
window of its own, and nothing changes; one of 256 has 7 x 7, and the same weights serve.

Along an axis of `in` pixels, window p of `out` reaches

    from  start[p] = floor(p in / out)    up to, but without,    end[p] = ceil((p + 1) in / out)

    y[n,p,q,c] = 1/area[p,q] sum of x[n,h,w,c] over start[p] <= h < end[p], start[q] <= w < end[q]

where area[p,q] is the number of pixels in the window.  Of 7 pixels, 3 windows are 0-2, 2-4 and 4-6;
where `out` divides `in`, they lie side by side; where `in` is smaller than `out`, pixels repeat.

The mean of the whole map, `GlobalAvgPool2d`, leaves one number per channel and no place for it: how
much of the feature there is, wherever it is.  With as many channels as there are classes it can be
a network's last layer, which then has no weights that could overfit.

Shapes     x, dx (N, H, W, C): N images | H x W pixels | C channels
           y, dy (N, OH, OW, C) for output_size (OH, OW); (N, C) of a GlobalAvgPool2d

Backward.  A pixel moves the mean of its window by 1/area of its own move, and it may lie in several
windows, so:

    dx[each pixel of window (p,q)] += dy[p,q] / area[p,q]

Reference: Lin, Chen, Yan (2013), "Network In Network", section 3.2: global average pooling.  The
windows are those of PyTorch.
"""

from minialex.errors import check_pair
from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.xp import get_xp


class AdaptiveAvgPool2d(Layer):
    """x (N, H, W, C) -> y (N, OH, OW, C); output_size is OH = OW or a pair (OH, OW).

    Raises ValueError for a size below 1.
    """

    per_image = True

    def __init__(self, output_size):
        super().__init__()
        self.output_size = check_pair("AdaptiveAvgPool2d", output_size=output_size)

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        y = get_xp(x).empty((len(x), *self.output_shape(x.shape[1:])), dtype=x.dtype)
        for p, q, rows, columns in self.windows(x.shape):
            y[:, p, q] = x[:, rows, columns].mean(axis=(1, 2))
        return y, x.shape

    def backward(self, dy, shape, grad):
        check_gradient(self, dy, shape, grad)
        dx = get_xp(dy).zeros(shape, dtype=dy.dtype)
        for p, q, rows, columns in self.windows(shape):
            window = dx[:, rows, columns]  # a view
            window += dy[:, p : p + 1, q : q + 1] / (window.shape[1] * window.shape[2])
        return dx

    def windows(self, shape):
        """(p, q, rows, columns) of all windows, for x of `shape`."""
        (_, H, W, _), (OH, OW, _) = shape, self.output_shape(shape[1:])
        rows, columns = ([slice(p * n // out, -(-(p + 1) * n // out)) for p in range(out)]
                         for n, out in ((H, OH), (W, OW)))  # fmt: skip
        return [(p, q, rows[p], columns[q]) for p in range(OH) for q in range(OW)]

    def output_shape(self, shape):
        H, W, C = shape
        size = self.output_size
        size = size if isinstance(size, tuple) else (size, size)
        return (*size, C) if min(H, W) > 0 else (0, 0, C)  # of nothing there is no mean

    def __repr__(self):
        return f"AdaptiveAvgPool2d({self.output_size})"


class GlobalAvgPool2d(Layer):
    """x (N, H, W, C) -> y (N, C), the mean of each map."""

    per_image = True

    def forward(self, x):
        check_input(self, x, ("N", "H", "W", "C"))
        return x.mean(axis=(1, 2)), x.shape

    def backward(self, dy, shape, grad):
        check_gradient(self, dy, shape, grad)
        _, H, W, _ = shape
        return get_xp(dy).zeros(shape, dtype=dy.dtype) + dy[:, None, None] / (H * W)

    def output_shape(self, shape):
        H, W, C = shape
        return (C if min(H, W) > 0 else 0,)
