"""Why does it not learn?  A look at a network that guesses, and what to try.

A network that says the same of every image can do no better than the shares t of the classes, which
cost the entropy of t; with label smoothing, of the smoothed t.  After two epochs, a loss within
0.01 of that, or ten times larger, is looked into, with one batch:

    labels of one class only
    inputs that are not centred, or of a scale that does not suit the first layer
    ReLUs that give 0 for every image: they get no gradient, and stay so
    scores that are the same for every image
    the length of an update of each layer, beside its weights; about a thousandth is usual
    SGD's rate, beside the bound of the last layer: with inputs h and K classes, all as likely at
    first, the curvature of the loss along h is |h|^2 / K, and rates of 2 (1 + momentum) K / |h|^2
    and more are unstable (see recipes.py)

A loss that falls while validation stays at chance is another case: the network learns its images by
heart.  All this is said once, when it begins.
"""

import contextlib
import copy
import math
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np

from minialex.layers import Layer, Linear, ReLU
from minialex.params import dict_like, named_arrays
from minialex.train.evaluation import evaluating, watching
from minialex.train.prefetch import device_batches
from minialex.train.ranks import HERE
from minialex.twin import page_of
from minialex.xp import Array, to_cpu

IMAGES = 64  # at most so many are looked at
CLOSE = 0.01  # so near to the loss of guessing is a guess
BY_HEART = ("the training loss falls, but validation stays at chance: the network learns its images"
    " by heart; do the labels fit them, or were they shuffled? Else: more images, --augment,"
    " or a smaller network")  # fmt: skip


def advice(run: Any) -> list[str]:
    """Lines of at most 80 columns where `run`, a Training, has begun not to learn; else none."""
    t, history, smoothing = shares(run), run.history, run.label_smoothing
    now, before = (state(rows, t, smoothing) for rows in (history, history[:-1]))
    if not now or now == before:
        return []
    loss, lines = history[-1]["train_loss"], [BY_HEART]
    if now != "by heart":
        lines = [f"the loss is {loss:.3f}, where guessing costs {guessing(t, smoothing):.3f}"]
        with contextlib.suppress(Exception):  # a layer that cannot be looked at must not end a run
            if HERE.size == 1:  # else each has its own images only
                lines += [f"- {line}" for line in seen(run, t, now == "wild")]
    wrap = textwrap.TextWrapper(80, "  ", "    ", break_on_hyphens=False)
    return [row for line in lines for row in wrap.wrap(line)]


def shares(run: Any) -> np.ndarray:
    """The share of each class in the training data; all the same where nobody knows it."""
    data = run.loader.dataset
    while not hasattr(data, "labels") and hasattr(data, "dataset"):
        data = data.dataset
    known = [label for _, label in data] if isinstance(data, list | tuple) else []
    *_, (owner, key, _) = named_arrays(run.model.params)
    least = len(run.classes or []) or owner[key].shape[-1]
    counts = np.zeros(least)
    with contextlib.suppress(ValueError, TypeError):  # `labels` of another kind, such as names
        counts = np.bincount(np.asarray(getattr(data, "labels", known), int), minlength=least)
    return counts / counts.sum() if counts.any() else np.full(least, 1 / least)


def guessing(t: np.ndarray, smoothing: float = 0.0) -> float:
    """The loss of the best answer that is the same for every image, for classes of shares t."""
    t = (1 - smoothing) * t + smoothing / len(t)
    return -float((t * np.log(np.where(t > 0, t, 1))).sum())


def state(history: list[dict[str, float]], t: np.ndarray, smoothing: float) -> str:
    """One of "guessing", "wild", "by heart"; "" for a network that learns."""
    if len(history) < 2:
        return ""
    row, chance, most = history[-1], guessing(t, smoothing), float(t.max())
    loss, rest = row["train_loss"], 1 - most
    if loss > 10 * max(chance, CLOSE):
        return "wild"
    falls = history[-2]["train_loss"] - loss > 2 * CLOSE and row["train_acc"] > most + rest / 5
    if abs(loss - chance) < CLOSE and not falls:
        return "guessing"
    unlike = row.get("val_loss", 0) > chance and row.get("val_acc", 1) < most + rest / 10
    return "by heart" if loss < chance / 2 and unlike else ""


