"""A training step of AlexNet on a GPU stays within its budget: counted on the emulated device."""

import pytest

from device import has_gpu

if has_gpu():
    pytest.skip("a real GPU does not count", allow_module_level=True)

from step_costs import WARM_UP, Steps, rows

# cuBLAS's products: forward, weight and input gradient of each Linear.
GEMMS = 9
# And with im2col, of each convolution (per group); conv1 passes nothing on.
OF_IM2COL = {"2012": 2 + 6 + 3 + 6 + 6, "ungrouped": 2 + 4 * 3, "owt": 2 + 4 * 3}
LAUNCHES = {"2012": 66, "ungrouped": 58, "owt": 57}  # products included
OWN = {
    "cross_entropy", "dropout", "finish", "maxpool_forward", "maxpool_backward", "relu_backward",
}  # fmt: skip
IMPLICIT = {"conv_forward": 5, "conv_dw": 5, "sum_parts": 5, "conv_dx": 4}


@pytest.fixture(
    scope="module", params=[(variant, "adam") for variant in LAUNCHES] + [("ungrouped", "sgd")]
)
def steps(request):
    """Five training steps after two to warm up."""
    variant, optimizer = request.param
    steps = Steps(variant, 5, optimizer=optimizer)
    steps.variant, steps.optimizer = variant, optimizer
    return steps


def test_every_step_costs_the_same(steps):
    assert all(found == steps.counts[0] for found in steps.counts)


def test_no_waiting_no_float64_and_one_copy_from_pinned_memory(steps):
    found = steps.counts[0]
    assert found["synchronizations"] == found["copies_d2h"] == found["float64"] == 0
    assert found["copies_h2d"] == 1 and found["copies_h2d_pageable"] == 0
    images = 4 * 67 * 67 * 3  # bytes, and 4 labels of 8 bytes
    assert found["bytes_h2d"] == images + 4 * 8


def test_one_two_dimensional_product_per_layer_and_direction(steps):
    assert steps.counts[0]["gemms"] == GEMMS
    assert steps.counts[0]["gemms_batched"] == 0
    assert {name: steps.by_name()[name] for name in IMPLICIT} == IMPLICIT


@pytest.mark.parametrize("variant", OF_IM2COL)
def test_with_im2col_one_product_more_per_convolution_group_and_direction(variant):
    steps = Steps(variant, 2, algorithm="im2col")
    assert steps.counts[0]["gemms"] == GEMMS + OF_IM2COL[variant] + 5  # the biases' gradients
    assert steps.counts[0]["gemms_batched"] == 0 == steps.by_name()["conv_forward"]


def test_launches(steps):
    found = steps.counts[0]["launches"] + steps.counts[0]["gemms"]
    assert 0 < found <= LAUNCHES[steps.variant]


def test_our_own_kernels_are_used(steps):
    names = {
        *OWN,
        steps.optimizer,
        *(("lrn_forward", "lrn_backward") if steps.variant == "2012" else ()),
    }
    found = {
        name.removeprefix("minialex_") for name in steps.by_name() if name.startswith("minialex_")
    }
    assert found == names


def test_memory_does_not_grow(steps):
    assert len(steps.live) == 5 and len(set(steps.live)) == 1


def test_a_logged_step_waits_once():
    counts = Steps("owt", 7, log_interval=WARM_UP + 1).counts
    assert [found["synchronizations"] for found in counts] == [1, 0, 0, 1, 0, 0, 1]
    assert [found["copies_d2h"] for found in counts] == [1, 0, 0, 1, 0, 0, 1]
    assert {found["copies_h2d"] for found in counts} == {1}
    assert {found["copies_h2d_pageable"] for found in counts} == {0}


def test_what_the_program_prints_of_waits():
    found = rows(Steps("ungrouped", 2, log_interval=WARM_UP + 2))
    names = "waits of the host", "waits where the loss is logged", "copies to the host"
    assert [found[name] for name in names] == [0, 1, 0]


# The two parts of the formula: a large batch of a narrow network, a small batch of a wide one, and
# chunks.
MEMORY = [
    ("2012", {"batch_size": 8}), ("ungrouped", {"batch_size": 8}), ("owt", {"batch_size": 8}),
    ("ungrouped", {"width": 1 / 4, "batch_size": 3}), ("2012", {"algorithm": "im2col"}),
    ("ungrouped", {"width": 1 / 2, "batch_size": 32, "algorithm": "im2col"}),
    ("ungrouped", {"optimizer": "sgd", "batch_size": 1}),
    ("2012", {"batch_size": 16, "memory_limit": 8_000_000, "algorithm": "im2col"}),
    ("owt", {"batch_size": 9, "memory_limit": 5_000_000, "algorithm": "im2col"}),
]  # fmt: skip


@pytest.mark.parametrize("variant, options", MEMORY)
def test_peak_of_memory(variant, options):
    steps = Steps(variant, 2, **options)
    limit = options.get("memory_limit")
    assert (steps.run.chunks.size < options.get("batch_size", 4)) == (limit is not None)
    assert 0.95 * steps.formula() <= steps.peak <= steps.formula() <= (limit or steps.formula())
