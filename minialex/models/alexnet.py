"""AlexNet -- the network that won ImageNet 2012, in the forms in which it is known.

Five convolutions find out what can be seen in an image, and where; three Linear layers decide from
that which class it shows.  Each layer has its own page; this one puts them together.  Seven such
networks, averaged, left 15.3 % of the test photos without their class among the five best guesses,
where the runner-up of that year left 26.2 %; a single network left 18.2 % (of validation photos).

    variant        whose                                           image   parameters, 1,000 classes
    2012           Krizhevsky, Sutskever, Hinton: LRN, and two       227   60,965,224
                   towers (groups=2 in conv2, conv4, conv5)
    2012-program   the program that they ran, see program_2012.py    224   60,965,224
    ungrouped      2012 as one tower; LRN only if asked for          227   62,378,344
    owt            torchvision.models.alexnet: fewer filters, no     224   61,100,840
                   LRN
    owt2014        Krizhevsky's of 2014 for one GPU, with LRN        224   61,100,840

Shapes      window               output          pooled to    parameters   products (million)
    conv1   11 x 11, stride 4    55 x 55 x 96    27 x 27          34,944   105.4
    conv2   5 x 5, padding 2     27 x 27 x 256   13 x 13         614,656   447.9
    conv3   3 x 3, padding 1     13 x 13 x 384                   885,120   149.5
    conv4   3 x 3, padding 1     13 x 13 x 384                 1,327,488   224.3
    conv5   3 x 3, padding 1     13 x 13 x 256   6 x 6           884,992   149.5
    fc6     9,216 inputs         4,096                        37,752,832    37.7
    fc7     4,096 inputs         4,096                        16,781,312    16.8
    fc8     4,096 inputs         1,000                         4,097,000     4.1

(That is "ungrouped".  Products are the multiply-adds of one image, forward.)

Where "owt" comes from.  One Weird Trick (Krizhevsky 2014) has 64-192-384-384-256 filters in its
footnote; torchvision has the 64-192-384-256-256 of Krizhevsky's configuration for one GPU
(cuda-convnet2, our "owt2014"), without its two LRN layers; and it drops the inputs of fc6 and fc7,
where 2012 and that configuration drop their outputs.

Where the 2012 paper contradicts itself, and what we do:

    224 or 227   Its images are 224 x 224, but an 11 x 11 window at stride 4 has 54 positions in 224
                 pixels, not the 55 of its figure 2.  In 227 it has 55; we use 227.
    253,440      is its number of neurons of the first layer, but 55 * 55 * 96 = 290,400.  (253,440
                 would be 55 * 48 * 96.)  Its other layers agree with ours.  Its total, "650,000",
                 fits 290,400 (659,272 in all) better than 253,440 (622,312).
    150,528      is its number of inputs, 224 * 224 * 3; ours is 227 * 227 * 3 = 154,587.
    2048         crops and mirror images of a photo: 32 * 32 * 2, but a window of 224 has 33 * 33
                 positions in 256 pixels.  (Ours of 227 has 30 * 30, which makes 1,800 views.)

Its program differs from it in more than these: see program_2012.py for the network, and
train/recipes.py for how it was trained.

`benchmarks/paper_numbers.py` counts all of this.  `activation`, `pooling`, `lrn` and `dropout` take
back what the paper improved, one at a time; docs/improvements.md tells what each was worth here.
"""

import math

import numpy as np

from minialex.errors import ConfigError, choose
from minialex.layers import Conv2d, Dropout, Flatten, Linear, LocalResponseNorm, Sequential
from minialex.layers.activations import ReLU, Sigmoid, Tanh
from minialex.layers.layer import check_input
from minialex.layers.pool import AvgPool2d, MaxPool2d
from minialex.models import program_2012

#            filters of conv1..5    towers, padding of conv1, LRN, image side
VARIANTS = {
    "2012": ((96, 256, 384, 384, 256), 2, 0, True, 227),
    "ungrouped": ((96, 256, 384, 384, 256), 1, 0, False, 227),
    "owt": ((64, 192, 384, 256, 256), 1, 2, False, 224),
    **program_2012.VARIANTS,
}
ACTIVATIONS = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}
POOLINGS = {"max": (MaxPool2d, 3), "average": (AvgPool2d, 3), "max2": (MaxPool2d, 2)}


