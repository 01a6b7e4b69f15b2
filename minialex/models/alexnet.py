"""AlexNet -- the network that won ImageNet 2012, in the three forms in which it is known.

    variant      whose                                                input    parameters (1,000 classes)
    2012         Krizhevsky, Sutskever, Hinton 2012: two towers       227      60,965,224
                 (groups=2 in conv2, conv4, conv5) and LRN
    ungrouped    the same as one tower; LRN only if asked for         227      62,378,344
    owt          torchvision.models.alexnet: fewer filters, no LRN    224      61,100,840

    features     image (N, 227, 227, 3) -> maps (N, 6, 6, 256): five convolutions, three poolings
    classifier   maps -> logits (N, classes): three Linear layers, Dropout between them

                             output           parameters     (ungrouped, 1,000 classes)
    conv1   11 x 11, S 4     55 x 55 x 96         34,944     then 3 x 3 pooling: 27 x 27
    conv2    5 x 5,  P 2     27 x 27 x 256       614,656     then 3 x 3 pooling: 13 x 13
    conv3    3 x 3,  P 1     13 x 13 x 384       885,120
    conv4    3 x 3,  P 1     13 x 13 x 384     1,327,488
    conv5    3 x 3,  P 1     13 x 13 x 256       884,992     then 3 x 3 pooling: 6 x 6
    fc6, fc7, fc8            4096, 4096, 1000  37,752,832 + 16,781,312 + 4,097,000

Where "owt" comes from: One Weird Trick (Krizhevsky 2014) gives 64-192-384-384-256 filters in its footnote;
torchvision has the 64-192-384-256-256 of Krizhevsky's single-GPU configuration (cuda-convnet2), without
its two LRN layers, and drops the inputs of fc6 and fc7 where both 2012 and 2014 drop their outputs.

Where the 2012 paper contradicts itself, and what we do:

    224 or 227      Its images are 224 x 224, but an 11 x 11 window at stride 4 has 54 positions in 224
                    pixels; the 55 x 55 of its figure 2 come from 227.  We use 227.
    253,440         is its number of neurons of the first layer, but 55 * 55 * 96 = 290,400.  (253,440
                    would be 55 * 48 * 96.)  Its other layers agree with ours.  Its total, "650,000",
                    fits 290,400 (659,272 in all) better than 253,440 (622,312).
    150,528         is its number of inputs, 224 * 224 * 3; ours is 227 * 227 * 3 = 154,587.
    2048            crops and mirror images of a photo: 32 * 32 * 2, but a window of 224 has 33 * 33
                    positions in 256 pixels.  (Ours of 227 has 30 * 30, which makes 1,800 views.)

`benchmarks/paper_numbers.py` counts all of this, layer by layer.  `activation`, `pooling`, `lrn` and
`dropout` take back what the paper improved, one at a time; docs/improvements.md tells what each is worth.
"""

import math

import numpy as np

from minialex.errors import ConfigError
from minialex.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from minialex.layers.layer import check_input

#            filters of conv1..5         groups     padding  LRN    image side
VARIANTS = {
    "2012": ((96, 256, 384, 384, 256), (2, 1, 2, 2), 0, True, 227),
    "ungrouped": ((96, 256, 384, 384, 256), (1, 1, 1, 1), 0, False, 227),
    "owt": ((64, 192, 384, 256, 256), (1, 1, 1, 1), 2, False, 224),
}
ACTIVATIONS = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}
POOLINGS = {"max": (MaxPool2d, 3), "average": (AvgPool2d, 3), "max2": (MaxPool2d, 2)}
INITS = {  # the standard deviation of initial weights, for layers of so many inputs and outputs
    "he": lambda fan_in, fan_out: None,  # the layers' own
    "glorot": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "paper": lambda fan_in, fan_out: 0.01,
}


def choose(known, name):
    """known[name].  Raises ConfigError where it is not there."""
    if name not in known:
        raise ConfigError(f"AlexNet: unknown '{name}'; choose {', '.join(known)}")
    return known[name]


