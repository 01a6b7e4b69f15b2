"""What a trained network looks at: its activations, its gradients, its last hidden layer.

The network says "dog, 93 %", and you want to know why.  You need no new tool for that: it takes
the forward and the backward pass that training uses, with another question.

    activations    What does each layer make of a photo?
    saliency       Which pixels would move the score of a class most, if you changed them?  Those
                   with a large |d score / d pixel|.  Training stops its backward pass at the first
                   layer's weights; here it goes on to the image.
    Grad-CAM       Where does the network see the class?  The score's gradient at the maps A of the
                   last convolution, averaged over the positions, says how much each channel c
                   speaks for the class; the channels, added with these weights, say where:

                       w[c] = mean over p, q of d score / dA[p,q,c]
                       map[p,q] = max(0, sum over c of w[c] A[p,q,c])

    neighbours     Which photos look alike to the network?  Those whose activations in the last
                   hidden layer (4,096 each in AlexNet) lie close together, though their pixels may
                   have nothing in common.

All of it works for any network of layers, one after the other, in Sequentials nested in any way.  A
block of your own, which does something else with the layers inside it, counts as one layer.

References: Krizhevsky, Sutskever, Hinton (2012), section 6.1: neighbours.  Simonyan, Vedaldi,
Zisserman (2014), "Deep Inside Convolutional Networks": saliency.  Selvaraju et al. (2017),
"Grad-CAM", eq. 1 and 2.
"""

from collections.abc import Iterable

import numpy as np

from minialex.attach import chain
from minialex.errors import ConfigError
from minialex.layers import Conv2d, Layer, Linear, ReLU, Sigmoid, Tanh
from minialex.params import family, zeros_like
from minialex.train.evaluation import evaluating
from minialex.xp import Array, get_xp, to_cpu


class Trace:
    """One forward pass of `model`, in evaluation mode, that keeps the output of every layer.

    The input x is (N, H, W, C), as the network takes it.

    layers, outputs   the layers of chain(model), and the output of each; where a ReLU works in
                      place, the layer before it shows the ReLU's output too
    logits            the last of these, the scores (N, classes)
    """

    def __init__(self, model: Layer, x: Array):
        self.model, self.layers = model, [layer for _, layer in chain(model)]
        self.outputs, self.caches = list[Array](), list[object]()
        with evaluating(model):
            for layer in self.layers:
                x, cache = layer.forward(x)
                self.outputs.append(x)
                self.caches.append(cache)
        self.logits = x

    def convolutions(self) -> list[int]:
        """The indices of the layers whose outputs are the maps of a convolution, after ReLU.

        A block with a convolution inside counts as one; Tanh and Sigmoid do as ReLU.
        """
        found = []
        for i, layer in enumerate(self.layers):
            if self.outputs[i].ndim == 4 and any(isinstance(p, Conv2d) for p in family(layer)):
                follows = self.layers[i + 1 : i + 2]
                found.append(i + any(isinstance(p, ReLU | Tanh | Sigmoid) for p in follows))
        return found

    def convolution_maps(self) -> list[np.ndarray]:
        """What the convolutions and their ReLUs make of the first image, each (H, W, C)."""
        return [to_cpu(self.outputs[i][0]) for i in self.convolutions()]

    def gradient(self, classes: Array, at: int = -1) -> Array:
        """d (score of class classes[n]) / d (output of layer `at`), for image n.

        `at` = -1 is the input itself.
        """
        xp, y = get_xp(self.logits), self.logits
        dy = (xp.arange(y.shape[1]) == xp.asarray(classes)[:, None]).astype(y.dtype)  # one-hot
        # Nobody asks for the gradient of the images in training, so an accelerated model may leave
        # it out (`input_grad`).
        told = vars(self.layers[0])
        kept = {"input_grad": told.pop("input_grad")} if "input_grad" in told else {}
        try:
            with evaluating(self.model):
                for i in reversed(range(at + 1, len(self.layers))):
                    grad = zeros_like(self.layers[i].params)
                    dy = self.layers[i].backward(dy, self.caches[i], grad)
        finally:
            told.update(kept)
        return dy


def saliency(model: Layer, x: Array, classes: Array) -> np.ndarray:
    """The largest |d score / d pixel| of each pixel's colours: x (N, H, W, C) -> (N, H, W)."""
    return np.abs(to_cpu(Trace(model, x).gradient(classes))).max(axis=3)


def grad_cam(model: Layer, x: Array, classes: Array) -> np.ndarray:
    """Where in the last convolution's maps the network sees the class: (N, h, w), 0 elsewhere.

    Raises ConfigError for a network without a convolution.
    """
    trace = Trace(model, x)
    if not trace.convolutions():
        raise ConfigError("Grad-CAM needs a convolution, and this network has none; see `saliency`")
    last = trace.convolutions()[-1]
    w = trace.gradient(classes, at=last).mean(axis=(1, 2), keepdims=True)  # (N, 1, 1, C)
    return np.maximum(to_cpu((w * trace.outputs[last]).sum(axis=3)), 0)


def last_hidden(model: Layer, batches: Iterable[Array]) -> np.ndarray:
    """The input of the last Linear layer, (images, units), in evaluation mode.

    `batches` yields the images, (N, H, W, C) at a time.  Raises ConfigError for a network without a
    Linear layer.
    """
    found = []
    for x in batches:
        trace = Trace(model, x)
        ends = [i for i, layer in enumerate(trace.layers) if isinstance(layer, Linear)]
        if not ends:
            raise ConfigError("the network has no Linear layer, so it has no last hidden layer")
        found.append(to_cpu([x, *trace.outputs][ends[-1]]).copy())
    return np.concatenate(found)


def nearest(queries: np.ndarray, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` points (P, D) nearest to each query (Q, D): their indices and distances.

    Both are (Q, count), nearest first; of equally near points the first comes first.  Distances
    are Euclidean, by |q - p|^2 = |q|^2 + |p|^2 - 2 q p: one product, not Q P differences.
    """
    q, p = queries.astype(np.float64), points.astype(np.float64)
    squares = (q**2).sum(axis=1)[:, None] + (p**2).sum(axis=1) - 2 * (q @ p.T)
    chosen = np.argsort(squares, axis=1, kind="stable")[:, :count]
    return chosen, np.sqrt(np.maximum(np.take_along_axis(squares, chosen, axis=1), 0))
