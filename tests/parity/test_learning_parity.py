"""Losses, clipping, optimizers and averages against PyTorch: plain and accelerated."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minialex.attach import accelerate
from minialex.losses import softmax_cross_entropy
from minialex.optim import EMA, SGD, Adam, clip_gradient_norm
from minialex.train.checkpoint import state_dict, torch_axes
from torch_bridge import linear, relative


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_cross_entropy(dtype, bound, label_smoothing, size):
    rng = np.random.default_rng(4)
    logits = (size * rng.standard_normal((6, 7))).astype(dtype)
    labels = rng.integers(0, 7, 6)
    theirs = torch.from_numpy(logits.copy()).requires_grad_()
    their_loss = cross_entropy(theirs, torch.from_numpy(labels), label_smoothing=label_smoothing)
    their_loss.backward()
    loss, dlogits = softmax_cross_entropy(logits, labels, label_smoothing)
    assert relative(loss, their_loss.detach().numpy()) < bound
    assert relative(dlogits, theirs.grad.numpy()) < bound


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_soft_targets_and_class_weights(soft, weighted, label_smoothing, dtype, bound):
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((6, 7)).astype(dtype)
    labels = rng.dirichlet(np.ones(7), 6).astype(dtype) if soft else rng.integers(0, 7, 6)
    weight = rng.uniform(0, 3, 7).astype(dtype) if weighted else None
    theirs, their_weight = torch.from_numpy(logits.copy()).requires_grad_(), None
    if weighted:
        their_weight = torch.from_numpy(weight)
    loss = nn.CrossEntropyLoss(their_weight, label_smoothing=label_smoothing)
    their_loss = loss(theirs, torch.from_numpy(labels))
    their_loss.backward()
    loss, dlogits = softmax_cross_entropy(logits, labels, label_smoothing, weight)
    assert relative(loss, their_loss.detach().numpy()) < bound
    assert relative(dlogits, theirs.grad.numpy()) < bound


@pytest.mark.parametrize("max_norm", [1e3, 1e9])
def test_clipping_the_norm(max_norm):
    """PyTorch divides by norm + 1e-6, we by norm + 1e-12: a long gradient shows all but that."""
    g = 1e6 * np.random.default_rng(5).standard_normal(1000)
    theirs = nn.Parameter(torch.zeros(1000, dtype=torch.float64))
    theirs.grad = torch.from_numpy(g.copy())
    their_norm = nn.utils.clip_grad_norm_([theirs], max_norm)
    norm = clip_gradient_norm(g, max_norm)
    assert relative(norm, their_norm.numpy()) < 1e-12
    assert relative(g, theirs.grad.numpy()) < 1e-12


OPTIMIZERS = {
    "adam": (lambda theta: Adam(theta), lambda p: torch.optim.Adam(p)),
    "adam, decay": (
        lambda theta: Adam(theta, betas=(0.8, 0.95), eps=1e-2, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, betas=(0.8, 0.95), eps=1e-2, weight_decay=0.1),
    ),
    "adamw": (
        lambda theta: Adam(theta, betas=(0.8, 0.95), eps=1e-2, weight_decay=0.1, decoupled=True),
        lambda p: torch.optim.AdamW(p, betas=(0.8, 0.95), eps=1e-2, weight_decay=0.1),
    ),
    "sgd": (
        lambda theta: SGD(theta, momentum=0.7, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.7, weight_decay=0.1),
    ),
    "sgd, nesterov": (
        lambda theta: SGD(theta, momentum=0.7, weight_decay=0.1, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.7, weight_decay=0.1, nesterov=True),
    ),
    "sgd, no momentum": (
        lambda theta: SGD(theta, momentum=0.0), lambda p: torch.optim.SGD(p, lr=0.01),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", ["plain", "fast"])
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_under_a_schedule(name, dtype, bound, form):
    """On given gradients, more numbers than two blocks, a learning rate for each step."""
    rng = np.random.default_rng(6)
    start = rng.standard_normal(300_001).astype(dtype)
    theta, parameter = start.copy(), nn.Parameter(torch.from_numpy(start.copy()))
    ours, theirs = OPTIMIZERS[name][0](theta), OPTIMIZERS[name][1]([parameter])
    if form == "fast":
        accelerate(linear(1, 1)[0], ours)
    for step in range(10):
        g = (10.0 ** rng.integers(-3, 2) * rng.standard_normal(theta.shape)).astype(dtype)
        parameter.grad = torch.from_numpy(g.copy())
        theirs.param_groups[0]["lr"] = 0.1 / (step + 1)
        ours.step(g, 0.1 / (step + 1))
        theirs.step()
    moved = parameter.detach().numpy() - start
    assert relative(theta - start, moved) < bound


def test_the_average_of_the_weights():
    """PyTorch's takes over the weights of its first update, ours those it was made with."""
    layer, module = linear(30, 40)
    layer.to(dtype=np.float64)
    module.to(torch.float64)
    average, rng = EMA(layer, 0.9), np.random.default_rng(7)
    theirs = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(6):
        for key, parameter in module.named_parameters():
            if step:
                layer.params[key] += rng.standard_normal(layer.params[key].shape)
            values = layer.params[key].transpose(torch_axes(layer, key, layer.params[key]))
            parameter.data.copy_(torch.from_numpy(values.copy()))
        theirs.update_parameters(module)
        average.update()
    with average:
        for name, parameter in theirs.module.named_parameters():
            assert relative(state_dict(layer)[name], parameter.detach().numpy()) < 1e-12
