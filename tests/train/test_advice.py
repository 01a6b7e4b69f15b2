"""What is said of networks that do not learn: a small network for each cause."""

import math

import numpy as np
import pytest

import minialex as mx
from device import DEVICE
from minialex.train.advice import guessing, state
from minialex.train.recipes import make_optimizer
from minialex.train.screen import Silent


class Lines(Silent):
    """A screen that keeps its lines."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def dots(count, classes=2, noise=0.3, start=0, labels=None):
    """(image, label): images of noise 6 x 6 x 3, each class brighter in one of the colours."""
    found = []
    for i in range(count):
        rng = np.random.default_rng([start + i, 7])
        label = i % classes
        image = noise * rng.standard_normal((6, 6, 3))
        image[..., label % 3] += 0.8
        found.append((image.astype(np.float32), label if labels is None else int(labels[i])))
    return found


def network(classes=2, hidden=16, seed=0):
    rng = np.random.default_rng(seed)
    return mx.Sequential(
        mx.Conv2d(3, 8, 3, rng=rng), mx.ReLU(), mx.Flatten(), mx.Linear(128, hidden, rng=rng),
        mx.ReLU(), mx.Linear(hidden, classes, rng=rng, std=0.01),
    )  # fmt: skip


def said(model, data, optimizer=None, epochs=2, val=None, batch_size=16, shuffle=True, **options):
    """The lines of advice of a run."""
    screen = Lines()
    optimizer = optimizer or mx.Adam(model, lr=1e-3)
    loader = mx.DataLoader(data, batch_size, shuffle=shuffle)
    val = None if val is None else mx.DataLoader(val, 16)
    options = {"device": DEVICE, "screen": screen, **options}
    mx.fit(model, loader, optimizer, epochs=epochs, val=val, **options)
    lines = [line for line in screen.lines if line.startswith("  ")]
    assert all(len(line) <= 80 for line in lines), lines
    return "\n".join(lines)


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize("make", [mx.Adam, lambda model, lr: mx.SGD(model, lr=10 * lr)])
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_of_a_network_that_learns_nothing_is_said(make, smoothing):
    model = network(3)
    data, val = dots(96, 3), dots(30, 3, start=1000)
    options = {"val": val, "epochs": 8, "label_smoothing": smoothing}
    assert said(model, data, make(model, lr=1e-3), **options) == ""


def test_dead_relus():
    model = network()
    model[3].params["bias"][...] = -100
    text = flat(said(model, dots(64), mx.SGD(model, lr=0.01)))
    assert "100% of the units of 4 ReLU are dead" in text and "1 ReLU" not in text
    assert "the loss is 0.69" in text and "guessing costs 0.693" in text
    assert "every image gets the same scores" in text
    assert "learning rate (--lr) of 0.0003" in text and "Adam" in text


def test_updates_that_are_too_small():
    for name, rate in (("adam", 1e-9), ("sgd", 1e-8)):
        model = network()
        text = flat(said(model, dots(64), make_optimizer(name, model, rate, 0)))
        assert "the last update of 0, 3, 5 is" in text and "1e-3 is usual" in text
        tried = float(text.split("(--lr) of ")[1].split()[0].rstrip(","))
        assert 1e3 * rate <= tried <= 0.1
        assert ("Adam" in text) == (name == "sgd")


def test_a_rate_above_the_bound_of_the_last_layer():
    """Of inputs h with |h|^2 = 1,800 or so and two classes: 2 (1 + 0.9) 2 / 1,800 = 0.004."""
    rng = np.random.default_rng(3)
    data = [(5 + 5 * rng.standard_normal((2, 6, 3), dtype="f"), i % 2) for i in range(64)]
    for rate, unstable in ((1.0, True), (1e-9, False)):
        model = mx.Sequential(mx.Flatten(), mx.Linear(36, 2, std=0.001, rng=rng))
        text = flat(said(model, data, mx.SGD(model, lr=rate)))
        assert "the last update of 1 is" in text
        assert ("is unstable for the last layer" in text) == unstable
        tried = float(text.split("(--lr) of ")[1].split()[0].rstrip(","))
        assert tried < 0.004


@pytest.mark.parametrize("scale, shift", [(1, 100), (255, 0), (1e-3, 0)])
def test_inputs_that_are_not_centred_or_of_a_wild_scale(scale, shift):
    data = [(np.float32(scale) * x + np.float32(shift), label) for x, label in dots(64)]
    model = network()
    model[5].params["weight"][...] *= 1e-5
    text = flat(said(model, data, mx.SGD(model, lr=1e-9)))
    assert "inputs of mean" in text and "--normalize" in text and "Normalize" in text


@pytest.mark.parametrize("epochs", [2, 12])
def test_one_class_only(epochs):
    model = network()
    data = [(x, 1) for x, _ in dots(64)]
    text = flat(said(model, data, mx.Adam(model, lr=3e-3), epochs=epochs))
    assert "all labels of a batch are 1: there is one class only" in text and "--lr" not in text


def test_labels_in_order():
    data = sorted(dots(64), key=lambda pair: pair[1])
    model = network()
    text = flat(said(model, data, mx.SGD(model, lr=1e-9), shuffle=False))
    assert "all labels of a batch are 0: shuffle them" in text


def test_labels_that_look_shuffled():
    rng = np.random.default_rng(1)
    data = dots(64, noise=1.0, labels=rng.integers(0, 2, 64))
    val = dots(200, noise=1.0, start=1000, labels=rng.integers(0, 2, 200))
    model = network(hidden=64)
    text = flat(said(model, data, mx.Adam(model, lr=3e-3), epochs=40, val=val))
    assert "learns its images by heart" in text and "shuffled" in text
    assert text.count("by heart") == 1  # it is said once


def test_a_loss_far_above_guessing():
    model = network()
    for _, leaf in model.leaves():
        for array in leaf.params.values():
            array *= 100
    text = flat(said(model, dots(64), mx.SGD(model, lr=1e-12)))
    assert "guessing costs 0.693" in text and text.startswith("the loss is ")
    assert float(text.split("the loss is ")[1].split(",")[0]) > 6.93


def test_the_loss_of_guessing():
    assert guessing(np.full(4, 0.25)) == pytest.approx(math.log(4))
    assert guessing(np.full(4, 0.25), 0.3) == pytest.approx(math.log(4))
    assert guessing(np.array([1.0, 0.0])) == 0
    t = np.array([0.9, 0.1])
    losses = [
        mx.softmax_cross_entropy(np.log([[p, 1 - p]] * 10), np.array([0] * 9 + [1]), 0.2)[0]
        for p in np.linspace(0.5, 0.99, 491)
    ]
    assert guessing(t, 0.2) == pytest.approx(float(min(losses)), abs=1e-5)


def test_when_something_is_said():
    t, rows = np.array([0.5, 0.5]), []
    found = []
    for loss, accuracy in ((0.72, 0.5), (0.69, 0.5), (0.73, 0.52), (0.69, 0.8), (0.3, 0.9)):
        rows.append({"train_loss": loss, "train_acc": accuracy, "val_loss": 0.2, "val_acc": 0.9})
        found.append(state(rows, t, 0.1))
    assert found == ["", "guessing", "", "", ""]
    assert state(rows[:1] * 2, np.array([0.9, 0.1]), 0) == ""
    rows[-1] |= {"val_loss": 1.5, "val_acc": 0.51}
    assert state(rows, t, 0) == "by heart"
    rows[-1] |= {"train_loss": 7.0}
    assert state(rows, t, 0) == "wild"


def test_a_look_changes_nothing():
    """Dropout, running statistics and the next steps are as without it."""
    from own_layers import BatchNorm

    def train(looks, monkeypatch):
        rng = np.random.default_rng(5)
        model = mx.Sequential(
            mx.Conv2d(3, 4, 3, rng=rng), BatchNorm(4), mx.ReLU(), mx.Flatten(), mx.Dropout(0.5),
            mx.Linear(64, 2, rng=rng, std=1e-6),
        )  # fmt: skip
        with monkeypatch.context() as patch:
            if not looks:
                patch.setattr("minialex.train.advice.advice", lambda run: [])
            text = said(model, dots(48), mx.SGD(model, lr=1e-7), epochs=4)
        assert bool(text) == looks and "forward" not in vars(model[0])
        return model, [array for part in model.leaves() for array in part[1].params.values()]

    with pytest.MonkeyPatch.context() as patch:
        (one, a), (other, b) = train(True, patch), train(False, patch)
    assert all(mx.layers.layer.get_xp(x).array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert (one[1].buffers["running_mean"] == other[1].buffers["running_mean"]).all()


def test_labels_of_another_kind_do_not_end_a_run():
    class Named(list):
        labels = ("red", "green")  # the names, where minialex would have numbers

    assert said(network(), Named(dots(32))) == said(network(), list(dots(32)))
