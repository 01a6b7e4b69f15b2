"""Kernels of our own: one pass over arrays on a GPU, where a page makes many."""

import importlib
from importlib.resources import files
from typing import Any

from minialex.errors import pair
from minialex.xp import get_xp

LARGEST_INT32 = 2**31 - 1
# Of an image, of what comes out, and of a window, down and across: what `window_sizes` gives.
SIZES = "H, W, C, OH, OW, KH, KW, SH, SW, PH, PW"
INT_SIZES = ", ".join(f"int32 {name}" for name in SIZES.split(", "))


def window_sizes(layer, shape):
    """The numbers of SIZES for x of `shape` (N, H, W, C), of a layer with windows."""
    OH, OW, _ = layer.output_shape(shape[1:])
    K, S, P = map(pair, (layer.kernel_size, layer.stride, layer.padding))
    return *shape[1:], OH, OW, *K, *S, *P


def whole(array):
    """`array`, contiguous, to be read four numbers at a time: a copy, where it does not lie so."""
    array = get_xp(array).ascontiguousarray(array)
    return array if array.data.ptr % (4 * array.itemsize) == 0 else array.copy()


class Kernel:
    """A function of a .cu file in this folder, for each number of the outputs.

    It is compiled when it is first used, and once more for arrays of more than 2^31 numbers.

    `inputs` and `outputs` are lists such as "raw T x, int32 K", `body` calls the function for
    number i of the outputs.  T is the dtype of the arrays (write T(0.5): a bare 0.5 is a float64);
    a `raw` array is indexed by the function, with one number or an array of them, any other at i.
    Index can number all that the arrays hold: an integer of 32 bits where these suffice, since a
    GPU divides those faster.

    No thread may write what another one reads or writes; a sum over many numbers is gathered by its
    owner.
    """

    def __init__(self, file, name, inputs, outputs, body):
        self.name, self.parameters, self.body = name, (inputs, outputs), body
        self.functions = files(__package__).joinpath(file).read_text("utf-8") if file else ""
        self._compiled: dict[str, Any] = {}

    def __call__(self, *arguments, size=None):
        """Run on arguments in the order of `inputs`, then `outputs`.

        `size` is needed where all arrays are raw.
        """
        largest = max(a.size for a in arguments if hasattr(a, "size"))
        index = "int" if max(largest, size or 0) <= LARGEST_INT32 else "long long"
        if index not in self._compiled:
            kind, name = importlib.import_module("cupy").ElementwiseKernel, f"minialex_{self.name}"
            code = f"typedef {index} Index;\n{self.functions}"
            self._compiled[index] = kind(*self.parameters, self.body, name, preamble=code)
        self._compiled[index](*arguments, **({} if size is None else {"size": size}))
