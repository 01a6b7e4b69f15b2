"""How good a network is, and where it errs, as a page for a browser: `minialex evaluate --report`.

Of the photos only those that are shown are opened again, so that a million of them take no more
memory than a hundred; and they are shown as the network sees them, so that large photos make no
large page.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from minialex.data import Dataset
from minialex.data.pixels import decoded_for
from minialex.errors import CheckpointError, ConfigError
from minialex.page import Html, element, embedded, section, table
from minialex.train.chart import charts
from minialex.train.run import RunFolder
from minialex.use.answers import Answer, Answers, headlines
from minialex.use.explain import grad_cam
from minialex.use.pictures import overlay
from minialex.use.predict import Predictor, run_settings

MOST_PHOTOS, MOST_PAIRS, MOST_CLASSES = 8, 10, 100  # of a section; of the table of confusions


def report(predictor: Predictor, dataset: Dataset, found: dict[str, Answers], what: str
) -> Iterator[Html]:  # fmt: skip
    """The sections of the page.

    `found` are the answers to `dataset`, of which the last ones are looked into; `what` says in
    words which images they are.
    """
    *_, answers = found.values()
    images, checkpoint = answers.images, predictor.path
    yield section("", *(element("p", line) for line in (what, *headlines(found))))
    try:
        yield section("Training", *charts({"": RunFolder(checkpoint.parent).read_history()}))
    except CheckpointError as error:
        yield section("Training", element("p", f"No curves: {error}."))
    yield section("Accuracy by class", by_class(answers))
    yield section("What is taken for what", *confusions(answers))
    sure = sorted(range(len(images)), key=lambda i: -images[i].p)
    wrong = [i for i in sure if not images[i].right]
    for heading, some in (("The surest mistakes", wrong), ("The least certain", sure[::-1])):
        yield section(heading, *photos(predictor, dataset, images, some[:MOST_PHOTOS]))
    settings = run_settings(checkpoint) or {"not known": "there is no config.json"}
    rows = [(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in settings.items()]  # fmt: skip
    yield section("Settings", table(f"as in the folder of {checkpoint}", (), rows, "settings"))


def by_class(answers: Answers) -> Html:
    """A bar for all images, and for each class, the worst first."""
    everything, *classes = answers.shares()
    rows = []
    for one in (everything, *sorted(classes, key=lambda one: one.right / max(one.of, 0.5))):
        low, high = one.interval
        style = f"--part:{one.right / max(1, one.of):.4f};--low:{low:.4f};--high:{high:.4f}"
        bar = element("div", class_="bar", style=style)
        rows.append((element("bdi", one.name), bar, *one.texts()))
    text = "The worst class comes first.  The thin line is the 95 % interval (Wilson 1927): how far"
    text += " off an accuracy may be that was seen on so few images."
    return table(text, ("class", "", "right", "of", "accuracy", "95 % interval"), rows, "classes")


def confusions(answers: Answers) -> Iterator[Html]:
    """What was most often taken for what; and the table of all, unless it would be huge."""
    counts, names = answers.counts, [element("bdi", name) for name in answers.classes]
    wrong = counts - np.diag(counts.diagonal())
    most = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [(i, j) for i, j in zip(*np.divmod(most, len(names)), strict=True) if wrong[i, j]]
    often = [(names[i], names[j], f"{wrong[i, j]:,} of {counts[i].sum():,}") for i, j in pairs]
    yield table("The most frequent mistakes", ("class", "taken for", "times"), often, "pairs")
    if len(names) > MOST_CLASSES:
        yield element("p", f"The table of {len(names):,} classes is left out: it would be huge.")
        return
    rows = [[name, *[Html()] * len(names)] for name in names]
    for i, j in np.argwhere(counts):
        kind = "right" if i == j else "wrong"
        style = f"--share:{counts[i, j] / counts[i].sum():.3f}"
        rows[i][j + 1] = element("span", f"{counts[i, j]:,}", style=style, class_=kind)
    many = "many " * (len(names) > 6)
    yield table("Rows are classes, columns are answers.", ("", *names), rows, f"{many}matrix")


def photos(predictor: Predictor, dataset: Dataset, answers: list[Answer], chosen: list[int]
) -> Iterator[Html]:  # fmt: skip
    """Some photos, each beside where the network sees its answer."""
    text = "Beside each photo, Grad-CAM: the brighter a place, the more it speaks for the answer."
    images, figures = decoded_for(dataset, predictor.transform), []
    for i in chosen:
        image, (file, truth, best, p, right) = images[i][0], answers[i]
        crop, x = predictor.crop(image), predictor.batch([image])
        name = "/".join(Path(file).parts[-2:])
        shown = [embedded(crop, name, "JPEG")]
        try:
            (seen,) = grad_cam(predictor.model, x, np.array([predictor.classes.index(best)]))
            shown.append(embedded(overlay(crop, seen), f"Grad-CAM of {name}", "JPEG"))
        except ConfigError as error:
            text = f"Without Grad-CAM: {error}."
        verdict = [", which is right"] if right else [", but it is ", element("bdi", truth)]
        said = element("span", element("bdi", best), f" {p:.1%}", *verdict)
        below = element("figcaption", said, element("bdi", name, title=file))
        figures.append(element("figure", *shown, below))
    yield element("p", text if figures else "There are none.")
    yield element("div", *figures, class_="photos")
