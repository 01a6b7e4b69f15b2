"""How good is a network?  Its loss and accuracy over a dataset, by one crop per image or by ten."""

import numpy as np

from minialex.data import DataLoader
from minialex.data.ten_crops import MIDDLE_CROP
from minialex.layers import Layer
from minialex.losses import log_softmax, softmax_cross_entropy
from minialex.train.prefetch import device_batches
from minialex.xp import to_cpu


def evaluate(model: Layer, loader: DataLoader, device: str = "cpu") -> tuple[float, float]:
    """Mean loss and accuracy of `model`, in evaluation mode, over epoch 0 of `loader`."""
    model.train(False)
    loss = correct = seen = 0.0
    for x, labels in device_batches(loader, device, epoch=0):
        logits = model(x)
        loss += float(softmax_cross_entropy(logits, labels)[0]) * len(x)
        correct += float((logits.argmax(axis=1) == labels).sum())
        seen += len(x)
    model.train(True)
    return loss / seen, correct / seen


def evaluate_ten_crops(model: Layer, loader: DataLoader, device: str = "cpu") -> dict[str, float]:
    """As `evaluate`, for a loader whose samples are the ten crops of an image, (N, 10, H, W, 3).

    "ten_crop_loss" and "ten_crop_acc" are those of the mean of the ten probabilities (section 4.1
    of the paper), "test_loss" and "test_acc" those of the middle crop alone.
    """
    model.train(False)
    sums, seen = np.zeros(4), 0
    for x, y in device_batches(loader, device, epoch=0):
        N, labels = len(x), to_cpu(y)
        logits = model(x.reshape(-1, *x.shape[2:]))
        log_p = to_cpu(log_softmax(logits)).reshape(N, 10, -1).astype(np.float64)
        mean = np.log(np.exp(log_p).mean(axis=1))  # (N, classes)
        for i, answer in enumerate((log_p[:, MIDDLE_CROP], mean)):
            sums[2 * i] -= answer[np.arange(N), labels].sum()
            sums[2 * i + 1] += (answer.argmax(axis=1) == labels).sum()
        seen += N
    model.train(True)
    names = ("test_loss", "test_acc", "ten_crop_loss", "ten_crop_acc")
    return {name: float(value) / seen for name, value in zip(names, sums, strict=True)}
