"""Every twin against its page: forward, dx and each parameter's gradient, over generated shapes."""

import copy

import numpy as np
import pytest

from device import DEVICE, on_device, on_host
from drawn_layers import Strided
from layer_cases import KINDS, Kind, draw, to_form
from minialex.attach import family
from minialex.layers import (
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    LocalResponseNorm2d,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.params import named_arrays, zeros_like
from minialex.twin import TWINS, page_of

KINDS_OF = {  # page -> the kinds of generated cases that hold its twin to it
    Conv2d: (
        "conv-im2col", "conv-auto", "conv-of-pairs-fast", "conv-over-the-edge-im2col",
        "conv-over-the-edge-fast",
        *(["conv-winograd"] if "conv-winograd" in KINDS else []),
    ),
    MaxPool2d: ("maxpool-fast", "maxpool-of-pairs-fast"),
    LocalResponseNorm: ("lrn-fast", "lrn-in-groups-fast"),
    LocalResponseNorm2d: ("lrn-2d-fast",),
    ReLU: ("relu-fast",),
    Dropout: ("dropout-fast",),
    Linear: ("linear-fast", "linear-without-bias-fast"),
    Sequential: ("sequential-fast", "relu-inplace", "micro-batches"),
}  # fmt: skip


def rng():
    return np.random.default_rng(0)


def network():
    """Two groups of images and a rest; each kind of layer, with a head and without."""
    return Sequential(
        Sequential(Conv2d(3, 8, 3, 2, rng=rng()), ReLU(), LocalResponseNorm(5, 0.1), MaxPool2d(2)),
        Conv2d(8, 12, 5, padding=2, groups=2, rng=rng()), ReLU(), MaxPool2d(3, 2, 1), Flatten(),
        Linear(108, 20, rng=rng()), ReLU(), Dropout(0.5, seed=3), Linear(20, 5, rng=rng()),
    )  # fmt: skip


CONVS = [
    (lambda: Conv2d(8, 6, 5, padding=2, groups=2, rng=rng()), (20, 27, 27, 8)),
    (lambda: Conv2d(16, 24, 3, padding=1, rng=rng()), (5, 13, 13, 16)),
    (lambda: Conv2d(3, 8, 11, stride=4, rng=rng()), (3, 67, 67, 3)),
    (lambda: Conv2d(3, 8, 11, stride=4, ceil_mode=True, rng=rng()), (3, 64, 66, 3)),
]
LARGE = {  # what is worth several threads, or is worked off in pieces: (layer, shape of x)
    "conv-im2col": CONVS,
    "conv-winograd": CONVS,
    "conv-auto": CONVS,
    "maxpool-fast": [
        (lambda: MaxPool2d(3, 2), (3, 55, 55, 64)), (lambda: MaxPool2d(4, 3, 2), (3, 40, 40, 96)),
    ],
    "lrn-fast": [(lambda: LocalResponseNorm(5, 1.0), (3, 27, 27, 128))],
    "relu-fast": [(lambda: ReLU(), (3, 27, 27, 128)), (lambda: ReLU(), (64, 500))],
    "dropout-fast": [(lambda: Dropout(0.3, seed=9), (7, 1001))],
    "linear-fast": [(lambda: Linear(700, 900, rng=rng()), (N, 700)) for N in (1, 16, 64)],
    "micro-batches": [(network, (37, 28, 28, 3))],
}  # fmt: skip


def passes(layer, x, dy):
    """What a layer makes of x and of dy, by name, on the host."""
    layer.set_step(3)
    y, cache = layer.forward(x.copy())
    grad = zeros_like(layer.params)
    dx = layer.backward(dy.copy(), cache, grad)
    arrays = {name: owner[key] for owner, key, name in named_arrays(grad)}
    return {name: on_host(array) for name, array in {"y": y, "dx": dx, **arrays}.items()}


def check(layer, x, form, strided, tolerances):
    """`layer` in this form against itself as its page says, in float64 and in float32."""
    x = x.astype(np.float32)
    dy = rng().standard_normal((len(x), *layer.output_shape(x.shape[1:])), dtype=np.float32)
    plain = on_device(copy.deepcopy(layer)).to(dtype=np.float64)
    want = passes(plain, on_device(x.astype(np.float64)), on_device(dy.astype(np.float64)))
    for dtype, tolerance in tolerances.items():
        fast = to_form(copy.deepcopy(layer).to(dtype=dtype), form)
        assert any(type(part) is not page_of(part) for part in family(fast))
        handed = Strided(fast, len(x) % 2) if strided else fast
        got = passes(handed, on_device(x.astype(dtype)), on_device(dy.astype(dtype)))
        for name in want:
            assert got[name].dtype == dtype and got[name].shape == want[name].shape
            difference = abs(got[name] - want[name]).max()
            assert difference <= tolerance * max(1e-3, abs(want[name]).max()), (name, dtype)


def cases(kind):
    """(layer, x) of all generated cases, then the large ones."""
    drawn = ("conv-im2col", "conv-winograd") if kind == "conv-auto" else (kind,)
    for name in drawn:
        for i in range(KINDS[name].count if name in KINDS else 0):
            yield draw(name, i)
    for make, shape in LARGE.get(kind, ()):
        yield make(), rng().standard_normal(shape)


@pytest.mark.parametrize("kind", [kind for kinds in KINDS_OF.values() for kind in kinds])
def test_a_twin_computes_what_its_page_says(kind, monkeypatch):
    form = KINDS.get(kind, Kind(0, 0, None, "auto")).algorithm
    exact = kind.startswith(("maxpool", "relu-fast", "dropout"))  # nothing is rounded otherwise
    long_sums = kind.startswith("conv") or kind == "micro-batches"
    tolerances = {np.float64: 0 if exact else 1e-12, np.float32: 1e-5 if long_sums else 1e-6}
    for i, (layer, x) in enumerate(cases(kind)):
        with monkeypatch.context() as patch:
            if len(x) < 16:
                patch.setattr("minialex.fast.sequential.GROUP", 1 + i % 3)
            check(layer, x, form, i % 3 == 2, tolerances)


def test_every_twin_has_such_a_test():
    assert {page for page, device in TWINS if device == DEVICE} <= KINDS_OF.keys()
