"""A run on the GPU can be followed on the CPU: the same weights, batches, augmentation and dropout
masks, and losses as close as float32 lets them be.

The two devices add in another order, and the CPU convolves by Winograd's method unless it is told
not to, so their losses part slowly: here by 4e-6 at most over 51 steps.  Where the loss jumps
about, at a high learning rate or in the first steps of a large network, they part faster, and by
Adam more than by SGD: its first steps are as long for a gradient of rounding errors as for a real
one.  So the run in coloured light, whose loss jumps up to 6.7, convolves by the same method on both
devices; by Winograd's on the CPU, it parts by 6e-5.
"""

import numpy as np
import pytest

import tiny_run
from device import on_host

TOLERANCE = 5e-5  # of the loss of each step and of each weight at the end, over 51 steps
RUNS = {
    "ungrouped, adam": {"lr": 1e-4},
    "2012, sgd": {"variant": "2012", "optimizer": "sgd", "lr": 0.01, "label_smoothing": 0.1},
    "owt, adamw, full augmentation, coloured light, im2col on both": {
        "variant": "owt", "optimizer": "adamw", "weight_decay": 0.01, "lr": 1e-4, "augment": "full",
        "colour_shift": 0.1, "normalize": "mean", "algorithm": "im2col",
    },
    "ungrouped, adam, im2col on both": {"lr": 1e-4, "algorithm": "im2col"},
    "2012, sgd, im2col on both": {
        "variant": "2012", "optimizer": "sgd", "lr": 0.01, "algorithm": "im2col",
    },
    "2012, sgd, pages on both": {"variant": "2012", "optimizer": "sgd", "lr": 0.01, "plain": True},
    "owt, adamw, pages on both": {
        "variant": "owt", "optimizer": "adamw", "weight_decay": 0.01, "lr": 1e-4, "plain": True,
    },
    "ungrouped, adam, in chunks": {"lr": 1e-4, "memory_limit": 2_900_000},
}  # fmt: skip


def losses(folder, device, options):
    """The initial weights, the images, labels and loss of each step, and the final weights."""
    run = tiny_run.training(folder, epochs=17, device=device, **options)
    first, steps = on_host(run.optimizer.theta).copy(), tiny_run.watched(run)
    last = tiny_run.last_weights(run)
    images = [np.concatenate([s[k] for s in steps]) for k in (0, 1)]
    return first, images, [s[2] for s in steps], last


@pytest.mark.parametrize("name", RUNS)
def test_fifty_steps(tmp_path, name):
    cpu, gpu = (losses(tmp_path / device, device, RUNS[name]) for device in ("cpu", "gpu"))
    np.testing.assert_array_equal(gpu[0], cpu[0])
    for ours, theirs in zip(gpu[1], cpu[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(gpu[2]) == 51
    np.testing.assert_allclose(gpu[2], cpu[2], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(gpu[3], cpu[3], rtol=0, atol=TOLERANCE)
    assert max(cpu[2]) - min(cpu[2]) > 1000 * TOLERANCE  # there was something to follow
