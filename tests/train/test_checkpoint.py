"""Checkpoints: PyTorch's names and axis order, written whole or not at all, refused if damaged."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minialex
from device import assert_array_equal, on_device, on_host
from minialex.errors import CheckpointError
from minialex.models import AlexNet
from minialex.params import flatten
from minialex.train import checkpoint
from minialex.train.checkpoint import (
    load_checkpoint,
    load_state_dict,
    save_checkpoint,
    state_dict,
    write_text,
)


@pytest.fixture
def model():
    model = on_device(AlexNet(3, "2012", width=1 / 16, image_size=67, seed=4))
    flatten(model)
    return model


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, state_dict(model), {"model": model.config})
    return path


def test_names_and_axis_order_are_pytorchs(model):
    tensors = state_dict(model)
    assert list(tensors)[:3] == ["features.0.weight", "features.0.bias", "features.4.weight"]
    ours = on_host(model.features[0].params["weight"])  # (K, K, C, F)
    assert tensors["features.0.weight"].shape == (6, 3, 11, 11)
    assert tensors["features.0.weight"][5, 2, 1, 7] == ours[1, 7, 2, 5]
    dense = on_host(model.classifier[0].params["weight"])  # (in, out)
    assert tensors["classifier.0.weight"][9, 4] == dense[4, 9]
    assert all(array.flags.c_contiguous for array in tensors.values())


def test_round_trip_is_exact(model, saved):
    tensors, header = load_checkpoint(saved)
    assert header["model"] == model.config
    other = on_device(AlexNet(3, "2012", width=1 / 16, image_size=67, seed=5))
    theta = flatten(other)
    load_state_dict(other, tensors)
    assert_array_equal(theta, flatten(model))
    assert os.listdir(saved.parent) == [saved.name]  # no temporary file is left


def test_the_state_is_a_copy(model):
    tensors = state_dict(model)
    before = tensors["classifier.0.bias"].copy()
    flatten(model)[...] += 1
    np.testing.assert_array_equal(tensors["classifier.0.bias"], before)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_file_may_be_read_by_whom_the_umask_lets(saved, tmp_path):
    (tmp_path / "plain").touch()
    assert saved.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("crash", ["save_file", "fsync", "replace"])
def test_a_crash_while_writing_keeps_the_old_file(model, saved, monkeypatch, crash):
    old = saved.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint if crash == "save_file" else os, crash, fail)
    line = r"^cannot write .*No space left on device.*the old file is kept$"
    with pytest.raises(CheckpointError, match=line):
        save_checkpoint(saved, {"x": np.ones(3)}, {})
    if crash != "save_file":
        with pytest.raises(CheckpointError, match="No space left on device"):
            write_text(saved, "text")
    monkeypatch.undo()
    assert saved.read_bytes() == old
    assert os.listdir(saved.parent) == [saved.name]


def test_the_content_is_on_the_disk_before_the_new_name_is(model, saved, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1]
        )
    save_checkpoint(saved, {"x": np.ones(3)}, {})
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_a_file_cut_short_anywhere_is_refused(saved):
    whole = saved.read_bytes()
    for length in [*range(0, 40), *np.linspace(40, len(whole) - 1, 40).astype(int)]:
        saved.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"^[^\n]*$"):
            load_checkpoint(saved)


def test_a_flipped_bit_anywhere_is_refused(saved):
    whole = saved.read_bytes()
    rng = np.random.default_rng(0)
    places = [*range(0, 200, 7), *rng.integers(0, len(whole), 60), len(whole) - 1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"^[^\n]*$"):
            load_checkpoint(saved)


def test_a_file_that_is_not_ours_is_refused(tmp_path):
    save_file({"x": np.ones(3)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not written by minialex"):
        load_checkpoint(tmp_path / "x.safetensors")
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "no", "does not exist")):
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(path)


@pytest.mark.parametrize("change", ["lacks", "unknown", "shape"])
def test_tensors_that_do_not_fit_change_nothing(model, change):
    tensors = state_dict(AlexNet(3, "2012", width=1 / 16, image_size=67, seed=8))
    if change == "lacks":
        del tensors["features.4.bias"]
    elif change == "unknown":
        tensors["extra"] = np.ones(2)
    else:
        tensors["classifier.6.bias"] = np.ones(7, dtype=np.float32)
    theta = flatten(model)
    before = theta.copy()
    with pytest.raises(CheckpointError, match=r"^the checkpoint does not fit this model: [^\n]*$"):
        load_state_dict(model, tensors)
    assert_array_equal(theta, before)


def test_pytorch_style_file_holds_only_the_weights(saved, model):
    assert load_file(saved).keys() == state_dict(model).keys()


def test_there_is_no_pickle_anywhere():
    for source in Path(minialex.__file__).parent.rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        pickle = r"import pickle|allow_pickle|np\.(load|save)\(|torch\.(load|save)\("
        assert not re.search(pickle, text), source
