"""A network of your own, a LeNet: trained with checkpoints, resumed, and asked about new drawings.

It is AlexNet's ancestor (LeCun, Bottou, Bengio, Haffner 1998), here with three colours and ReLU.
`mx.fit` keeps its best weights, and what it takes to go on, in the folder `run`.

    python examples/own_network.py           10 epochs, about 25 seconds
    python examples/own_network.py           again: nothing is left to train
    python examples/own_network.py 14        the same run, four epochs longer

Stop it with Ctrl-C and start it again: it goes on where it was.
"""

import sys
from typing import Any

import minialex as mx
from minialex.transforms import Compose, RandomHorizontalFlip, ToArray

RUN = "runs/lenet"


class Kept(list[Any]):
    """A dataset of your own: pairs (image, label), and if you like the names of the classes."""

    classes = ("cat", "dog")
    edition = mx.Drawings.edition  # where this has changed, `fit` does not go on with the run


def lenet() -> mx.Sequential:
    """Scores (N, 2) of images (N, 28, 28, 3)."""
    return mx.Sequential(
        mx.Conv2d(3, 6, 5, padding=2), mx.ReLU(), mx.MaxPool2d(2),  # (N, 14, 14, 6)
        mx.Conv2d(6, 16, 5), mx.ReLU(), mx.MaxPool2d(2),  # (N, 5, 5, 16)
        mx.Flatten(),
        mx.Linear(5 * 5 * 16, 120), mx.ReLU(),
        mx.Linear(120, 84), mx.ReLU(),
        mx.Linear(84, 2),
    )  # fmt: skip


if __name__ == "__main__":
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    mx.seed(0)
    model = lenet()
    print(model)

    # Drawn once, and kept in memory.  Half of the images are mirrored, others in each epoch.
    drawings = Kept(mx.Drawings(3000, size=28))
    mirrored = Compose([RandomHorizontalFlip(), ToArray()])
    train = mx.DataLoader(drawings, batch_size=32, transform=mirrored, shuffle=True)
    val = mx.DataLoader(Kept(mx.Drawings(500, size=28, start=3000)), batch_size=100)
    mx.fit(model, train, mx.Adam(model, lr=2e-3), epochs=epochs, val=val, run=RUN)

    # The file has the layers, the weights, the names of the classes and the preprocessing.
    predictor = mx.Predictor(RUN)
    print("\nDrawings that it has never seen:")
    for image, label in mx.Drawings(6, size=28, start=5000):
        p = predictor.probabilities(image)
        answer = ", ".join(
            f"{name} {share:.1%}" for name, share in zip(predictor.classes, p, strict=True)
        )
        print(f"  a {predictor.classes[label]}: {answer}")