class Maker:
    """Makes the two parts of the network.  Initial weights are drawn in the order of the layers."""

    def __init__(self, activation, pooling, init, seed):
        self.act = choose("activation", activation, ACTIVATIONS)
        self.pooling = choose("pooling", pooling, POOLINGS)
        self.init, self.rng = init, np.random.default_rng(seed)

    def std(self, fan_in, fan_out):
        """The standard deviation of a layer's initial weights; None stands for the layer's own."""
        known = {"he": None, "glorot": math.sqrt(2 / (fan_in + fan_out))}
        return choose("init", self.init, {**known, "paper": 0.01, "program": 0.01})

    def conv(self, C, F, K, groups=1, **geometry):
        """A convolution with a K x K kernel, from C to F channels."""
        known = {(3, "program"): 0.03}  # conv3 to conv5
        std = known.get((K, self.init)) or self.std(K * K * C // groups, K * K * F // groups)
        return Conv2d(C, F, K, groups=groups, rng=self.rng, std=std, **geometry)

    def features(self, filters, G, padding, lrn):
        """Image (N, 227, 227, 3) -> maps (N, 6, 6, 256), in G towers."""
        (c1, c2, c3, c4, c5), (pool, K) = filters, self.pooling
        norm1, norm2 = [[LocalResponseNorm(5, 1e-4, 0.75, k=2)] if lrn else [] for _ in range(2)]
        return Sequential(
            self.conv(3, c1, 11, stride=4, padding=padding), self.act(), *norm1, pool(K, 2),
            self.conv(c1, c2, 5, G, padding=2), self.act(), *norm2, pool(K, 2),
            self.conv(c2, c3, 3, padding=1), self.act(),  # one group: here the towers meet
            self.conv(c3, c4, 3, G, padding=1), self.act(),
            self.conv(c4, c5, 3, G, padding=1), self.act(), pool(K, 2),
        )  # fmt: skip

    def classifier(self, D, hidden, classes, drop1, drop2, drop_inputs):
        """Vector (N, D) -> logits (N, classes)."""
        fc6 = Linear(D, hidden, rng=self.rng, std=self.std(D, hidden))
        fc7 = Linear(hidden, hidden, rng=self.rng, std=self.std(hidden, hidden))
        # In place of He's, fc8 gets small weights: the first loss is then log(classes).
        fc8 = Linear(hidden, classes, rng=self.rng, std=self.std(hidden, classes) or 0.001)
        if drop_inputs:
            return Sequential(drop1, fc6, self.act(), drop2, fc7, self.act(), fc8)
        return Sequential(fc6, self.act(), drop1, fc7, self.act(), drop2, fc8)


class AlexNet(Sequential):
    """x (N, side, side, 3) -> logits (N, num_classes).

    `variant` is one of VARIANTS; `lrn` overrides the variant's use of local response
    normalization.  `width` scales the number of filters and hidden units, `image_size` is the side
    of the image.  `seed` draws the initial weights and the dropout masks.
    `activation` is "relu", "tanh" or "sigmoid"; `pooling` "max" (windows of 3 at stride 2, which
    overlap), "average" (of the same windows) or "max2" (windows of 2 at stride 2, which do not).

    `init` "he": He's weights, biases of 0; the last layer's weights are small, so that the first
    loss is log(num_classes).  "glorot": N(0, 2 / (inputs + outputs)) everywhere, which does for
    Tanh and Sigmoid what He's weights do for ReLU: keep the scale of signals and gradients (Glorot,
    Bengio 2010).  "paper": N(0, 0.01^2) and some biases of 1 (section 5), for pixels in 0..255.
    "program": the same, but N(0, 0.03^2) in the convolutions of 3 x 3.

    Raises ConfigError for an unknown variant, init, activation or pooling, and for an image too
    small to pass all layers or absurdly large; `forward` raises ValueError for another side.
    """

    per_image = True

    def __init__(self, num_classes=1000, variant="ungrouped", *, lrn=None, dropout=0.5, width=1.0,
                 image_size=None, init="he", activation="relu", pooling="max", seed=0):  # fmt: skip
        filters, towers, padding, has_lrn, side = choose("variant", variant, VARIANTS)
        lrn = has_lrn if lrn is None else lrn
        side = side if image_size is None else image_size
        self.image_size, self.input_shape = side, (side, side, 3)
        self.config = dict(variant=variant, num_classes=num_classes, lrn=lrn, dropout=dropout,
            width=width, image_size=side, activation=activation, pooling=pooling)  # fmt: skip
        if num_classes < 1 or not 0 < width <= 4 or not 0 < side <= 2048:
            raise ConfigError(f"AlexNet: num_classes, width or image_size cannot be: {self.config}")
        make = Maker(activation, pooling, init, seed)
        filters = [max(2, round(F * width / 2) * 2) for F in filters]  # even, for two towers
        features = (program_2012 if variant in program_2012.VARIANTS else Maker).features
        self.features = features(make, filters, towers, padding, lrn)
        maps = self.features.output_shape(self.input_shape)  # (6, 6, 256)
        if min(maps) < 1:
            raise ConfigError(f"AlexNet: images of side {side} are too small; use at least 67")
        D, hidden = math.prod(maps), max(1, round(4096 * width))  # 9216, 4096
        drops = Dropout(dropout, seed=seed), Dropout(dropout, seed=seed)
        self.classifier = make.classifier(D, hidden, num_classes, *drops, variant == "owt")
        super().__init__(self.features, Flatten(), self.classifier)
        if init in ("paper", "program"):
            weighted = [layer for _, layer in self.leaves() if layer.params]
            for i in (1, 3, 4, 5, 6):  # conv2, conv4, conv5, fc6, fc7
                weighted[i].params["bias"][...] = 1

    def forward(self, x):
        check_input(self, x, ("N", *self.input_shape))
        return super().forward(x)

    def __call__(self, x):
        check_input(self, x, ("N", *self.input_shape))
        return super().__call__(x)

    def children(self):
        return dict(zip(("features", "flatten", "classifier"), self.layers, strict=True))
