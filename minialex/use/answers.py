"""What a network answered to some images: in sum, class by class, and image by image.

An accuracy is an estimate: with other photos of the same kind it would be another one.  Its 95 %
interval says how far off it may be.  It is Wilson's (1927, "Probable inference, the law of
succession, and statistical inference"), which is right for few images, too: those shares p that
lie within 1.96 of their own standard deviations, sqrt(p (1 - p) / n), of the share that was seen.
"""

import math
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from minialex.files import csv_text
from minialex.train.evaluation import Tally

WIDTH, MOST_CLASSES = 80, 10  # columns of the screen; classes of the table of answers
TOP = 5  # so many answers an image has, where there are more classes
COLUMNS = ("file", "class", "answer", "probability", "right")  # of a CSV file


class Answer(NamedTuple):
    """The answer to an image, as in a CSV file; `right` is 1 or 0, "" where nobody knows."""

    file: str
    truth: str | None
    best: str
    p: float
    right: int | str


class Share(NamedTuple):
    """Of how many images of a class how many answers are right, and Wilson's interval, see above.

    Nothing is known of a class without images: its accuracy may be anything.
    """

    name: str
    right: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """The least and the largest accuracy that 95 % of such intervals have between them."""
        if self.of == 0:
            return 0.0, 1.0
        p, z2 = self.right / self.of, 1.959964**2 / self.of
        half = math.sqrt(z2 * (p * (1 - p) + z2 / 4))
        low, high = ((p + z2 / 2 + side) / (1 + z2) for side in (-half, half))
        return max(0.0, low), min(1.0, high)

    def texts(self) -> tuple[str, str, str, str]:
        """Such as ("8", "10", "80.0%", "49.0% to 94.3%")."""
        accuracy = f"{self.right / self.of:.1%}" if self.of else "-"
        low, high = self.interval
        return f"{self.right:,}", f"{self.of:,}", accuracy, f"{low:.1%} to {high:.1%}"

    def numbers(self) -> dict[str, Any]:
        """The same for JSON."""
        accuracy = self.right / self.of if self.of else None
        return {**self._asdict(), "accuracy": accuracy, "interval": self.interval}


class Answers(Tally):
    """A Tally over named classes that keeps the `Answer` to each of its `images`."""

    def __init__(self, classes: list[str]):
        super().__init__(len(classes))
        self.classes, self.images, self.in_top = classes, list[Answer](), 0

    def note(self, file: str, label: int | None, log_p: np.ndarray) -> None:
        """Keep the answer to an image, log p (C,), and count it where its class is known."""
        top = np.argsort(-log_p, kind="stable")[:TOP].tolist()
        truth, best = None if label is None else self.classes[label], self.classes[top[0]]
        right: int | str = "" if label is None else int(label == top[0])
        self.images.append(Answer(file, truth, best, float(np.exp(log_p)[top[0]]), right))
        if label is not None:
            self.add(log_p[None], np.array([label]))
            self.in_top += label in top

    def shares(self) -> list[Share]:
        """That of all images, and that of each class."""
        right, of = self.counts.diagonal().tolist(), self.counts.sum(axis=1).tolist()
        return [Share("all", sum(right), sum(of)), *map(Share, self.classes, right, of)]

    @property
    def top(self) -> float | None:
        """The share of images whose class is among TOP answers; None for so few classes."""
        return self.in_top / int(self.counts.sum()) if len(self.classes) > TOP else None

    def summary(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        everything, *classes = (one.numbers() for one in self.shares())
        loss = self.loss if math.isfinite(self.loss) else None
        found = {**everything, "loss": loss, f"top_{TOP}": self.top}
        return {**found, "classes": classes, "confusion": self.counts.tolist()}


def headlines(found: dict[str, Answers]) -> list[str]:
    """Loss and accuracy of each of `found`, in a line each."""
    text = []
    for name, one in found.items():
        right, of, accuracy, _ = one.shares()[0].texts()
        line = f"loss {one.loss:.4f}  accuracy {accuracy}  ({right} of {of})"
        line += "" if one.top is None else f"  top {TOP} {one.top:.1%}"
        text.append(f"{name + ':':<11}{line}" if len(found) > 1 else line)
    return text


def tables(answers: Answers) -> list[str]:
    """Accuracy by class, and of a few classes how often each was answered, in 80 columns."""
    names, head = answers.classes, "   right       of  accuracy      95% interval"
    lines = ["", fit("class", WIDTH - len(head)) + head]
    for one in answers.shares():
        cells = zip(one.texts(), (8, 9, 10, 18), strict=True)
        numbers = "".join(f"{text:>{n}}" for text, n in cells)
        lines.append(fit(one.name, WIDTH - len(head)) + numbers)
    if len(names) <= MOST_CLASSES:
        cell = min(12, (WIDTH - 20) // len(names))
        heads = "".join(" " + fit(name, cell - 1, right=True) for name in names)
        lines += ["", fit("class \\ answer", 20) + heads]
        for name, row in zip(names, answers.counts, strict=True):
            lines.append(fit(name, 20) + "".join(f"{count:{cell}}" for count in row))
    return lines


def fit(text: str, width: int, right: bool = False) -> str:
    """`text` in `width` columns of a terminal; a Chinese letter takes two, an accent none."""

    def columns(letter: str) -> int:
        wide = unicodedata.east_asian_width(letter) in "WF"
        return 0 if unicodedata.category(letter) in ("Mn", "Me", "Cf") else 1 + wide

    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    while (space := width - sum(map(columns, text))) < 0:
        text = text[:-1]
    return " " * space + text if right else text + " " * space


def as_csv(images: Iterable[Answer]) -> bytes:
    """A CSV file of a line per image; the last column is 1 for a right answer, 0 for a wrong."""
    return csv_text([COLUMNS, *images]).encode("utf-8", "surrogateescape")
