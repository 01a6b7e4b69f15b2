"""Evaluation: numbers by hand, the mode that was found, the device of the model, the bar."""

import math

import numpy as np
import pytest

from device import DEVICE, on_device, on_host
from minialex.data import DataLoader, Drawings
from minialex.layers import Dropout, Flatten, Layer, Linear, Sequential
from minialex.params import family
from minialex.train.evaluation import evaluate, evaluating, tally
from minialex.train.screen import Bar, Silent
from trained import TRANSFORM


def loader(n=7):
    return DataLoader(Drawings(n, seed=1, size=24), 3, TRANSFORM)


def network():
    return on_device(Sequential(Flatten(), Dropout(0.5), Sequential(Linear(768, 2))))


def test_loss_and_accuracy_are_the_means_over_the_images():
    model = network()
    losses, right = [], []
    for x, labels in loader().epoch(0):
        z = x.transpose(0, 3, 1, 2).reshape(len(x), -1).astype(np.float64)  # as Flatten does
        weight, bias = (model[2][0].params[name] for name in ("weight", "bias"))
        z = z @ on_host(weight).astype(np.float64) + on_host(bias)
        losses += [math.log(np.exp(row - row[c]).sum()) for row, c in zip(z, labels, strict=True)]
        right += (z.argmax(axis=1) == labels).tolist()
    loss, accuracy = evaluate(model, loader())
    assert loss == pytest.approx(np.mean(losses), rel=1e-4) and accuracy == np.mean(right)
    (found,) = tally(model, loader(), DEVICE)
    assert found.counts.sum() == 7 and found.counts.sum(axis=1).tolist() == [4, 3]
    assert (found.loss, found.accuracy) == (loss, accuracy)


class Fails(Layer):
    """A layer that cannot be evaluated."""

    def forward(self, x):
        assert not self.training
        raise ZeroDivisionError


def test_each_layer_is_in_the_mode_that_it_was_found_in():
    model = Sequential(network(), Fails())
    model.train()[0][2].train(False)
    modes = [layer.training for layer in family(model)]
    evaluate(model[0], loader())
    assert [layer.training for layer in family(model)] == modes
    with pytest.raises(ZeroDivisionError):
        evaluate(model, loader())
    assert [layer.training for layer in family(model)] == modes
    model.train(False)
    evaluate(model[0], loader())
    assert not any(layer.training for layer in family(model))


def test_a_layer_that_hides_its_parts_is_asked_to_train_again():
    class Hides(Layer):
        """Has a part that `children` does not know."""

        def __init__(self):
            super().__init__()
            self.part = Dropout(0.5)

        def train(self, mode=True):
            self.part.train(mode)
            return super().train(mode)

    model = Hides()
    with evaluating(model):
        assert not model.part.training
    assert model.part.training


def test_labels_that_are_none_of_the_network_are_refused():
    model = on_device(Sequential(Flatten(), Linear(768, 1)))
    if DEVICE == "cpu":  # see softmax_cross_entropy
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.0"):
            evaluate(model, loader())


def test_the_screen_shows_a_bar():
    shown = []

    class Noted(Bar):
        """Notes its updates."""

        def update(self, n, **values):
            shown.append((n, values))

    class Screen(Silent):
        """Notes its bars."""

        def bar(self, name, images, done=0):
            shown.append((name, images, done))
            return Noted()

    loss, accuracy = evaluate(network(), loader(), screen=Screen(), name="test")
    assert shown[0] == ("test", 7, 0) and [n for n, _ in shown[1:]] == [3, 3, 1]
    assert shown[-1][1] == {"loss": f"{loss:.4f}", "acc": f"{accuracy:.1%}"}
