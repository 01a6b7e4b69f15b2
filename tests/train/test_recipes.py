"""Recipes: what they set, what overrides them, and runs by the paper's that resume bit for bit."""

import dataclasses
import math

import numpy as np
import pytest

from bad_input import refused
from device import on_device, on_host
from minialex.attach import accelerate
from minialex.data import (
    CenterCrop,
    ColourShift,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToArray,
)
from minialex.data.ten_crops import ten_crops
from minialex.errors import ConfigError
from minialex.layers import Conv2d, Layer, Linear
from minialex.models import AlexNet
from minialex.optim import SGD, Adam
from minialex.train.checkpoint import load_checkpoint
from minialex.train.config import Config, configure
from minialex.train.evaluation import evaluating, tally
from minialex.train.memory import step_bytes
from minialex.train.recipes import RECIPES, make_optimizer
from minialex.train.run import RunFolder
from minialex.train.setup import (
    evaluation_transform,
    final_scores,
    make_loaders,
    training_transform,
)
from minialex.use.predict import Predictor
from tiny_run import OPTIONS, source, training

FIELDS = {field.name for field in dataclasses.fields(Config)}
PAPER = {**RECIPES["paper"], "recipe": "paper", "batch_size": 4, "epochs": 2}
SAME = ("width", "image_size", "workers", "device", "log_interval")
TINY = {name: OPTIONS[name] for name in SAME}


def test_the_default_recipe_depends_on_the_data():
    assert configure({}) == Config() and configure({}).recipe == "drawings"
    for data in ("pets", "some/folder"):
        assert configure({"data": data}).recipe == "modern"
    assert configure({"data": "pets", "recipe": "paper"}).recipe == "paper"
    with refused(ConfigError, "unknown --recipe 'secret'", "drawings, modern, paper"):
        configure({"recipe": "secret"})


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_sets_what_it_says_and_options_override_it(name):
    assert RECIPES[name].keys() <= FIELDS
    config = configure({"recipe": name})
    assert {key: getattr(config, key) for key in RECIPES[name]} == RECIPES[name]
    options = {"epochs": 7, "lr": 0.5, "augment": "none", "variant": "owt"}
    changed = configure({"recipe": name, **options})
    assert {key: getattr(changed, key) for key in options} == options
    assert changed.batch_size == config.batch_size


@pytest.mark.parametrize(
    ("options", "lr"),
    [
        ({"recipe": "modern", "optimizer": "sgd"}, 0.01),
        ({"recipe": "paper", "optimizer": "adam"}, 1e-4),
        ({"recipe": "paper", "optimizer": "sgd"}, 0.01),
        ({"recipe": "modern", "optimizer": "adam"}, RECIPES["modern"]["lr"]),
        ({"recipe": "modern", "optimizer": "sgd", "lr": 0.3}, 0.3),
    ],
)
def test_another_optimizer_gets_a_rate_of_its_own(options, lr):
    assert configure(options).lr == lr


def test_the_paper_in_numbers():
    config = configure({"recipe": "paper"})
    assert (config.batch_size, config.lr, config.weight_decay) == (128, 0.01, 5e-4)
    colours = {"mean": [0.5, 0.4, 0.3], "components": [[1, 2, 3]] * 3}
    config = dataclasses.replace(config, colours=colours)
    steps = training_transform(227, config).transforms
    assert steps[:2] == (Resize(256), CenterCrop(256))
    assert steps[2:5] == (RandomCrop(227), RandomHorizontalFlip(0.5), ToArray())
    assert steps[5] == ColourShift(((1.0, 2.0, 3.0),) * 3, 0.1)
    grey = steps[6](np.full((1, 1, 3), 0.5, dtype=np.float32))
    np.testing.assert_allclose(grey[0, 0], [0, 25.5, 51], atol=1e-4)  # bytes less the mean
    assert len(steps) == 7
    assert [type(step) for step in evaluation_transform(227, config).transforms] == [
        Resize, CenterCrop, CenterCrop, ToArray, Normalize,
    ]  # fmt: skip


