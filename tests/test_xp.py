"""xp: which module an array belongs to, and moving it."""

import sys

import numpy as np
import pytest

from bad_input import refused
from fake_cupy import OnGpu, fake_cupy
from minialex.xp import get_xp, to_cpu, to_device


@pytest.fixture
def cupy(monkeypatch):
    module = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_an_array_says_which_module_it_belongs_to(cupy):
    assert get_xp(np.ones(2)) is np
    assert get_xp(np.float32(1)) is np
    assert get_xp(OnGpu([1.0])) is cupy
    for wrong in ([1.0], 1.0, None):
        with refused(TypeError, "expected a NumPy or CuPy array", type(wrong).__name__):
            get_xp(wrong)


def test_moving_copies_only_where_the_array_is_elsewhere(cupy):
    x = np.arange(3.0)
    assert to_device(x, "cpu") is x and to_cpu(x) is x
    on_gpu = to_device(x, "gpu")
    assert get_xp(on_gpu) is cupy
    assert to_device(on_gpu, "gpu") is on_gpu
    np.testing.assert_array_equal(to_cpu(on_gpu), x)
