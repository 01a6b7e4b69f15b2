"""AlexNet -- the network that won ImageNet 2012, in its three published forms.

    variant      paper                                                input    parameters (1,000 classes)
    2012         Krizhevsky, Sutskever, Hinton 2012: two towers       227      60,965,224
                 (groups=2 in conv2, conv4, conv5) and LRN
    ungrouped    the same as one tower; LRN only if asked for         227      62,378,344
    owt          Krizhevsky 2014, "One weird trick", section 5:       224      61,100,840
                 fewer filters, no LRN; PyTorch's torchvision.models.alexnet

    features     image (N, 227, 227, 3) -> maps (N, 6, 6, 256): five convolutions, three overlapping poolings
    classifier   maps -> logits (N, classes): three Linear layers, Dropout between them

Where the 2012 paper contradicts itself, and what we do:

    224 or 227      Its images are 224 x 224, but an 11 x 11 window at stride 4 takes 54 places in 224 pixels; the
                    55 x 55 that its figure 2 shows and its second layer needs come of 227 pixels, or of 224 with
                    2 of padding, as in owt.  We use 227.
    253,440         is its number of neurons of the first layer, but 55 * 55 * 96 = 290,400.  (253,440 would be
                    55 * 48 * 96.)  Its other layers agree with ours.  Its total, "650,000", fits 290,400
                    (659,272 in all) better than 253,440 (622,312).
    150,528         is its number of inputs, 224 * 224 * 3; ours is 227 * 227 * 3 = 154,587.
    2048            crops and mirror images of a photo: 32 * 32 * 2, but a window of 224 has 33 * 33 places in
                    256 pixels.  (Ours of 227 has 30 * 30, which makes 1,800 views.)

`paper_numbers.py` counts all of this, layer by layer.  What the paper improved can be taken back one at a time, by
`activation`, `pooling`, `lrn` and `dropout`; `examples/improvements/improvements.py all` measures what each of them is worth.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minialex.backend import Array
from minialex.errors import ConfigError
from minialex.fast.parallel import MicroBatches
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Params,
    ReLU,
    Sequential,
    Shape,
    Sigmoid,
    Tanh,
)  # fmt: skip
from minialex.layers.conv import ALGORITHMS
from minialex.layers.layer import check_shape

#            filters of conv1..5         groups     padding  LRN    image side
VARIANTS = {
    "2012": ((96, 256, 384, 384, 256), (2, 1, 2, 2), 0, True, 227),
    "ungrouped": ((96, 256, 384, 384, 256), (1, 1, 1, 1), 0, False, 227),
    "owt": ((64, 192, 384, 256, 256), (1, 1, 1, 1), 2, False, 224),
}

ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": lambda: ReLU(inplace=True),
    "tanh": Tanh,
    "sigmoid": Sigmoid,
}
POOLINGS: dict[str, Callable[[], Layer]] = {
    "max": lambda: MaxPool2d(3, stride=2),
    "average": lambda: AvgPool2d(3, stride=2),
    "max2": lambda: MaxPool2d(2, stride=2),
}
INITS = ("he", "glorot", "paper")


class AlexNet(Layer):
    """x (N, side, side, 3) -> logits (N, num_classes).

    `variant` is "2012", "ungrouped" or "owt"; `lrn` overrides the variant's use of local response normalisation.
    `width` scales the number of filters and hidden units, and `image_size`
    the side of the image.  `seed` draws the initial weights and the dropout masks.
    `activation` is "relu", "tanh" or "sigmoid"; `pooling` "max" (windows of 3 at stride 2, which overlap),
    "average" (of the same windows) or "max2" (windows of 2 at stride 2, which do not).
    `algorithm` "im2col" keeps all convolutions to the plain form of conv.py; "auto" takes the faster one.

    `init` "he": He's weights, biases of 0; the last layer's weights are small, so that the first loss is
    log(num_classes).  "glorot": N(0, 2 / (inputs + outputs)) everywhere, which does for Tanh and Sigmoid what He's
    weights do for ReLU: keep the scale of signals and gradients (Glorot, Bengio 2010).  "paper": weights
    N(0, 0.01^2) and some biases of 1 (section 5), for pixels in 0..255.

    Raises ConfigError for an unknown variant, init, activation, pooling or algorithm, and for an image too small
    to pass all layers or absurdly large.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        variant: str = "ungrouped",
        *,
        lrn: bool | None = None,
        dropout: float = 0.5,
        width: float = 1.0,
        image_size: int | None = None,
        init: str = "he",
        activation: str = "relu",
        pooling: str = "max",
        algorithm: str = "auto",
        seed: int = 0,
        workers: int | None = None,
    ):
        super().__init__()
        for name, value, known in (
            ("variant", variant, VARIANTS), ("init", init, INITS),
            ("activation", activation, ACTIVATIONS), ("pooling", pooling, POOLINGS),
            ("algorithm", algorithm, ALGORITHMS),
        ):  # fmt: skip
            if value not in known:
                raise ConfigError(f"unknown {name} '{value}'; choose {', '.join(known)}")
        filters, groups, padding, use_lrn, side = VARIANTS[variant]
        use_lrn = use_lrn if lrn is None else lrn
        self.image_size = side if image_size is None else image_size
        if not 0 < self.image_size <= 2048:
            raise ConfigError(f"image_size must be from 67 to 2048, got {image_size}")
        self.config: dict[str, Any] = {
            "variant": variant, "num_classes": num_classes, "lrn": use_lrn, "dropout": dropout,
            "width": width, "image_size": self.image_size, "activation": activation, "pooling": pooling,
        }  # fmt: skip
        if num_classes < 1 or not 0 < width <= 4:
            raise ConfigError(f"num_classes must be at least 1 and width in (0, 4], got {num_classes} and {width}")

        rng = np.random.default_rng(seed)
        c1, c2, c3, c4, c5 = (max(2, round(c * width / 2) * 2) for c in filters)  # even, for two groups
        g2, g3, g4, g5 = groups
        hidden = max(1, round(4096 * width))
        act, pool = ACTIVATIONS[activation], POOLINGS[pooling]

        def conv(C: int, F: int, K: int, groups: int = 1, **options: Any) -> Conv2d:
            std = _std(init, K * K * C // groups, K * K * F // groups)
            return Conv2d(C, F, K, groups=groups, rng=rng, std=std, algorithm=algorithm, **options)

        def normalise() -> list[Layer]:
            return [LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2)] if use_lrn else []

        features = Sequential(
            conv(3, c1, 11, stride=4, padding=padding, input_grad=False), act(), *normalise(), pool(),
            conv(c1, c2, 5, g2, padding=2), act(), *normalise(), pool(),
            conv(c2, c3, 3, g3, padding=1), act(),
            conv(c3, c4, 3, g4, padding=1), act(),
            conv(c4, c5, 3, g5, padding=1), act(), pool(),
        )  # fmt: skip
        shape = features.output_shape(self.input_shape)  # (6, 6, 256) for the published sizes
        if min(shape) < 1:
            raise ConfigError(f"AlexNet: images of side {self.image_size} are too small; use at least 67")
        D = int(np.prod(shape))
        drop1, drop2 = Dropout(dropout, seed=seed, stream=1), Dropout(dropout, seed=seed, stream=2)
        fc6 = Linear(D, hidden, rng=rng, std=_std(init, D, hidden))
        fc7 = Linear(hidden, hidden, rng=rng, std=_std(init, hidden, hidden))
        # He's weights keep the scale of a signal, but each max pooling raises it; fc7 arrives here at about 7.
        fc8 = Linear(hidden, num_classes, rng=rng, std=_std(init, hidden, num_classes) or 0.001)

        self.features = MicroBatches(features, workers)
        self.flatten_maps = Flatten()
        if variant == "owt":  # 2014 drops the inputs of fc6 and fc7, 2012 their outputs
            self.classifier = Sequential(drop1, fc6, act(), drop2, fc7, act(), fc8)
        else:
            self.classifier = Sequential(fc6, act(), drop1, fc7, act(), drop2, fc8)
        if init == "paper":
            convolutions = [layer for layer in features.layers if isinstance(layer, Conv2d)]
            for layer in (convolutions[1], convolutions[3], convolutions[4], fc6, fc7):
                layer.params["bias"][...] = 1

    @property
    def params(self) -> Params:
        """The parameters of the layers inside, nested by their names."""
        return {"features": self.features.params, "classifier": self.classifier.params}

    @params.setter
    def params(self, value: Params) -> None:
        pass  # Layer.__init__ assigns; here the parameters belong to the layers inside

    @property
    def input_shape(self) -> Shape:
        """The shape of one image: (side, side, 3)."""
        return self.image_size, self.image_size, 3

    def forward(self, x: Array) -> tuple[Array, Any]:  # x (N, side, side, 3)
        check_shape(self, x, ("N", *self.input_shape))
        maps, in_features = self.features.forward(x)  # (N, 6, 6, 256)
        vector, in_flatten = self.flatten_maps.forward(maps)  # (N, 9216)
        logits, in_classifier = self.classifier.forward(vector)  # (N, num_classes)
        return logits, (in_features, in_flatten, in_classifier)

    def backward(self, dy: Array, cache: Any, grad: Params) -> Array:
        in_features, in_flatten, in_classifier = cache
        dvector = self.classifier.backward(dy, in_classifier, grad["classifier"])
        dmaps = self.flatten_maps.backward(dvector, in_flatten, {})
        return self.features.backward(dmaps, in_features, grad["features"])

    def __call__(self, x: Array) -> Array:
        check_shape(self, x, ("N", *self.input_shape))
        return self.classifier(self.flatten_maps(self.features(x)))

    def children(self) -> dict[str, Layer]:
        return {"features": self.features, "flatten": self.flatten_maps, "classifier": self.classifier}

    def output_shape(self, shape: Shape) -> Shape:
        return self.classifier.output_shape(self.flatten_maps.output_shape(self.features.output_shape(shape)))

    def summary(self) -> str:
        """A table: layer, output shape, parameters, multiply-adds and activation memory of one image."""
        from minialex.use.summary import summary

        return summary(self, self.input_shape)


def _std(init: str, fan_in: int, fan_out: int) -> float | None:
    """The standard deviation of a layer's first weights; None is He's, the layers' own."""
    return {"he": None, "glorot": math.sqrt(2 / (fan_in + fan_out)), "paper": 0.01}[init]
