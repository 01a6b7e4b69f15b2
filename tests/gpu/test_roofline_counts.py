"""The operations that the roofline predicts are those that the emulated device is asked for."""

import pytest
from device import has_gpu

if has_gpu():
    pytest.skip("a real GPU does not count", allow_module_level=True)

from step_costs import Step, counts

from minialex.models import VARIANTS
from minialex.models.roofline import step_work


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operations_of_the_products(variant):
    step = Step(variant, batch=4)
    rows = step_work(step.model, 4)
    works = [work for row in rows for work in (*row.forward, *row.backward) if work.is_product]
    assert counts(step)["gemm_flops"] == sum(work.flops for work in works)