def seen(run: Any, t: np.ndarray, wild: bool) -> Iterator[str]:
    """What is odd in one batch, and what to try."""
    with contextlib.closing(device_batches(run.loader, run.device, epoch=0)) as batches:
        x, labels = next(batches)
        x, labels = x[: min(IMAGES, run.chunks.size)].copy(), to_cpu(labels)
    # Of each call of a leaf: the root mean square of its outputs, and which of its units, channels
    # or numbers, are above 0 for some image; and the mean |x|^2 of the last layer's inputs.
    notes: list[tuple[Layer, float, np.ndarray]] = []
    h2 = 0.0

    def note(_: str, leaf: Layer, x: Array, y: Array) -> None:
        nonlocal h2
        h2 = float((x * x).sum()) / len(x) if page_of(leaf) is Linear else h2
        units = to_cpu((y > 0).any(axis=tuple(range(y.ndim - 1))))
        notes.append((leaf, float((y * y).mean()) ** 0.5, units))

    with evaluating(run.net), watching(run.net, note):
        logits = to_cpu(run.net(x))
    if len(set(labels.tolist())) == 1 < len(labels):
        fix = "there is one class only" if t.max() == 1 else "shuffle them (shuffle=True)"
        yield f"all labels of a batch are {labels[0]}: {fix}"
        return
    first = next((size for leaf, size, _ in notes if leaf.params), 1.0)
    mean, deviation = float(x.mean()), float(x.std())
    if abs(mean) > 3 * deviation or deviation < 0.03 or first > 30:
        fix = "normalize them to about 0 and 1 (--normalize, or Normalize in your transform)"
        yield f"inputs of mean {mean:.3g} and deviation {deviation:.3g}: {fix}"
    for name, layer in run.model.leaves():
        units = [alive for leaf, _, alive in notes if leaf is layer and page_of(leaf) is ReLU]
        dead = 1 - float(np.any(units, axis=0).mean()) if units else 0.0
        if dead > 0.5:
            wild = True
            yield f"{dead:.0%} of the units of {name} ReLU are dead: they give 0 for every image"
    if np.ptp(logits, axis=0).max() <= 1e-4 * max(1.0, abs(logits).max()):
        yield "every image gets the same scores"
    yield from remedies(run, wild, logits.shape[1] / max(1e-12, h2))


def remedies(run: Any, smaller: bool, flat: float) -> Iterator[str]:
    """The rate to try, `smaller` by far or as updates say; `flat` is K / |h|^2, see above."""
    optimizer, rate, ratios = run.optimizer, run.optimizer.lr, updates(run)
    for least, most, end in ((0, 1e-5, max), (0.05, math.inf, min)):
        if odd := {name: ratio for name, ratio in ratios.items() if least <= ratio <= most}:
            bound = f"{end(odd.values()):.0e} of its weights or {'less' if end is max else 'more'}"
            yield f"the last update of {', '.join(odd)} is {bound}, where 1e-3 is usual"
    adam, largest = hasattr(optimizer, "betas"), max(ratios.values(), default=1e-3)
    better = rate / (30 if smaller else 3)
    if largest < 1e-4 and not smaller:
        better = min(rate * 1e-3 / max(largest, 1e-12), 1e-3 if adam else 0.1)
    if hasattr(optimizer, "momentum"):
        bound = 2 * (1 + optimizer.momentum) * flat
        if rate >= bound:
            yield f"the rate {rate:g} is unstable for the last layer, which bears {bound:.1g}"
        better = min(better, bound / 2)
    other = "" if adam else ", or the optimizer Adam (--optimizer adam --lr 0.0002)"
    yield f"try a learning rate (--lr) of {better:.1g}{other}, or a larger batch (--batch-size)"


def updates(run: Any) -> dict[str, float]:
    """How long an update by the last gradient is, in parts of the weights, layer by layer."""
    trial, theta, found = copy.copy(run.optimizer), run.optimizer.theta, {}
    trial.theta, trial.state = theta.copy(), {k: v.copy() for k, v in trial.state.items()}
    trial.update_runs(trial.g, run.learning_rate())
    parts = named_arrays(dict_like(run.model.params, trial.theta - theta))
    for (new, k, name), (own, key, _) in zip(parts, named_arrays(run.model.params), strict=True):
        if own[key].ndim > 1 and name not in trial.frozen:
            squares = float((new[k] ** 2).sum()) / max(float((own[key] ** 2).sum()), 1e-30)
            found[name.removesuffix(".weight")] = squares**0.5
    return found
