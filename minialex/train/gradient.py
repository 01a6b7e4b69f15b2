"""The gradient of a batch, all of it at once or in chunks of it.

The loss is a mean over the N images of the batch, so its gradient is a sum with one term per image,
and may be summed in parts: for chunks of n_1, n_2 ... images with mean losses L_1, L_2 ...,

    L = sum over k of (n_k / N) L_k         dL/dtheta = sum over k of (n_k / N) dL_k/dtheta

Chunks are taken in order, so the result does not depend on anything but their size, and on that
only in the last digits: the same numbers are added in another order.  A Dropout is told which
images it sees, since its mask depends on their position in the batch.
"""

from collections.abc import Callable
from typing import Any

from minialex.attach import mixers
from minialex.errors import ConfigError
from minialex.layers.layer import Layer
from minialex.losses import softmax_cross_entropy
from minialex.params import dict_like
from minialex.xp import Array, get_xp


class BatchGradient:
    """Loss and gradient of `model` on batches, `chunk` images at a time.

    The model's parameters are flattened into `theta` (see params.py); `g` is the gradient of the
    last batch, one flat vector; `loss` the form of softmax_cross_entropy.
    Raises ConfigError for chunks of a model that has a layer which needs the whole batch.
    """

    def __init__(
        self, model: Layer, theta: Array, chunk: int, in_chunks: bool, label_smoothing: float = 0.0,
        loss: Callable[..., Any] = softmax_cross_entropy,
    ):  # fmt: skip
        whole = list(mixers(model))
        if in_chunks and whole:
            raise ConfigError(f"a batch cannot be taken in chunks: {whole[0]} needs all its images")
        self.model, self.chunk, self.label_smoothing = model, chunk, label_smoothing
        self.loss, self.g = loss, get_xp(theta).zeros_like(theta)
        self.part = get_xp(theta).zeros_like(theta) if in_chunks else self.g  # of later chunks
        self.grads = [dict_like(model.params, vector) for vector in (self.g, self.part)]

    def __call__(self, x: Array, labels: Array, step: int) -> tuple[Array, Array]:
        """The loss on images x (N, H, W, 3) and labels (N,), and the number of right answers.

        Fills `g`.
        """
        N = len(x)
        loss, correct = self.add(x, labels, step, slice(0, min(N, self.chunk)))
        for start in range(self.chunk, N, self.chunk):
            more = self.add(x, labels, step, slice(start, min(N, start + self.chunk)))
            loss, correct = loss + more[0], correct + more[1]
        return loss, correct

    def add(self, x: Array, labels: Array, step: int, images: slice) -> tuple[Array, Array]:
        """The terms of some of the images; the first of a batch replace `g`, others are added."""
        self.model.set_step(step, images.start)
        logits, cache = self.model.forward(x[images])
        loss, dlogits = self.loss(logits, labels[images], self.label_smoothing)
        share = (images.stop - images.start) / len(x)
        if share < 1:
            loss, dlogits = loss * share, dlogits * share
        grad = self.grads[1] if images.start > 0 else self.grads[0]
        self.model.backward(dlogits, cache, grad)
        if images.start > 0:
            self.g += self.part
        return loss, (logits.argmax(axis=1) == labels[images]).sum()
