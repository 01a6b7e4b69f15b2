"""AlexNet against PyTorch, written out from the publications.

`test_alexnet_parity.py` builds PyTorch's network from ours, layer by layer.  Here the networks are
written out by hand, so that a wrong stride or a layer in the wrong place cannot hide in both.
"""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from minialex.attach import accelerate, plain
from minialex.layers import (
    AdaptiveAvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minialex.losses import softmax_cross_entropy
from minialex.models import AlexNet
from minialex.params import zeros_like
from minialex.train.checkpoint import save_checkpoint, state_dict
from torch_bridge import by_name, fill_biases, relative, to_torch


def published(name, classes=2, dropout=0.5):
    """The network in PyTorch's own words; "owt" is the layout of torchvision.models.alexnet."""
    c1, c2, c3, c4, c5 = (64, 192, 384, 256, 256) if name == "owt" else (96, 256, 384, 384, 256)
    two = 2 if name == "2012" else 1
    has_lrn = name in ("2012", "ungrouped+lrn")
    lrn = [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)] * has_lrn
    features = nn.Sequential(
        nn.Conv2d(3, c1, 11, stride=4, padding=2 if name == "owt" else 0), nn.ReLU(), *lrn,
        nn.MaxPool2d(3, 2),
        nn.Conv2d(c1, c2, 5, padding=2, groups=two), nn.ReLU(), *lrn, nn.MaxPool2d(3, 2),
        nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c3, c4, 3, padding=1, groups=two), nn.ReLU(),
        nn.Conv2d(c4, c5, 3, padding=1, groups=two), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    fc6, fc7, fc8 = nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, classes)
    drop1, drop2 = nn.Dropout(dropout), nn.Dropout(dropout)
    if name == "owt":
        classifier = nn.Sequential(drop1, fc6, nn.ReLU(), drop2, fc7, nn.ReLU(), fc8)
    else:
        classifier = nn.Sequential(fc6, nn.ReLU(), drop1, fc7, nn.ReLU(), drop2, fc8)
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("flatten", nn.Flatten())
    network.add_module("classifier", classifier)
    return network


def make(name, dtype, **options):
    """Our network as its pages say, and a batch of two images of its published side."""
    variant, _, with_lrn = name.partition("+")
    model = AlexNet(2, variant, lrn=True if with_lrn else None, seed=8, **options)
    rng = np.random.default_rng(9)
    fill_biases(model, rng)
    model.to(dtype=dtype)
    side = model.image_size
    return model, rng.standard_normal((2, side, side, 3)).astype(dtype), np.array([1, 0])


class WithinMaps(nn.Module):
    """The program's second norm, by PyTorch's mean of the squares of each window."""

    def forward(self, x):
        return x * (1 + 1e-3 * nn.functional.avg_pool2d(x**2, 5, 1, 2)) ** -0.75


class Towers(nn.Module):
    """LRN of each of `groups` towers by itself."""

    def __init__(self, groups):
        super().__init__()
        self.groups, self.norm = groups, nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)

    def forward(self, x):
        return torch.cat([self.norm(tower) for tower in x.chunk(self.groups, 1)], 1)


def published_program(name, classes=2, dropout=0.5):
    """Krizhevsky's programs in PyTorch's own words; its poolings have `ceil_mode`, as his have."""
    two = 2 if name == "2012-program" else 1
    c1, c2, c3, c4, c5 = (64, 192, 384, 256, 256) if two == 1 else (96, 256, 384, 384, 256)
    pool, within = nn.MaxPool2d(3, 2, ceil_mode=True), [WithinMaps()] * (two - 1)
    network = published(name, classes, dropout)
    network.features = nn.Sequential(
        nn.Conv2d(3, c1, 11, stride=4), Towers(two), pool, nn.ReLU(),
        nn.Conv2d(c1, c2, 5, padding=2, groups=two), nn.ReLU(), Towers(two), *within, pool,
        nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
        nn.Conv2d(c3, c4, 3, padding=1, groups=two), nn.ReLU(),
        nn.Conv2d(c4, c5, 3, padding=1, groups=two), pool, nn.ReLU(),
    )  # fmt: skip
    return network


ALL = ["2012", "ungrouped", "ungrouped+lrn", "owt", "2012-program", "owt2014"]


