"""How good a network is, and where it errs, as a page for a browser: `minialex evaluate --report`.

Of the photos only those that are shown are opened again, so that a million of them take no more
memory than a hundred; and they are shown as the network sees them, so that large photos make no
large page.
"""

import json
import math
from collections.abc import Iterator

import numpy as np

from minialex.data import Dataset
from minialex.data.pixels import decoded_for
from minialex.errors import CheckpointError, ConfigError
from minialex.train.run import RunFolder
from minialex.use.answers import Answers, file_of, headlines
from minialex.use.explain import grad_cam
from minialex.use.page import Html, element, embedded, section, table
from minialex.use.pictures import overlay
from minialex.use.predict import Predictor, run_settings

MOST_PHOTOS, MOST_PAIRS, MOST_CLASSES = 8, 10, 100  # of a section; of the table of confusions
LEFT, RIGHT, TOP, BOTTOM = 48, 430, 12, 216  # where curves lie in a picture of 440 x 240
BY_CLASS = "The worst class comes first.  The thin line is the 95 % interval (Wilson 1927): how far"
BY_CLASS += " off an accuracy may be that was seen on so few images."


def report(predictor: Predictor, dataset: Dataset, found: dict[str, Answers]) -> Iterator[Html]:
    """The sections of the page.

    `found` are the answers to `dataset`, of which the last ones are looked into.
    """
    *_, answers = found.values()
    images, checkpoint = answers.images, predictor.path
    yield section("", *(element("p", line, class_="numbers") for line in headlines(found)))
    try:
        history = RunFolder(checkpoint.parent).read_history()
        curves = [chart("loss", history), chart("accuracy", history)]
        yield section("Training", element("div", *curves, class_="charts"))
    except CheckpointError as error:
        yield section("Training", element("p", f"No curves: {error}."))
    yield section("Accuracy by class", by_class(answers))
    yield section("What is taken for what", *confusions(answers))
    sure = sorted(range(len(images)), key=lambda i: -images[i].p)
    wrong = [i for i in sure if images[i].label != images[i].best]
    for heading, some in (("The surest mistakes", wrong), ("The least certain", sure[::-1])):
        yield section(heading, *photos(predictor, dataset, answers, some[:MOST_PHOTOS]))
    rows = [(key, json.dumps(value)) for key, value in run_settings(checkpoint).items()]
    yield section("Settings", table(f"config.json beside {checkpoint}", (), rows, "settings"))


def chart(what: str, history: list[dict[str, float]]) -> Html:
    """The curves of "loss" or "accuracy", of training and validation, as SVG."""
    lines = dict[str, list[tuple[float, float]]]()
    for part, key in (("training", "train"), ("validation", "val")):
        key += {"loss": "_loss", "accuracy": "_acc"}[what]
        points = [(row["epoch"], row[key]) for row in history if key in row]
        lines[part] = [point for point in points if math.isfinite(point[1])]
    most = max((y for line in lines.values() for _, y in line), default=1)
    xs, ys = ticks(len(history), 1), ticks(1 if what == "accuracy" else most)

    def across(x: float) -> float:
        return round(LEFT + x / xs[-1] * (RIGHT - LEFT), 1)

    def down(y: float) -> float:
        return round(BOTTOM - y / ys[-1] * (BOTTOM - TOP), 1)

    drawn = [element("line", x1=LEFT, x2=RIGHT, y1=down(y), y2=down(y)) for y in ys]
    drawn += [element("text", f"{y:.3g}", x=LEFT - 30, y=down(y) + 4) for y in ys]
    drawn += [element("text", f"{x:g}", x=across(x) - 4, y=BOTTOM + 18) for x in xs]
    last = [f"{what} by epoch:"]
    for part, line in lines.items():
        places = " ".join(f"{across(x)},{down(y)}" for x, y in line)
        drawn.append(element("polyline", points=places, class_=part))
        last += [element("span", f"{part}, at last {y:.4g}", class_=part) for _, y in line[-1:]]
    picture = element(
        "svg", *drawn, viewBox="0 0 440 240", role="img", aria_label=f"{what} by epoch"
    )
    return element("figure", picture, element("figcaption", *last))


