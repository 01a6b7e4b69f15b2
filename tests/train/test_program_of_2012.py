"""The recipe of the program that won in 2012: what a photo, a rate and a colour go through."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

import minialex as mx
from bad_input import refused
from device import DEVICE, on_host
from dots import numbers, two_layers
from minialex.data import CenterCrop, DataLoader, RandomCrop, RandomHorizontalFlip, Resize, ToArray
from minialex.data.colour import ColourNoise, deviations
from minialex.data.compose import Compose
from minialex.data.mean_image import MeanImage, mean_image
from minialex.data.pixels import needed_side
from minialex.errors import CheckpointError, ConfigError
from minialex.params import named_arrays
from minialex.train.changes import begin_epoch
from minialex.train.checkpoint import load_checkpoint
from minialex.train.config import Config, configure
from minialex.train.ranks import Ranks
from minialex.train.recipes import KRIZHEVSKY, RECIPES, make_optimizer
from minialex.train.run import RunFolder
from minialex.train.setup import evaluation_transform, square, training_transform
from minialex.use.predict import Predictor
from tiny_run import OPTIONS, training

TINY = {name: OPTIONS[name] for name in ("width", "workers", "device", "log_interval")}
OF_PROGRAM = {**RECIPES["krizhevsky"], "recipe": "krizhevsky", **TINY, "image_size": 67,
    "batch_size": 4, "same_crop": 2, "lr": 1e-4}  # fmt: skip


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def random_pixels(seed, side=8):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------------ the image


def test_the_mean_image_is_subtracted_place_by_place():
    photos = [(Image.fromarray(random_pixels(i)), 0) for i in range(5)]
    found = mean_image(photos, ToArray(), seed=0)
    mean = np.mean([np.asarray(image, np.float64) for image, _ in photos], axis=0)
    step, x = MeanImage(found), random_pixels(9)
    y = step(ToArray()(Image.fromarray(x)))
    assert y.dtype == np.float32 and abs(y - (x - mean)).max() < 0.51  # whole grey levels
    assert len(repr(step)) < 20 and repr(step) == repr(MeanImage(found))
    assert repr(step) != repr(MeanImage(png(x)))  # or a run would go on with another image
    assert Compose.from_config(Compose((ToArray(), step)).to_config()).transforms[1] == step
    with refused(ConfigError, "expected an image of (8, 8, 3)"):
        step(np.zeros((4, 4, 3), np.float32))
    for wrong in ("no png", base64.b64encode(b"no png").decode(), 3):
        with refused(ConfigError, "must be a PNG in base64"):
            MeanImage(wrong)


def test_the_mean_is_of_a_sample_that_the_seed_draws():
    photos = [(Image.fromarray(np.full((2, 2, 3), i, np.uint8)), 0) for i in range(100)]
    one, again, other = (mean_image(photos, ToArray(), seed, sample=4) for seed in (0, 0, 1))
    assert one == again != other


def test_colours_in_proportion_to_standard_deviations():
    p, variances = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0], (0.2, 0.02, 0)
    rows = [variance * p[i] for i, variance in enumerate(variances)]
    want = [255 * np.sqrt(variance) * p[i] for i, variance in enumerate(variances)]
    np.testing.assert_allclose(deviations(rows), want, atol=1e-9)
    noise = ColourNoise(deviations(rows), 0.1)
    x = np.random.default_rng(1).standard_normal((3, 4, 3)).astype(np.float32)
    a = np.random.default_rng(5).normal(0, 0.1, 3)
    want = (x + a @ np.array(noise.components)) / 1.1
    np.testing.assert_allclose(noise(x, np.random.default_rng(5)), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("floats", [False, True])
def test_images_in_a_row_share_a_crop_and_a_mirror_but_no_colour(floats):
    image = Image.fromarray(random_pixels(3, 40))
    photos = [(image, i % 2) for i in range(23)]
    steps = RandomCrop(8), RandomHorizontalFlip(), ToArray()
    last = [lambda x, rng: x] * floats  # whoever does not know it gets floats from the threads
    loader = DataLoader(photos, 10, Compose((*steps, *last)), shuffle=True, same_crop=4)
    batches = [x for x, _ in loader.epoch(0)]
    for x in batches:
        rows = [x[i : i + 4] for i in range(0, len(x), 4)]
        assert all((row == row[0]).all() for row in rows)
        assert len({row[0].tobytes() for row in rows}) == len(rows)
    assert (batches[0] != next(loader.epoch(1))[0]).any()
    whole = [x for x, _ in loader.epoch(2)]
    np.testing.assert_array_equal(next(loader.epoch(2, 1))[0], whole[1])
    noise = ColourNoise(((1.0, 0.0, 0.0),), 0.1)
    x, _ = next(DataLoader(photos, 4, Compose((*steps, noise)), same_crop=4).epoch(0))
    assert len(set(x[:, 0, 0, 0].tolist())) == 4 and (x[1:, ..., 1] == x[0, ..., 1]).all()


def test_ranks_share_crops_as_the_whole_batch_does():
    photos = [(Image.fromarray(random_pixels(3, 40)), i % 2) for i in range(70)]
    steps = Compose((RandomCrop(8), RandomHorizontalFlip(), ToArray()))
    loader = DataLoader(photos, 70, steps, shuffle=True, same_crop=32)
    (whole, labels), parts = next(loader.epoch(0)), []
    for index in range(4):
        loader.ranks = Ranks()
        loader.ranks.index, loader.ranks.size = index, 4
        parts.append(next(loader.epoch(0)))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in parts]), whole)
    np.testing.assert_array_equal(np.concatenate([own for _, own in parts]), labels)


def test_the_program_in_numbers():
    config = configure({"recipe": "krizhevsky"})
    assert (config.batch_size, config.lr, config.bias_rate, config.epochs) == (128, 0.01, 2.0, 91)
    assert (config.weight_decay, config.bias_decay, config.same_crop) == (5e-4, False, 32)
    assert square(224, config)[0] == Resize(256) and 256 - 224 + 1 == 33
    components = [[0.2, 0, 0], [0, 0.02, 0], [0, 0, 0.01]]
    colours = {"components": components, "image": png(random_pixels(1, 224))}
    config = dataclasses.replace(config, colours=colours)
    steps = training_transform(224, config).transforms
    kinds = [Resize, CenterCrop, RandomCrop, RandomHorizontalFlip, ToArray, MeanImage, ColourNoise]
    assert [type(step) for step in steps] == kinds
    middle = evaluation_transform(224, config).transforms
    assert [type(s) for s in middle] == [Resize, CenterCrop, CenterCrop, ToArray, MeanImage]
    assert Config(variant="owt2014").normalize == "imagenet"
    words = "needs --normalize mean or mean-image; with imagenet, --colour-form paper"
    with refused(ConfigError, words):
        Config(colour_form="program", colour_shift=0.1)
    assert Config(colour_form="program").colour_shift == 0


@pytest.mark.parametrize("variant", ["2012-program", "owt2014"])
def test_training_and_validation_photos_of_any_augmentation_have_one_size(variant):
    sides = {}
    for augment in ("none", "crop", "full"):
        config = Config(variant=variant, augment=augment)
        both = training_transform(224, config), evaluation_transform(224, config)
        sides[augment] = {needed_side(transform) for transform in both}
    assert sides == {"none": {253}, "crop": {256}, "full": {253}}


# ------------------------------------------------------------------------------------- the rates


def test_the_biases_have_twice_the_rate_and_no_decay():
    model = mx.Sequential(mx.Linear(2, 3, rng=np.random.default_rng(0)))
    made = make_optimizer("sgd", model, 0.1, 0.5, bias_rate=2.0, bias_decay=False)
    weight, bias = (own[key].copy() for own, key, _ in named_arrays(model.params))
    for own, key, _ in named_arrays(made.grad):
        own[key][...] = 1
    made.step()
    np.testing.assert_allclose(model[0].params["weight"], weight - 0.1 * (1 + 0.5 * weight), 1e-5)
    np.testing.assert_allclose(model[0].params["bias"], bias - 0.2, 1e-5)


def test_frozen_biases_have_no_rate_of_their_own():
    model = mx.Sequential(mx.Linear(2, 3), mx.Linear(3, 2))
    for freeze in ("*.bias", "0.*, 1.bias"):
        made = make_optimizer("sgd", model, 0.1, 0.5, freeze, bias_rate=2.0, bias_decay=False)
        assert (made.lr, made.weight_decay) == (0.1, 0.5)
    one_left = make_optimizer("sgd", model, 0.1, 0.5, "0.bias", bias_rate=2.0)
    assert one_left.lr == 0.2
    with refused(ConfigError, "freeze: the pattern '9' fits no parameter"):
        make_optimizer("sgd", model, 0.1, 0.5, "*.bias,9", bias_rate=2.0)


def test_another_same_crop_is_another_run(tmp_path):
    def train(same_crop):
        model, run = two_layers(), tmp_path / "run"
        loader = numbers(same_crop=same_crop)
        mx.fit(model, loader, mx.SGD(model, lr=0.1), epochs=1, run=run, device=DEVICE)

    train(1)
    with refused(CheckpointError, "a run with same_crop 1, and now it is 2"):
        train(2)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text("utf-8").replace('"same_crop": 1,', ""), "utf-8")
    train(1)  # as a folder of before


@pytest.mark.parametrize("rows", [
    [(0, {}, False), (0.5, {}, True)], [(0.5, {}, True), (0, {}, False)],  # in any order
])  # fmt: skip
def test_colours_that_end_in_one_row_may_come_back_in_another(tmp_path, rows):
    run = training(tmp_path, **{**OF_PROGRAM, "epochs": 3})
    run.schedule, seen = rows, []
    for run.progress.epoch in range(3):
        steps = begin_epoch(run).transform.transforms
        seen.append(any(isinstance(step, ColourNoise) for step in steps))
    assert seen == [False, False, True]


def test_the_table_of_the_run_is_scaled_to_its_epochs(tmp_path):
    run = training(tmp_path, **{**OF_PROGRAM, "epochs": 182})
    rate_of, seen = {}, []
    for epoch in range(182):
        run.progress.epoch = epoch
        steps = begin_epoch(run).transform.transforms
        runs = run.optimizer._runs
        rate_of = {(part.start, round(rate * 0.0002 / 1e-4, 9)) for part, rate, _ in runs}
        weights = {rate for start, rate in rate_of if rate not in (0.0, 2.0)}
        colours = any(isinstance(step, ColourNoise) for step in steps)
        row = sorted(weights), any(rate == 0 for _, rate in rate_of), colours
        if not seen or seen[-1][1:] != row:
            seen.append((epoch, *row))
    assert seen == [
        (0, [1.0], False, True), (50, [0.1], False, True), (102, [0.01], False, True),
        (134, [0.001, 0.01], False, False), (144, [0.01], True, False),
        (158, [0.001], True, False),
    ]  # fmt: skip
    assert [round(91 * share) for share, _, _ in KRIZHEVSKY] == [25, 51, 67, 72, 79]


def test_a_run_of_the_recipe_goes_on_to_the_bit_behind_each_change(tmp_path):
    options = {**OF_PROGRAM, "epochs": 6, "keep_last": True}
    whole = training(tmp_path / "whole", **options)
    first = on_host(whole.optimizer.theta).copy()
    whole.train()
    assert (on_host(whole.optimizer.theta) != first).mean() > 0.9
    for _ in range(6):
        begun = (tmp_path / "run").exists()
        given = dataclasses.asdict(RunFolder.open(tmp_path / "run")[1]) if begun else options
        part = training(tmp_path / "run", **given)
        if part.progress.epoch < 5:
            part.epoch()
            part.end_epoch()
        else:
            part.train()
    of_whole, of_parts = (
        load_checkpoint(tmp_path / name / "last.safetensors")[0] for name in ("whole", "run")
    )
    for name, array in of_whole.items():
        np.testing.assert_array_equal(of_parts[name], array)
    predictor = Predictor(tmp_path / "run" / "best.safetensors")
    assert isinstance(predictor.transform.transforms[-1], MeanImage)


def test_what_is_frozen_may_have_a_row_in_the_table(tmp_path):
    run = training(tmp_path, **{**OF_PROGRAM, "epochs": 3}, freeze="features.*")
    run.train()
    assert run.progress.epoch == 3 and DEVICE in ("cpu", "gpu")
