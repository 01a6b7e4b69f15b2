"""The operations that the roofline predicts are those that the emulated device is asked for."""

import math

import pytest

from device import has_gpu

if has_gpu():
    pytest.skip("a real GPU does not count", allow_module_level=True)

from minialex.layers import Conv2d
from minialex.models import VARIANTS
from roofline_model import step_work
from step_costs import Steps


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operations_of_the_products(variant):
    steps = Steps(variant, 1, algorithm="im2col")
    rows = step_work(steps.run.model, steps.run.loader.batch_size)
    works = [work for row in rows for work in (*row.forward, *row.backward) if work.is_product]
    # Beside them, the gradient of each convolution's bias: a row of ones times dy.
    sums, shape = 0, steps.run.model.input_shape
    for _, layer in steps.run.model.leaves():
        shape = layer.output_shape(shape)
        sums += math.prod(shape) * isinstance(layer, Conv2d)
    expected = sum(work.flops for work in works) + 2 * sums * steps.run.loader.batch_size
    assert steps.counts[0]["gemm_flops"] == expected