class Maker:
    """Makes the two parts of the network, of layers whose initial weights are drawn in turn."""

    def __init__(self, std, rng, act, pool, K):
        self.std, self.rng, self.act, self.pool = std, rng, act, lambda: pool(K, stride=2)

    def conv(self, C, F, K, groups=1, **geometry):
        std = self.std(K * K * C // groups, K * K * F // groups)
        return Conv2d(C, F, K, groups=groups, rng=self.rng, std=std, **geometry)

    def linear(self, D, F, std=None):
        return Linear(D, F, rng=self.rng, std=self.std(D, F) or std)

    def features(self, filters, groups, padding, lrn):
        (c1, c2, c3, c4, c5), (g2, g3, g4, g5) = filters, groups
        conv, act, pool = self.conv, self.act, self.pool
        norm1, norm2 = ([LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2)] * lrn for _ in "12")
        return Sequential(
            conv(3, c1, 11, stride=4, padding=padding), act(), *norm1, pool(),
            conv(c1, c2, 5, g2, padding=2), act(), *norm2, pool(),
            conv(c2, c3, 3, g3, padding=1), act(),
            conv(c3, c4, 3, g4, padding=1), act(),
            conv(c4, c5, 3, g5, padding=1), act(), pool(),
        )  # fmt: skip

    def classifier(self, sizes, drops, drop_inputs):
        act, fc6, fc7 = self.act, self.linear(*sizes[:2]), self.linear(*sizes[1:3])
        fc8 = self.linear(*sizes[2:], 0.001)  # small weights: the first loss is log(classes)
        if drop_inputs:
            return Sequential(drops[0], fc6, act(), drops[1], fc7, act(), fc8)
        return Sequential(fc6, act(), drops[0], fc7, act(), drops[1], fc8)


class AlexNet(Sequential):
    """x (N, side, side, 3) -> logits (N, num_classes).

    `variant` is "2012", "ungrouped" or "owt"; `lrn` overrides the variant's use of local response
    normalization.  `width` scales the number of filters and hidden units, `image_size` is the side of
    the image.  `seed` draws the initial weights and the dropout masks.
    `activation` is "relu", "tanh" or "sigmoid"; `pooling` "max" (windows of 3 at stride 2, which
    overlap), "average" (of the same windows) or "max2" (windows of 2 at stride 2, which do not).

    `init` "he": He's weights, biases of 0; the last layer's weights are small, so that the first loss
    is log(num_classes).  "glorot": N(0, 2 / (inputs + outputs)) everywhere, which does for Tanh and
    Sigmoid what He's weights do for ReLU: keep the scale of signals and gradients (Glorot, Bengio
    2010).  "paper": weights N(0, 0.01^2) and some biases of 1 (section 5), for pixels in 0..255.

    Raises ConfigError for an unknown variant, init, activation or pooling, and for an image too small
    to pass all layers or absurdly large.
    """

    per_image = True

    def __init__(
        self, num_classes=1000, variant="ungrouped", *, lrn=None, dropout=0.5, width=1.0,
        image_size=None, init="he", activation="relu", pooling="max", seed=0,
    ):  # fmt: skip
        filters, groups, padding, has_lrn, side = choose(VARIANTS, variant)
        side, lrn = side if image_size is None else image_size, has_lrn if lrn is None else lrn
        self.config = {
            "variant": variant, "num_classes": num_classes, "lrn": lrn, "dropout": dropout, "width": width,
            "image_size": side, "activation": activation, "pooling": pooling,
        }  # fmt: skip
        if num_classes < 1 or not 0 < width <= 4 or not 0 < side <= 2048:
            raise ConfigError(f"AlexNet: num_classes, width or image_size cannot be: {self.config}")
        self.image_size, self.input_shape = side, (side, side, 3)
        act, pool = choose(ACTIVATIONS, activation), choose(POOLINGS, pooling)
        make = Maker(choose(INITS, init), np.random.default_rng(seed), act, *pool)
        filters = [max(2, round(F * width / 2) * 2) for F in filters]  # even, for two groups
        self.features = make.features(filters, groups, padding, lrn)
        maps, hidden = self.features.output_shape(self.input_shape), max(1, round(4096 * width))
        if min(maps) < 1:
            raise ConfigError(f"AlexNet: images of side {side} are too small; use at least 67")
        drops = [Dropout(dropout, seed=seed) for _ in range(2)]
        sizes = math.prod(maps), hidden, hidden, num_classes  # (9216, 4096, 4096, 1000)
        self.classifier = make.classifier(sizes, drops, variant == "owt")
        super().__init__(self.features, Flatten(), self.classifier)
        if init == "paper":
            weighted = [layer for _, layer in self.leaves() if layer.params]
            for layer in (weighted[1], *weighted[3:7]):  # conv2, conv4, conv5, fc6, fc7
                layer.params["bias"][...] = 1

    def forward(self, x):
        check_input(self, x, ("N", *self.input_shape))
        return super().forward(x)

    def children(self):
        return dict(zip(("features", "flatten", "classifier"), self.layers, strict=True))
