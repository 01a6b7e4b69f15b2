"""Recipes -- four sets of training settings that belong together: `--recipe NAME`.

A learning rate that works with Adam is wrong for SGD, and the epochs that you can afford before
the network overfits depend on the augmentation: settings have to be chosen together.  A recipe
does that for you.  It gives defaults, and an option that you give beside it wins; what a recipe
does not name is as in `Config` (config.py).  To tune a recipe, change its numbers here.

    drawings    the default for the drawings: each has a pose of its own, so nothing is augmented,
                and two epochs are enough
    modern      the default for photos: what the field has learned since 2012 about training with
                few of them
    paper       AlexNet as its paper says that it was trained in 2012
    krizhevsky  AlexNet as its program was really run

The paper's recipe, with the section of Krizhevsky, Sutskever, Hinton (2012) for each line:

    variant "2012"       two towers, local response normalization                          3.2, 3.3
    augment "crop"       256 pixels for the shorter side, the middle 256 x 256 of that,
                         a random crop of the network's size, mirrored half of the time    2, 4.1
    colour_shift 0.1     see data/colour.py                                                4.1
    normalize "mean"     pixels in 0..255 less their mean; not divided by anything         2
    init "paper"         weights N(0, 0.01^2); biases 1 in conv2, conv4, conv5, fc6 and
                         fc7, so that their ReLUs start active, and 0 elsewhere            5
    dropout 0.5          in the first two dense layers                                     4.2
    optimizer "sgd"      v = 0.9 v - 0.0005 lr w - lr g;  w += v;  128 photos per step     5
    schedule "plateau"   lr 0.01, divided by 10 when the validation error has stopped
                         improving, three times; 90 epochs                                 5

Ours differs in four respects.  The paper subtracts a mean image, pixel by pixel; we subtract its
mean colour, since random crops move every pixel of it anyway.  "Stopped improving" was judged by
eye; here it means `plateau_patience` epochs without a new best, 10 so that 90 epochs have room for
all three divisions.  Our weight decay acts on the biases too.  And our dropout multiplies by 0 or 2
in training, so that evaluation is left as it is; the paper, and its program, multiply by 0 or 1,
and by 1/2 in evaluation.  With the same first weights and rates that is another training: what fc7
and fc8 see is twice as large, as if their weights began twice as large and, weight decay aside,
their rate were four times theirs.

Two of these numbers belong to the rest of the paper, and surprise you elsewhere.  The weights of
N(0, 0.01^2) suit pixels in 0..255: with pixels in 0..1 the signals of the first layer would be 255
times weaker.  The learning rate suits 1,000 classes.  fc7's 4,096 biases of 1 give the last layer
an input h of |h|^2 = 7,000 or so.  With K classes, all as likely at first, the curvature of the
loss along h is |h|^2 / K, and SGD with momentum 0.9 is stable for rates below
2 (1 + 0.9) K / |h|^2: 0.5 for 1,000 classes, 0.001 for two.  (That is h in the mean over its masks,
as a batch sees it.  With the program's dropout |h|^2 is about 1,200: 3 for 1,000 classes, 0.006 for
two.)  With two classes and a rate of 0.01, all ReLUs of fc7 were dead after three epochs, and the
network learned nothing.  With `--recipe paper --lr 0.0005` it learns.

What the program did (github.com/computerhistory/AlexNet-Source-Code, run 145), where that differs:

    variant "2012-program"   see models/program_2012.py             layers/layers-145.cfg
    same_crop 32             32 images in a row share a crop of     convdata.py, crop_chunk
                             33 x 33 places and a mirror image
    normalize "mean-image"   the mean of each place                 convdata.py, data_mean_crop
    colour_form "program"    standard deviations times N(0, 0.1^2)  convdata.py, ColorNoiseMaker-
                             and then all is divided by 1.1         Thread and get_next_batch
    init "program"           N(0, 0.03^2) in conv3, conv4, conv5    layers-145.cfg, initW
    bias_rate 2              the biases' rate is 0.02, to the end   layer-params-145.cfg, epsB
                             but in conv1, at rest from 72 on
    no bias_decay            biases have no weight decay            src/layer.cu, _biases
    schedule "program"       KRIZHEVSKY below, epoch by epoch       notes in layer-params-145.cfg

It reuses 1,024 draws of the colours for a while, where ours are all new; and its dropout is the
paper's (src/layer.cu, HiddenSexLayer), which ours is not, as said above.  Its notes end at epoch 91
with 40.7 % top-1 and 18.2 % top-5 error: the paper's single network.  With two classes its rate of
0.01, and of 0.02 for biases, is too high as well: on photos the loss was NaN after 20 steps.
With `--recipe krizhevsky --lr 0.001` it learns.

The modern recipe: crops of random size and shape (Szegedy et al. 2014, section 6), down to a
quarter of the photo, and the paper's colour shift; weights by He et al. (2015); label smoothing
(Szegedy et al. 2016, section 7); AdamW (Loshchilov, Hutter 2019) on a half cosine after a warm-up
(Loshchilov, Hutter 2017); and the leaner network of Krizhevsky (2014).  With 4,500 photos an epoch
is short, so there are sixty: with so much randomness in each photo, the network is slow to overfit.
The README's results on photos come from these numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from minialex.errors import choose
from minialex.optim import SGD, Adam, Optimizer

RECIPES: dict[str, dict[str, Any]] = {
    "drawings": dict(variant="ungrouped", augment="none",
        optimizer="adam", lr=2e-4, batch_size=32, epochs=2),
    "modern": dict(variant="owt", augment="full", crop_scale=0.25, colour_shift=0.1,
        label_smoothing=0.1, optimizer="adamw", lr=2e-4, weight_decay=0.1,
        schedule="cosine", warm_up=500, batch_size=32, epochs=60),
    "paper": dict(variant="2012", augment="crop", colour_shift=0.1, normalize="mean",
        init="paper", dropout=0.5, optimizer="sgd", lr=0.01, weight_decay=5e-4,
        schedule="plateau", warm_up=0, plateau_patience=10, batch_size=128, epochs=90),
    "krizhevsky": dict(variant="2012-program", augment="crop", same_crop=32, colour_shift=0.1,
        colour_form="program", normalize="mean-image", init="program", dropout=0.5,
        optimizer="sgd", lr=0.01, bias_rate=2.0, weight_decay=5e-4, bias_decay=False,
        schedule="program", warm_up=0, batch_size=128, epochs=91),
}  # fmt: skip

W, CONV1 = "*.weight", "features.0.*"
KRIZHEVSKY = [  # from this share of the epochs on: factors on the rates, and whether colours vary
    (25 / 91, {W: 0.1}, True), (51 / 91, {W: 0.01}, True),
    (67 / 91, {"features.0.weight": 0.001, W: 0.01}, False),
    (72 / 91, {CONV1: 0, W: 0.01}, False), (79 / 91, {CONV1: 0, W: 0.001}, False),
]  # fmt: skip
TABLES: dict[str, Any] = {"program": KRIZHEVSKY}  # schedules that are tables, see changes.py

ADAMW = partial(Adam, decoupled=True)
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": ADAMW, "sgd": SGD}


def recipe_for(data: str) -> str:
    """The name of the default recipe for `--data data`."""
    return "drawings" if data == "drawings" else "modern"


def make_optimizer(name: str, model: Any, lr: float, weight_decay: float,
                   freeze: str | None = None, bias_rate: float = 1.0, bias_decay: bool = True
                   ) -> Optimizer:  # fmt: skip
    """The optimizer "adam", "adamw" or "sgd" of a model, or of a vector theta.

    The rate of the biases is `bias_rate` times `lr`; with `bias_decay`, they have weight decay.
    Where all biases are frozen, neither has a meaning.  `freeze` holds patterns of names with
    commas between.  Raises ConfigError for another name, and for patterns that fit nothing.
    """
    make = choose("optimizer", name, OPTIMIZERS)
    patterns = [pattern.strip() for pattern in (freeze or "").split(",") if pattern.strip()]
    rates: Any = lr if bias_rate == 1 else {"*.bias": lr * bias_rate, "*": lr}
    decays: Any = weight_decay if bias_decay else {"*.bias": 0, "*": weight_decay}
    return make(model, lr=rates, weight_decay=decays, freeze=patterns)
