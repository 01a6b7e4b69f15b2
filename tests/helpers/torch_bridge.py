"""Between minialex and PyTorch: axes, names, and how far two arrays are apart."""

import numpy as np
import torch

from minialex.train.checkpoint import torch_axes


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
    """The largest difference, relative to the largest number."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
