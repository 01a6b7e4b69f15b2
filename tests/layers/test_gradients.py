"""Every hand-derived gradient against central differences, of pages and of accelerated layers."""

import pytest

from device import DEVICE
from layer_cases import CASES, KINDS, case_id, has_input_grad, make
from minialex import gradcheck
from minialex.params import count_parameters


def test_at_least_200_configurations_of_pages_and_of_their_fast_forms():
    pages = sum(kind.count for kind in KINDS.values() if kind.algorithm is None)
    assert pages >= 200 and len(CASES) - pages >= 170


# On a GPU, where gpu/test_forms.py holds pages and twins to what is checked here on the CPU, two of
# seven: single images, odd layouts, equal maxima and the like are among these as well.
CHOSEN = CASES if DEVICE == "cpu" else [(kind, i) for kind, i in CASES if i % 7 in (1, 3)]


@pytest.mark.parametrize("kind, i", [pytest.param(*case, id=case_id(*case)) for case in CHOSEN])
def test_gradients(kind, i, monkeypatch):
    if kind == "micro-batches":  # batches of 1 to 5 images in several groups
        monkeypatch.setattr("minialex.fast.sequential.GROUP", 1 + i % 3)
    layer, x = make(kind, i)
    report = gradcheck(layer, x, seed=i)
    report.raise_if_bad()
    entries = x.size if has_input_grad(kind, i) else 0
    assert report.checked == entries + count_parameters(layer.params)
