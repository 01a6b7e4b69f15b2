"""The program that says how long the host takes measures what it says, and computes nothing."""

import pytest

from device import has_gpu, on_host

if has_gpu():
    pytest.skip("a real GPU has no idle kernels", allow_module_level=True)

import host_time
from cupyemu import device as emulated


@pytest.mark.parametrize("only_photos", [True, False])
def test_steps_are_ordered_and_not_computed(only_photos, monkeypatch):
    run = host_time.training(2, 16)
    found, real = [], run.step

    def step(*batch):
        before, launches = on_host(run.optimizer.theta).copy(), emulated.value("launches")
        real(*batch)
        changed = bool((on_host(run.optimizer.theta) != before).any())
        found.append((changed, emulated.value("launches") - launches > 40))

    monkeypatch.setattr(run, "step", step)
    assert 0 < host_time.measure(run, 3, only_photos) < 60_000
    assert found == [(False, True)] * (3 if only_photos else 7)
    assert not emulated.is_idle()
