"""Between minialex and PyTorch: axes, names, and how far two arrays are apart."""

import numpy as np
import torch
from torch import nn

from minialex.layers import Linear
from minialex.train.checkpoint import torch_axes


def linear(*size, **options):
    """A Linear of ours, and one of theirs."""
    return Linear(*size, rng=np.random.default_rng(0), **options), nn.Linear(*size, **options)


def to_torch(x):
    """A copy as a tensor, channels first where x is an image."""
    return torch.from_numpy((x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).copy())


def from_torch(x):
    """An array, channels last where x is an image."""
    x = x.detach().numpy()
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def by_name(model, grad):
    """The gradients of `model`, named and with their axes as by `state_dict`."""
    result = {}
    for name, layer in model.leaves():
        for key in layer.params:
            part = grad
            for step in f"{name}.{key}".split("."):
                part = part[step]
            result[f"{name}.{key}"] = part.transpose(torch_axes(layer, key, part))
    return result


def fill_biases(model, rng):
    """Biases that are not zero."""
    for _, layer in model.leaves():
        if "bias" in layer.params:
            layer.params["bias"][...] = 0.1 * rng.standard_normal(layer.params["bias"].shape)


def relative(ours, theirs):
    """The largest difference, relative to the largest number; NaN where there is one."""
    ours, theirs = np.atleast_1d(ours), np.atleast_1d(theirs)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    rows = 1 + (1 << 16) // theirs[0].size  # at a time: they fit the cache, whatever their order
    parts = [slice(i, i + rows) for i in range(0, len(theirs), rows)]
    difference = np.max([np.abs(ours[part] - theirs[part]).max() for part in parts])
    return float(difference / np.max([np.abs(theirs[part]).max() for part in parts]))
