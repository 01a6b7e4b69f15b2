"""What a network looks at, against numerical derivatives and definitions; and its pictures."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minialex.attach import accelerate, plain
from minialex.data import CenterCrop, Compose, Normalize, Resize, ToArray
from minialex.layers import Conv2d
from minialex.models import AlexNet
from minialex.train.checkpoint import save_checkpoint, state_dict
from minialex.use.explain import Trace, grad_cam, last_hidden, nearest, saliency
from minialex.use.pictures import activation_sheet, heat, map_picture, overlay, picture_row, stack

EXAMPLES = Path(__file__).parents[2] / "examples"
CLASSES = np.array([2, 0])


@pytest.fixture(scope="module", params=[plain, accelerate], ids=["pages", "twins"])
def model(request):
    model = AlexNet(3, "2012", width=1 / 16, image_size=99, seed=1)
    model.to(dtype=np.float64)
    rng = np.random.default_rng(2)
    # Scores of a useful size.
    model.classifier[-1].params["weight"][...] = rng.standard_normal((256, 3))
    convolution = [layer for layer in model.features.layers if isinstance(layer, Conv2d)][-1]
    # No kinks: where all of a window is 0, its maximum has no derivative.
    convolution.params["bias"][...] = 9
    return request.param(model.train(False))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 99, 99, 3))


def numerical(score, array, places, step=1e-6):
    """d score / d array at `places`, by central differences; `score()` reads the array."""
    found = []
    for place in places:
        before = array[place]
        values = []
        for sign in (1, -1):
            array[place] = before + sign * step
            values.append(score())
        array[place] = before
        found.append((values[0] - values[1]) / (2 * step))
    return np.array(found)


def test_the_gradient_at_the_image(model, x):
    gradient = Trace(model, x).gradient(CLASSES)
    rng = np.random.default_rng(1)
    for n, label in enumerate(CLASSES):
        own = x[n : n + 1].copy()
        places = [(0, *rng.integers(0, 99, 2).tolist(), int(rng.integers(3))) for _ in range(12)]
        expected = numerical(lambda own=own, label=label: model(own)[0, label], own, places)
        ours = [gradient[(n, *place[1:])] for place in places]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-7 * abs(gradient).max())
    assert saliency(model, x, CLASSES).shape == (2, 99, 99)
    np.testing.assert_array_equal(saliency(model, x, CLASSES), abs(gradient).max(axis=3))


def test_training_still_skips_the_gradient_of_the_image(model, x):
    trained = accelerate(copy.deepcopy(model), input_grad=False)
    found, expected = (saliency(m, x, CLASSES) for m in (trained, model))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * expected.max())
    assert not trained.features[0].input_grad


def test_grad_cam_is_its_formula(model, x):
    trace = Trace(model, x)
    classes = trace.logits.argmax(axis=1)
    maps = grad_cam(model, x, classes)
    last = trace.convolutions()[-1]
    assert trace.convolution_maps()[-1].shape == (5, 5, 16) and maps.shape == (2, 5, 5)
    for n, label in enumerate(classes):
        A = trace.outputs[last][n : n + 1].copy()
        assert A.min() > 0

        def score(A=A, label=label):
            y = A
            for layer in trace.layers[last + 1 :]:
                y = layer(y)
            return y[0, label]

        derivative = numerical(score, A, list(np.ndindex(A.shape))).reshape(A.shape[1:])
        w = derivative.mean(axis=(0, 1))
        expected = np.maximum((A[0] * w).sum(axis=2), 0)
        assert expected.max() > 0
        np.testing.assert_allclose(maps[n], expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_the_last_hidden_layer(model, x):
    trace = Trace(model, x)
    expected = trace.outputs[-2]  # Dropout, which does nothing in evaluation
    assert expected.shape == (2, 256)
    np.testing.assert_allclose(last_hidden(model, (x[:1], x[1:])), expected, rtol=1e-10)
    weight, bias = model.classifier[-1].params.values()
    np.testing.assert_allclose(expected @ weight + bias, trace.logits)


def test_nearest():
    rng = np.random.default_rng(0)
    queries, points = (rng.standard_normal((n, 5), dtype=np.float32) for n in (3, 9))
    points[7] = points[4]
    found, distances = nearest(queries, points, 4)
    for q in range(3):
        d = [float(np.sqrt(((queries[q] - p).astype(np.float64) ** 2).sum())) for p in points]
        order = sorted(range(9), key=lambda i: d[i])
        assert found[q].tolist() == order[:4]
        np.testing.assert_allclose(distances[q], [d[i] for i in order[:4]], rtol=1e-5)
    assert nearest(points[4:5], points, 2)[0].tolist() == [[4, 7]]


# ----------------------------------------------------------------------------------------- pictures


def test_heat():
    colours = heat(np.array([[-1.0, 0.0, 1.0], [1.5, 2.0, 3.0]]))
    assert colours.dtype == np.uint8
    assert colours[0].tolist() == [[0, 0, 0], [0, 0, 0], [255, 0, 0]]
    assert colours[1].tolist() == [[255, 127, 0], [255, 255, 0], [255, 255, 255]]
    assert not heat(np.zeros((2, 2))).any()


def test_maps_keep_their_places():
    values = np.array([[0.0, 1.0], [0.0, 0.0]])
    shown = np.asarray(map_picture(values, (40, 40)))
    assert shown[5, 35].tolist() == [255, 255, 255]
    assert not shown[5, 5].any() and not shown[35, 35].any()
    grey = np.asarray(overlay(Image.new("RGB", (40, 40), (200, 100, 0)), values)).astype(int)
    assert np.ptp(grey[35, 5]) < 5  # grey where the map is 0
    assert grey[5, 35].min() > grey[35, 5].max() + 50


def test_rows_and_stacks_hold_each_picture():
    red, blue = (Image.new("RGB", (10, 10), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    row = np.asarray(picture_row([(red, ""), (blue, "")], cell=20))
    assert row.shape == (20, 46, 3)
    assert row[10, 10].tolist() == [255, 0, 0] and row[10, 36].tolist() == [0, 0, 255]
    below = np.asarray(picture_row([(red, "text"), (blue, "")], cell=20))
    assert below.shape == (38, 46, 3)
    assert below[20:, :26].min() < 100 and below[20:, 40:].min() == 255
    sheet = np.asarray(stack([("", red), ("text", blue)]))
    assert sheet.shape == (6 + 16 + 20 + 16, 22, 3)
    assert sheet[10, 10].tolist() == [255, 0, 0] and sheet[50, 10].tolist() == [0, 0, 255]


def test_activations_show_the_strongest_channels_first():
    maps = np.zeros((2, 2, 3))
    maps[0, 0, 2], maps[1, 1, 1] = 5, 3
    sheet = np.asarray(activation_sheet(Image.new("RGB", (8, 8)), [maps], columns=2))
    top = sheet.shape[0] - 6 - 108
    first, second = sheet[top:, 6:114], sheet[top:, 120:228]
    assert first[10, 10].min() == 255 and first[90, 90].max() == 0
    assert second[10, 10].max() == 0 and second[90, 90].min() == 255


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = AlexNet(2, "owt", width=1 / 16, image_size=67, seed=5)
    model.features[0].params["weight"][0, 0, 0, 0] += 1  # the only thing that "training" changed
    transform = Compose((Resize(76), CenterCrop(67), ToArray(), Normalize((0.5,) * 3, (0.25,) * 3)))
    header = {"model": model.config, "classes": ["cat", "dog"], "transform": transform.to_config()}
    save_checkpoint(folder / "best.safetensors", state_dict(model), header)
    return folder


def run(program, *arguments):
    command = [sys.executable, EXAMPLES / program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_the_filters_and_what_training_changed(run_folder, tmp_path):
    run("filters.py", run_folder / "best.safetensors", "--out", tmp_path / "one.png", "--scale", 2)
    one = np.asarray(Image.open(tmp_path / "one.png"))
    (run_folder / "config.json").write_text(json.dumps({"seed": 5}))
    run("filters.py", run_folder / "best.safetensors", "--out", tmp_path / "two.png", "--scale", 2)
    two = np.asarray(Image.open(tmp_path / "two.png"))
    (run_folder / "config.json").unlink()
    assert two.shape == (2 * len(one) - 6, *one.shape[1:])
    change = two[len(one) + 20 :]  # 4 filters: a red dot in the first, and nothing elsewhere
    assert change[2, 8].tolist() == [255, 127, 127]
    assert {tuple(p) for p in change[2:24, 32:54].reshape(-1, 3).tolist()} == {(127, 127, 127)}


def test_the_program_draws_three_pictures(run_folder, tmp_path):
    out = tmp_path / "new" / "folder"
    done = run("pictures.py", run_folder / "best.safetensors", "--limit", 8, "--out", out)
    assert [Path(line).name for line in done.stdout.split()] == [
        "activations.png",
        "attention.png",
        "neighbours.png",
    ]
    for line in done.stdout.split():
        picture = np.asarray(Image.open(line))
        assert picture.std() > 20 and picture.shape[2] == 3