def test_the_initial_weights_of_the_paper():
    model = AlexNet(10, "2012", width=0.25, image_size=67, init="paper", seed=1)
    layers = [layer for _, layer in model.leaves() if isinstance(layer, Conv2d | Linear)]
    for layer in layers:
        weight = layer.params["weight"]
        assert abs(weight.std() - 0.01) < 0.01 * 4 / math.sqrt(weight.size)
        assert weight.dtype == np.float32
    for layer, bias in zip(layers, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
        assert set(layer.params["bias"].tolist()) == {bias}
    with refused(ConfigError, "unknown", "'zero'; choose he, glorot, paper"):
        AlexNet(2, init="zero")


def test_the_colours_are_measured_once_and_kept(tmp_path, monkeypatch):
    options = {**TINY, **PAPER, "keep_last": True}
    whole = training(tmp_path / "whole", **options)
    assert whole.settings["colours"] is not None
    whole.train()

    first = training(tmp_path / "run", **options)
    first.epoch()
    first.end_epoch()

    def measured_again(*_):
        raise AssertionError("the colours of a resumed run are those in its config.json")

    monkeypatch.setattr("minialex.train.setup.colour_statistics", measured_again)
    _, config = RunFolder.open(tmp_path / "run")
    second = training(tmp_path / "run", **dataclasses.asdict(config))
    assert second.progress.epoch == 1
    second.train()
    of_whole, of_parts = (
        load_checkpoint(tmp_path / name / "last.safetensors")[0] for name in ("whole", "run")
    )
    for name, array in of_whole.items():
        np.testing.assert_array_equal(of_parts[name], array)
    mean = Predictor(tmp_path / "run" / "best.safetensors").transform.transforms[-1].mean
    assert list(mean) == config.colours["mean"]


def test_a_run_that_lacks_its_colours_is_refused():
    config = Config(normalize="mean", colours={"components": [[1, 2, 3]] * 3})
    with refused(ConfigError, "lack colours.mean"):
        training_transform(67, config)


def test_ten_crops_average_probabilities():
    class Model(Layer):
        def __call__(self, x):
            return np.log(x[:, 0, 0, :2])  # the "images" are probabilities

    class Loader:
        dataset = range(3)

        def epoch(self, number, start):
            # Of class 0 in the ten crops; the ninth is the middle one.
            p = np.array([0.9] * 8 + [0.4, 0.1], dtype=np.float32)
            x = np.stack([p, 1 - p, p], axis=1).reshape(1, 10, 1, 1, 3)
            yield x, np.array([0])
            yield np.concatenate([x, x]), np.array([0, 1])

    middle, ten = tally(Model(), Loader(), ten_crops=True)
    mean = (8 * 0.9 + 0.4 + 0.1) / 10
    assert ten.loss == pytest.approx(-(2 * math.log(mean) + math.log(1 - mean)) / 3)
    assert middle.loss == pytest.approx(-(2 * math.log(0.4) + math.log(0.6)) / 3)
    assert ten.accuracy == pytest.approx(2 / 3)
    assert middle.accuracy == pytest.approx(1 / 3)


def test_ten_crops_are_tested_beside_the_middle_one(tmp_path):
    config = Config(**{**OPTIONS, "epochs": 1})
    model = training(tmp_path, **dataclasses.asdict(config)).model
    expected = final_scores(config, model, make_loaders(config, source(), model)[2])
    config = dataclasses.replace(config, ten_crop=True)
    scores = final_scores(config, model, make_loaders(config, source(), model)[2])
    assert scores["test_acc"] == expected["test_acc"] and expected.keys() < scores.keys()
    assert scores["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-5)

    side = model.image_size
    middle = evaluation_transform(side, config)
    images = [source().test[i] for i in range(4)]
    losses, right = [], 0
    for image, label in images:
        crops = on_device(np.stack(ten_crops(image, middle)))
        with evaluating(model):
            logits = on_host(model(crops)).astype(np.float64)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses.append(-np.log(p.mean(axis=0)[label]))
        right += int(p.mean(axis=0).argmax() == label)
    assert scores["ten_crop_acc"] == right / 4
    assert scores["ten_crop_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("chunk", [None, 3, 1])
def test_images_are_evaluated_as_many_at_a_time_as_the_memory_takes(tmp_path, chunk):
    model = AlexNet(2, width=0.02, image_size=67)
    limit = chunk and step_bytes(accelerate(model, input_grad=False), model.input_shape, 4, chunk)
    run = training(tmp_path, width=0.02, memory_limit=limit, algorithm="im2col")
    assert run.loader.batch_size == 4 and run.chunks.size == run.val.batch_size == (chunk or 4)
    config = Config(**run.settings)
    test = make_loaders(config, source(), model)[2]
    final_scores(config, run.model, test)
    assert test.batch_size == (chunk or 4)


def test_optimizers_by_name():
    model = AlexNet(2, width=0.02, image_size=67)
    for name, kind, decoupled in (("adam", Adam, False), ("adamw", Adam, True), ("sgd", SGD, None)):
        made = make_optimizer(name, model, 0.1, 0.2)
        assert type(made) is kind and (made.lr, made.weight_decay) == (0.1, 0.2)
        assert made.model is model and getattr(made, "decoupled", None) is decoupled
        assert make_optimizer(name, made.theta, 0.1, 0.0).theta is made.theta
    with refused(ConfigError, "unknown optimizer 'lion'; choose adam, adamw, sgd"):
        make_optimizer("lion", model, 0.1, 0.2)
