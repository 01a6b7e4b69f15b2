"""A training step of AlexNet on a GPU stays within its budget: counted on the emulated device."""

import pytest
from device import has_gpu

if has_gpu():
    pytest.skip("a real GPU does not count", allow_module_level=True)

from cupyemu import device
from step_costs import Step, counts

# Products: forward, weight and input gradient of each convolution (per group) and Linear; conv1 passes nothing on.
GEMMS = {"2012": 2 + 6 + 3 + 6 + 6 + 9, "ungrouped": 2 + 4 * 3 + 9, "owt": 2 + 4 * 3 + 9}
LAUNCHES = 150  # products included


@pytest.fixture(scope="module", params=GEMMS)
def step(request):
    """A training step after two to warm up."""
    step = Step(request.param)
    step.variant = request.param
    step()
    step()
    return step


def test_no_waiting_no_copies_no_float64(step):
    found = counts(step)
    assert found["synchronizations"] == found["copies_h2d"] == found["copies_d2h"] == found["float64"] == 0
    assert counts(lambda: float(step()))["synchronizations"] == 1  # where the loss is logged


def test_one_product_per_convolution_group_and_direction(step):
    assert counts(step)["gemms"] == GEMMS[step.variant]


def test_launches(step):
    found = counts(step)
    assert found["launches"] + found["gemms"] <= LAUNCHES


def test_memory_does_not_grow(step):
    live = []
    for _ in range(20 if step.variant == "2012" else 3):
        step()
        live.append(device.value("live_bytes"))
    assert len(set(live)) == 1