@pytest.mark.parametrize("name", ALL)
def test_the_published_network_without_dropout_in_float64_within_1e_9(name):
    model, x, labels = make(name, np.float64, dropout=0.0)
    with torch.device("meta"):  # no numbers: the weights are assigned
        of_program = name in ("2012-program", "owt2014")
        theirs = (published_program if of_program else published)(name, dropout=0.0)
    weights = {name: torch.from_numpy(array) for name, array in state_dict(model).items()}
    theirs.load_state_dict(weights, assign=True)
    # The windows of the program hang over the edge by three pixels, where it sees zeros.
    their_x = nn.functional.pad(to_torch(x), (0, 3, 0, 3)) if of_program else to_torch(x)
    their_logits = theirs(their_x)
    their_loss = cross_entropy(their_logits, torch.from_numpy(labels))
    their_loss.backward()

    for form in (plain, accelerate):
        form(model)
        logits, cache = model.forward(x)
        loss, dlogits = softmax_cross_entropy(logits, labels)
        grad = zeros_like(model.params)
        model.backward(dlogits, cache, grad)
        found = {
            "logits": relative(logits, their_logits.detach().numpy()),
            "loss": relative(loss, their_loss.detach().numpy()),
        }
        gradients = by_name(model, grad)
        for key, parameter in theirs.named_parameters():
            found[key] = relative(gradients.pop(key), parameter.grad.numpy())
        assert not gradients and len(found) == 18
        assert max(found.values()) < 1e-9, (form, found)


def test_pytorch_loads_a_checkpoint_of_the_full_network(tmp_path):
    """float32, evaluation: the Dropouts of both pass everything on."""
    model, x, _ = make("owt", np.float32)
    save_checkpoint(tmp_path / "best.safetensors", state_dict(model), {"model": model.config})
    with torch.device("meta"):
        theirs = published("owt").eval()
    weights = safetensors.torch.load_file(tmp_path / "best.safetensors")
    theirs.load_state_dict(weights, strict=True, assign=True)
    with torch.no_grad():
        their_logits = theirs(to_torch(x)).numpy()
    for form in (plain, accelerate):
        assert relative(form(model).train(False)(x), their_logits) < 1e-5, form


def torchvisions(width):
    """torchvision's AlexNet, with `width` of its filters, in our words and in PyTorch's."""
    c1, c2, c3, c4, c5 = (int(width * c) for c in (64, 192, 384, 256, 256))
    hidden, rng = int(width * 4096), np.random.default_rng(0)
    ours = Sequential(
        Sequential(
            Conv2d(3, c1, 11, 4, 2, rng=rng), ReLU(), MaxPool2d(3, 2),
            Conv2d(c1, c2, 5, 1, 2, rng=rng), ReLU(), MaxPool2d(3, 2),
            Conv2d(c2, c3, 3, 1, 1, rng=rng), ReLU(), Conv2d(c3, c4, 3, 1, 1, rng=rng), ReLU(),
            Conv2d(c4, c5, 3, 1, 1, rng=rng), ReLU(), MaxPool2d(3, 2),
        ),
        AdaptiveAvgPool2d((6, 6)), Flatten(),
        Sequential(
            Dropout(0.0), Linear(c5 * 36, hidden, rng=rng), ReLU(),
            Dropout(0.0), Linear(hidden, hidden, rng=rng), ReLU(), Linear(hidden, 5, rng=rng),
        ),
    )  # fmt: skip
    theirs = nn.Sequential(
        nn.Sequential(
            nn.Conv2d(3, c1, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(c1, c2, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(c2, c3, 3, 1, 1), nn.ReLU(), nn.Conv2d(c3, c4, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(c4, c5, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
        ),
        nn.AdaptiveAvgPool2d((6, 6)), nn.Flatten(),
        nn.Sequential(
            nn.Dropout(0.0), nn.Linear(c5 * 36, hidden), nn.ReLU(),
            nn.Dropout(0.0), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 5),
        ),
    )  # fmt: skip
    return ours, theirs


@pytest.mark.parametrize("form", ["plain", "fast"])
@pytest.mark.parametrize("side", [180, 224, 256])
def test_torchvisions_layout_takes_images_of_any_size(side, form):
    ours, theirs = torchvisions(1 / 4)
    fill_biases(ours, np.random.default_rng(1))
    if form == "fast":
        accelerate(ours)
    weights = {name: torch.from_numpy(array) for name, array in state_dict(ours).items()}
    theirs.load_state_dict(weights, assign=True)
    x = np.random.default_rng(2).standard_normal((3, side, side, 3), dtype=np.float32)
    their_logits = theirs(to_torch(x))
    cross_entropy(their_logits, torch.tensor([1, 0, 4])).backward()
    logits, cache = ours.forward(x)
    _, dlogits = softmax_cross_entropy(logits, np.array([1, 0, 4]))
    grad = zeros_like(ours.params)
    ours.backward(dlogits, cache, grad)
    assert relative(logits, their_logits.detach().numpy()) < 1e-5
    gradients = by_name(ours, grad)
    for name, parameter in theirs.named_parameters():
        assert relative(gradients.pop(name), parameter.grad.numpy()) < 1e-4, name
