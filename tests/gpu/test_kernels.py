"""Kernels of our own: how wide their indices are, and what can be read off the sources of all of
them."""

import importlib
import re
from pathlib import Path

import cupy
import numpy as np
import pytest

from forms import index  # noqa: F401 -- a fixture
from minialex import gpu
from minialex.gpu.kernel import Kernel, whole

FOLDER = Path(gpu.__file__).parent
MODULES = [
    importlib.import_module(f"minialex.gpu.{path.stem}") for path in sorted(FOLDER.glob("*.py"))
]
KERNELS = {
    kernel.name: kernel
    for module in MODULES
    for kernel in vars(module).values()
    if isinstance(kernel, Kernel)
}
INT32 = ("implicit.cu", "tiles.cu")  # count in 32 bits alone: implicit.can refuses more
SOURCES = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.glob("*.cu"))
    if path.name not in INT32
}


def test_arrays_above_two_billion_numbers_get_wide_indices():
    body = "const Index k = 2147483648 + i; y = k - 2147483648 == i ? x[k] : T(0)"
    last = Kernel("", "last", "raw T x", "T y", body)
    ones = cupy.broadcast_to(cupy.ones(1, dtype=np.float32), (1 << 31) + 3)
    y = cupy.empty(3, dtype=np.float32)
    last(ones, y)
    assert y.tolist() == [1, 1, 1] and list(last._compiled) == ["long long"]


def test_the_index_is_as_wide_as_it_must_be(index):  # noqa: F811
    double = Kernel("", "double", "T x", "T y", "y = x + x")
    y = cupy.empty(3, dtype=np.float32)
    double(cupy.ones(3, dtype=np.float32), y)
    assert y.tolist() == [2, 2, 2] and list(double._compiled) == [index]


def test_a_kernel_of_raw_arrays_runs_on_as_many_threads_as_it_is_told(index):  # noqa: F811
    first = Kernel("", "first", "raw T x", "raw T y", "y[i] = x[i]")
    y = cupy.zeros(5, dtype=np.float32)
    first(cupy.ones(5, dtype=np.float32), y, size=3)
    assert y.tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("behind", [1, 2, 3, 4])
def test_what_is_read_four_numbers_at_a_time_lies_on_a_multiple_of_four(behind, dtype):
    array = cupy.arange(8 + behind, dtype=dtype)[behind:]
    found = whole(array)
    assert found.data.ptr % (4 * array.itemsize) == 0
    assert (found.data.ptr == array.data.ptr) == (behind == 4)
    assert found.tolist() == array.tolist()


# What the emulated device cannot show, read off the sources: a float64 that rounds to the same
# float32, and an index that would need two billion numbers to go wrong.


def code(text):
    """CUDA C++ without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def test_every_source_is_a_kernels_and_every_kernels_function_is_there():
    used = {text: name for name, text in SOURCES.items()}
    assert {used[kernel.functions] for kernel in KERNELS.values()} == SOURCES.keys()
    for kernel in KERNELS.values():
        called = re.findall(r"(\w+)(?:<\w+>)?\(", kernel.body)
        assert any(re.search(rf"__device__ .*\b{name}\(", kernel.functions) for name in called)


# A few numbers per row and column of an image, which have to be Pillow's to the bit.
FLOAT64 = {"find_taps"}


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - FLOAT64))
def test_no_constant_in_a_kernel_is_a_float64(name):
    text = code(KERNELS[name].functions + KERNELS[name].body)
    assert re.findall(r"(?<!\bT\()\b\d+(?:\.\d*|e-?\d)(?!\d*f)", text) == []
    assert "double" not in text


NUMBER = r"(?:int|unsigned|short|char) (?:int )?"


@pytest.mark.parametrize("name", SOURCES)
def test_what_numbers_an_array_is_an_index(name):
    """The number of an output, also as a parameter, and what is left of it at last: that of an
    image."""
    text = code(SOURCES[name])
    assert re.findall(rf"{NUMBER}\w+ = (?:i;|k;|k /).*", text) == []
    assert re.findall(rf"{NUMBER}(?:i|k|row)\b", text) == []
