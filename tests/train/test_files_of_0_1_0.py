"""What version 0.1.0 wrote can be read: its weights predict; its runs say that they cannot go on.

The files are made here by hand, from what 0.1.0 wrote for a small network after its first epoch.
"""

import dataclasses
import json
import zlib

import numpy as np
import pytest
from safetensors.numpy import save_file

import minialex as mx
from bad_input import refused
from device import DEVICE
from minialex.data import CenterCrop, Compose, Normalize, Resize, ToArray
from minialex.errors import CheckpointError
from minialex.models import AlexNet
from minialex.train.config import Config
from minialex.train.photos import open_images, run_source
from minialex.train.run import RunFolder
from minialex.train.screen import Silent
from minialex.use.predict import Predictor
from tiny_run import source

SHAPES = {  # of the weights, in PyTorch's axis order
    "features.0": (6, 3, 11, 11), "features.3": (16, 6, 5, 5), "features.6": (24, 16, 3, 3),
    "features.8": (24, 24, 3, 3), "features.10": (16, 24, 3, 3),
    "classifier.0": (256, 16), "classifier.3": (256, 256), "classifier.6": (2, 256),
}  # fmt: skip
MODEL = {
    "variant": "ungrouped", "num_classes": 2, "lrn": False, "dropout": 0.5, "width": 1 / 16,
    "image_size": 67, "activation": "relu", "pooling": "max",
}  # fmt: skip
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HEADER = {
    "format": 1,
    "model": MODEL,
    "classes": ["cat", "dog"],
    "transform": [
        {"name": "Resize", "size": 76},
        {"name": "CenterCrop", "size": 67},
        {"name": "ToArray"},
        {"name": "Normalize", "mean": MEAN, "std": STD},
    ],
}
ROW = {
    "epoch": 1, "train_loss": 0.7, "train_acc": 0.5, "val_loss": 0.69, "val_acc": 0.75,
    "images_per_s": 150.0,
}  # fmt: skip
PROGRESS = {
    "epoch": 1, "batch": 0, "sums": [0.0, 0.0, 0.0], "steps": 3, "seconds": 0.3,
    "epoch_seconds": 0.0, "history": [ROW], "best_acc": 0.75,
}  # fmt: skip
CONFIG = {
    "data": "drawings", "recipe": "drawings", "device": DEVICE, "variant": "ungrouped", "lrn": None,
    "width": 1 / 16, "image_size": 67, "dropout": 0.5, "init": "he", "activation": "relu",
    "pooling": "max", "batch_size": 4, "epochs": 2, "optimizer": "adam", "lr": 0.0002,
    "weight_decay": 0.0, "schedule": "cosine", "warm_up": 100, "patience": 5,
    "label_smoothing": 0.0, "augment": "none", "crop_scale": 0.35, "colour_shift": 0.0,
    "normalize": "imagenet", "colours": None, "ten_crop": False, "seed": 0, "workers": 2,
    "log_interval": 20, "limit": None, "cache": True, "memory_limit": None, "threads": None,
    "tf32": False, "algorithm": "auto",
}  # fmt: skip


def write(path, tensors, header):
    crc = zlib.crc32(json.dumps(header).encode())
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name}{array.shape}{array.dtype}".encode(), crc)
        crc = zlib.crc32(array.tobytes(), crc)
    save_file(tensors, path, {"minialex": json.dumps({**header, "checksum": f"{crc:08x}"})})


def ours(array):
    """A parameter in the axis order of minialex: (K, K, C, F) or (D, F)."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
    return array.transpose(axes)


@pytest.fixture
def weights():
    rng = np.random.default_rng(1)
    tensors = {}
    for name, shape in SHAPES.items():
        tensors[f"{name}.weight"] = 0.1 * rng.standard_normal(shape, dtype=np.float32)
        tensors[f"{name}.bias"] = 0.1 * rng.standard_normal(shape[0], dtype=np.float32)
    return tensors


@pytest.fixture
def run(weights, tmp_path):
    """A run after its first of two epochs."""
    moments = np.random.default_rng(2).random((2, sum(w.size for w in weights.values())))
    m, v = 1e-3 * moments.astype(np.float32)
    last = weights | {"optimizer.m": m, "optimizer.v": v}
    write(tmp_path / "last.safetensors", last, HEADER | {"progress": PROGRESS})
    write(tmp_path / "best.safetensors", weights, HEADER)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    return tmp_path


def test_a_model_describes_itself_by_the_same_keys():
    model = AlexNet(2, width=1 / 16, image_size=67)
    assert list(model.config.items()) == list(MODEL.items())


def test_weights_predict(run, weights):
    predictor = Predictor(run / "best.safetensors", DEVICE)
    model = AlexNet(2, width=1 / 16, image_size=67).train(False)
    for name, layer in model.leaves():
        for key in layer.params:
            layer.params[key] = np.ascontiguousarray(ours(weights[f"{name}.{key}"]))
    image = source().test[0][0]
    transform = Compose((Resize(76), CenterCrop(67), ToArray(), Normalize(tuple(MEAN), tuple(STD))))
    logits = model(transform(image, None)[None])[0].astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(predictor.probabilities(image), p, rtol=1e-5)
    assert predictor.classes == ["cat", "dog"] and predictor.transform == transform


def test_a_run_whose_drawings_are_no_longer_drawn_is_not_shown_others(run):
    _, config = RunFolder.open(run)
    assert config.edition == 1 < Config.edition
    with refused(CheckpointError, "is on drawings of another version", "--weights"):
        open_images(config, run, Silent())
    settings = RunFolder(run).settings() | {"limit": 4}
    with refused(CheckpointError, "is on drawings of another version", "--data drawings"):
        run_source(run, settings)
    assert len(run_source(run, settings, "drawings").test) == 4


def test_a_run_on_the_drawings_of_today_goes_on(run):
    today = dataclasses.asdict(Config(limit=4))
    (run / "config.json").write_text(json.dumps(today))
    _, config = RunFolder.open(run)
    assert len(open_images(config, run, Silent())[0].train) == 4
    assert len(run_source(run, today).test) == 4


def test_a_run_of_fit_does_not_go_on_with_drawings_of_another_version(tmp_path, monkeypatch):
    def fit(data, epochs):
        model = mx.Sequential(mx.Flatten(), mx.Linear(3 * 16 * 16, 2))
        loader = mx.DataLoader(data, 4)
        return mx.fit(model, loader, mx.SGD(model, lr=0.01), epochs=epochs, run=tmp_path / "run")

    drawings = mx.Drawings(8, size=16)
    monkeypatch.setattr(mx.Drawings, "edition", None, raising=True)  # before version 0.6.0
    fit(drawings, 1)
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    monkeypatch.undo()
    with refused(CheckpointError, "holds a run with edition None, and now it is 2"):
        fit(drawings, 2)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before
