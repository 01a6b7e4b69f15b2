"""What the paper claims, and which training runs decide about it.

To know what an improvement is worth, change that one thing and nothing else.  An ARM is a training
run with certain settings.  Each arm is trained once per seed: with the same seed, two arms see the
same images in the same order and begin with the same weights, where these have the same shape
(He's and Glorot's are one draw, scaled).  A COMPARISON sets two arms beside each other that differ
in exactly one respect:

    difference  =  (quantity without the improvement)  -  (quantity with it)    a number per seed

Of each quantity less is better, so that a positive difference speaks for the paper:

    steps        training steps until the error on the training images is 25 %, as in the paper's
                 Figure 1
    test error   share of wrong answers on images that were never trained on, after the last epoch
    gap          test error less training error, after the last epoch: how much the network overfits

ReLU, tanh and sigmoid are compared without dropout, as in the paper, and each begins with the
weights that suit it: He's, or Glorot's.  The paper chose the learning rate of each independently,
to be as fast as possible.  So did we, among 1e-4, 3e-4, 1e-3 and 3e-3 and on the drawings of seed
0, which are used for nothing else: ReLU and tanh came to 25 % in the fewest steps at 3e-4, which
all arms have, and sigmoid learned at none of them.

Reference: Krizhevsky, Sutskever, Hinton (2012), sections 3.1 to 4.2.
"""

from dataclasses import dataclass
from typing import Any

# What all arms share, beside the size of the network and of the images (plan.py).
SHARED: dict[str, Any] = {
    "variant": "ungrouped", "optimizer": "adam", "lr": 3e-4, "schedule": "cosine", "warm_up": 50,
    "batch_size": 32, "augment": "none", "dropout": 0.5, "workers": 0,
}  # fmt: skip

ARMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "no dropout": {"dropout": 0.0},
    "tanh": {"dropout": 0.0, "activation": "tanh", "init": "glorot"},
    "sigmoid": {"dropout": 0.0, "activation": "sigmoid", "init": "glorot"},
    "average pooling": {"pooling": "average"},
    "max pooling 2x2": {"pooling": "max2"},
    "LRN": {"lrn": True},
    "crops": {"augment": "crop"},
    "crops, colours": {"augment": "crop", "colour_shift": 0.1},
}


@dataclass(frozen=True)
class Comparison:
    """Two arms, the quantity that is compared, and the words for them.

    `claim` is what the paper says.
    """

    improved: str
    plain: str
    quantity: str
    claim: str
    names: tuple[str, str]  # of the two arms, in this comparison

    @property
    def arms(self) -> tuple[str, str]:
        """The two arms: with the improvement, and without."""
        return self.improved, self.plain


_MAX = "overlapping max"

EXPERIMENTS: dict[str, list[Comparison]] = {
    "relu": [
        Comparison("no dropout", "tanh", "steps", "ReLU learns faster than tanh", ("ReLU", "tanh")),
        Comparison(
            "no dropout", "sigmoid", "steps", "ReLU learns faster than sigmoid", ("ReLU", "sigmoid")
        ),
    ],
    "pooling": [
        Comparison(
            "standard", "average pooling", "test error",
            "max pooling errs less than average pooling", (_MAX, "average"),
        ),
        Comparison(
            "standard", "max pooling 2x2", "test error",
            "windows that overlap err less", (_MAX, "max 2x2"),
        ),
    ],
    "lrn": [Comparison("LRN", "standard", "test error", "LRN lowers the error", ("LRN", "no LRN"))],
    "augmentation": [
        Comparison(
            "crops", "standard", "test error",
            "crops and mirrors lower the error", ("crops", "none"),
        ),
        Comparison(
            "crops", "standard", "gap",
            "crops and mirrors reduce overfitting", ("crops", "none"),
        ),
        Comparison(
            "crops, colours", "crops", "test error",
            "the colour shift lowers the error further", ("crops, colours", "crops"),
        ),
    ],
    "gpu": [],  # a step is timed, nothing is trained: see device_comparison.py
    "dropout": [
        Comparison(
            "standard", "no dropout", "test error",
            "dropout lowers the error", ("dropout", "none"),
        ),
        Comparison(
            "standard", "no dropout", "gap",
            "dropout reduces overfitting", ("dropout", "none"),
        ),
    ],
}  # fmt: skip


def arms_of(experiments: list[str]) -> list[str]:
    """The arms that these experiments need, each once."""
    arms = (arm for name in experiments for c in EXPERIMENTS[name] for arm in c.arms)
    return list(dict.fromkeys(arms))
