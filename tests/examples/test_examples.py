"""The short examples run as their heads say, and print lines that fit a terminal."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minialex as mx

ROOT = Path(mx.__file__).parents[1]
SHORT = ("loop_by_hand.py", "own_network.py", "own_layer.py")


# As `python examples/...` does, but with drawings that were drawn for all examples at once.
PROGRAM = """import runpy, sys
import minialex as mx
import numpy as np
from PIL import Image

drawn, Drawings = np.load(sys.argv[1]), mx.Drawings

def shared(length, *, size, start=0):
    if size != drawn.shape[1] or start + length > len(drawn):
        return Drawings(length, size=size, start=start)
    return [(Image.fromarray(drawn[i]), i % 2) for i in range(start, start + length)]

shared.edition = Drawings.edition
mx.Drawings = shared
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The file of the drawings, which take longer than any example's training."""
    path = tmp_path_factory.mktemp("drawn") / "drawings.npy"
    np.save(path, np.stack([np.asarray(image) for image, _ in mx.Drawings(3500, size=28)]))
    return path


@pytest.fixture
def run(drawn, tmp_path):
    """run(name, *arguments): the lines that an example prints, started in `tmp_path`."""
    return lambda *words: program(drawn, tmp_path, *words)


def program(drawn, folder, name, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(drawn), str(ROOT / "examples" / name), *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    own = [line for line in lines if not line.startswith(("device:", "runs"))]  # else of `fit`
    assert max(map(len, own)) <= 80
    return lines


def accuracies(lines):
    """All percentages of each line that has any."""
    found = ([float(number) for number in re.findall(r"([\d.]+)%", line)] for line in lines)
    return [numbers for numbers in found if numbers]


@pytest.mark.parametrize("name", SHORT)
def test_an_example_is_short_and_says_how_it_is_run(name):
    text = (ROOT / "examples" / name).read_text("utf-8")
    assert len(text.splitlines()) <= 110
    assert f"\n    python examples/{name} " in text.split('"""')[1]


def test_loop_by_hand(run, tmp_path):
    lines = run("loop_by_hand.py", "2")
    (untrained,), *trained = accuracies(lines)
    assert 40 < untrained < 60 and len(trained) == 2 and trained[-1][0] > 70
    assert lines[-2] == "shown   " + "cat dog " * 7 + "cat dog"
    assert set(lines[-1].split()) == {"it", "says", "cat", "dog"}
    assert list(tmp_path.iterdir()) == []


def test_own_network_is_trained_resumed_and_asked(run, tmp_path):
    best = tmp_path / "runs" / "lenet" / "best.safetensors"
    for epochs in ("1", "2"):
        more = run("own_network.py", epochs)
        trained = [line[:9] for line in more if line.startswith("epoch")]
        assert trained == [f"epoch {epochs}/{epochs}"]
    for k, line in enumerate(more[-6:]):
        assert re.fullmatch(rf"  a {('cat', 'dog')[k % 2]}: cat [\d.]+%, dog [\d.]+%", line)
    images = mx.DataLoader([(image, 0) for image, _ in mx.Drawings(6, size=28, start=5000)], 6)
    (x, _) = next(images.epoch(0))
    scores = np.exp(mx.load(best).train(False)(x))
    shares = 100 * scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(accuracies(more[-6:]), shares, atol=0.06)


def test_own_layer(run, tmp_path):
    lines = run("own_layer.py", "3")  # after one, the running means are not there yet
    assert sum("76 derivatives are right" in line for line in lines[:2]) == 2
    assert re.fullmatch(r"[\d.]+% without it, [\d.]+% with it", lines[-1])
    assert accuracies(lines[-1:])[0][0] < accuracies(lines[-1:])[0][1]
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------ the layer itself


@pytest.fixture(scope="module")
def batch_norm():
    path = ROOT / "examples" / "own_layer.py"
    spec = importlib.util.spec_from_file_location("own_layer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BatchNorm


@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 2, 3)])
def test_batch_norm_normalizes_each_channel(batch_norm, shape):
    rng = np.random.default_rng(0)
    x = (5 + 3 * rng.standard_normal(shape)).astype(np.float32)
    layer = batch_norm(3)
    y = layer(x)
    assert y.dtype == np.float32 and y.shape == shape
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(y.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=axes), 1, rtol=1e-4)
    np.testing.assert_allclose(layer.buffers["running_mean"], x.mean(axis=axes) / 10, rtol=1e-5)
    for _ in range(200):
        layer(x)
    alone = layer.train(False)(x[:1])  # the running statistics are those of the data by now
    np.testing.assert_allclose(alone, y[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 2, 3)])
def test_batch_norm_has_the_right_gradient(batch_norm, shape, training):
    x = np.random.default_rng(1).standard_normal(shape)
    layer = batch_norm(3).train(training)
    layer.params["weight"] += np.arange(3, dtype=np.float32)
    assert mx.gradcheck(layer, x).ok
    assert layer.buffers["running_mean"].tolist() == [0, 0, 0]


def test_batch_norm_is_saved_with_its_statistics(batch_norm, tmp_path):
    mx.seed(0)
    model = mx.Sequential(mx.Linear(4, 3), batch_norm(3))
    x = np.random.default_rng(2).standard_normal((16, 4)).astype(np.float32)
    model(x)
    mx.save(tmp_path / "m.safetensors", model)
    with pytest.raises(mx.MinialexError, match="into"):
        mx.load(tmp_path / "m.safetensors")
    again = mx.load(tmp_path / "m.safetensors", into=mx.Sequential(mx.Linear(4, 3), batch_norm(3)))
    np.testing.assert_array_equal(again.train(False)(x), model.train(False)(x))