def ticks(most: float, least: float = 0) -> list[float]:
    """Round numbers from 0 to `most` or a little more, about five, `least` or more apart."""
    power = 10 ** math.floor(math.log10(max(most, 1e-9) / 5))
    step = max(least, next(power * k for k in (1, 2, 5, 10) if power * k * 5 >= most))
    return [step * k for k in range(math.ceil(most / step) + 1)]


def by_class(answers: Answers) -> Html:
    """A bar for all images, and for each class, the worst first."""
    everything, *classes = answers.shares()
    rows = []
    for one in (everything, *sorted(classes, key=lambda one: one.right / max(one.of, 0.5))):
        low, high = one.interval
        style = f"--part:{one.right / max(1, one.of):.4f};--low:{low:.4f};--high:{high:.4f}"
        right, of, accuracy, interval = one.texts()
        bar = element("div", class_="bar", style=style)
        rows.append((element("bdi", one.name), bar, accuracy, interval, right, of))
    head = ("class", "", "accuracy", "95 % interval", "right", "of")
    return table(BY_CLASS, head, rows, "classes")


def confusions(answers: Answers) -> Iterator[Html]:
    """What was most often taken for what; and the table of all, unless it would be huge."""
    counts, names = answers.counts, [element("bdi", name) for name in answers.classes]
    wrong = counts - np.diag(counts.diagonal())
    most = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS].tolist()
    pairs = [divmod(k, len(names)) for k in most if wrong.flat[k]]
    often = [(names[i], names[j], int(wrong[i, j]), int(counts[i].sum())) for i, j in pairs]
    if len(names) > 2:
        yield table("The most frequent mistakes", ("class", "taken for", "times", "of"), often)
    if len(names) > MOST_CLASSES:
        yield element("p", f"The table of {len(names)} x {len(names)} classes is left out.")
        return
    rows = []
    for i, row in enumerate(counts.tolist()):
        cells = [Html()] * len(names)
        for j in np.flatnonzero(row).tolist():
            style, kind = f"--share:{row[j] / sum(row):.3f}", "right" if i == j else "wrong"
            cells[j] = element("span", f"{row[j]:,}", style=style, class_=kind)
        rows.append((names[i], *cells))
    many = " many" * (len(names) > 6)
    yield table("Rows are classes, columns are answers.", ("", *names), rows, f"matrix{many}")


def photos(predictor: Predictor, dataset: Dataset, answers: Answers, chosen: list[int]
) -> Iterator[Html]:  # fmt: skip
    """Some photos, each beside where the network sees its answer."""
    text = "Beside each photo, Grad-CAM: the brighter a place, the more it speaks for the answer."
    images, figures = decoded_for(dataset, predictor.transform), []
    for i in chosen:
        image, one, file = images[i][0], answers.images[i], file_of(dataset, i)
        crop = predictor.crop(image)
        shown = [embedded(crop, file, "JPEG")]
        try:
            (seen,) = grad_cam(predictor.model, predictor.batch([image]), np.array([one.best]))
            shown.append(embedded(overlay(crop, seen), f"Grad-CAM of {file}", "JPEG"))
        except ConfigError as error:
            text = f"Without Grad-CAM: {error}."
        answer, truth = (element("bdi", answers.classes[k]) for k in (one.best, one.label))
        verdict = [", which is right"] if one.best == one.label else [", but it is ", truth]
        said = element("span", answer, f" {one.p:.1%}", *verdict)
        name = element("bdi", "/".join(file.split("/")[-2:]), title=file)
        figures.append(element("figure", *shown, element("figcaption", said, name)))
    yield element("p", text if figures else "There are none.")
    yield element("div", *figures, class_="photos")
