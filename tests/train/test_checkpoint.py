"""Checkpoints: PyTorch's names and axis order, written whole or not at all, refused if damaged."""

import json
import os
import re
import stat
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, load_file, save, save_file

import minialex
from device import assert_array_equal, on_device, on_host
from minialex import files
from minialex.errors import CheckpointError
from minialex.files import write_text
from minialex.models import AlexNet
from minialex.params import flatten
from minialex.train.checkpoint import (
    load_checkpoint,
    load_state_dict,
    save_checkpoint,
    state_dict,
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


@pytest.mark.parametrize("crash", ["open", "fsync", "replace"])
def test_a_crash_while_writing_keeps_the_old_file(model, saved, monkeypatch, crash):
    old = saved.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, crash, fail)
    line = r"^cannot write .*No space left on device.*the old file is kept$"
    with pytest.raises(CheckpointError, match=line):
        save_checkpoint(saved, {"x": np.ones(3)}, {})
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_text(saved, "text")
    with pytest.raises(CheckpointError, match=r"No space left on device$"):  # there is no old file
        write_text(saved.with_name("new"), "text")
    monkeypatch.undo()
    assert saved.read_bytes() == old
    assert os.listdir(saved.parent) == [saved.name]


NUMBERS = {
    "scalar": np.array(3), "empty": np.ones((2, 0), np.float16), "yes": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8), "turned": np.arange(6.0).reshape(2, 3).T,
    "large": np.arange(400_000, dtype=np.float32).reshape(1000, 400).T,
    "big-endian": np.ones(3, ">i2"),
}  # fmt: skip


def test_the_file_is_what_the_library_safetensors_writes_and_reads(tmp_path):
    save_checkpoint(tmp_path / "ours", NUMBERS, {})
    theirs = load_file(tmp_path / "ours")
    (tmp_path / "theirs").write_bytes(
        save({name: np.array(array, order="C") for name, array in NUMBERS.items()})
    )
    ours, _ = load_checkpoint(tmp_path / "theirs", ours=False)
    for found in (theirs, ours, load_checkpoint(tmp_path / "ours")[0]):
        assert found.keys() == NUMBERS.keys()
        for name, array in NUMBERS.items():
            assert found[name].dtype == array.dtype.newbyteorder("<")
            assert found[name].shape == array.shape or name == "scalar"
            np.testing.assert_array_equal(found[name], array)
    only = {"x": np.ones((3, 4), np.float32)}
    save_checkpoint(tmp_path / "again", only, {})
    metadata = {"minialex": load_metadata(tmp_path / "again")}
    assert (tmp_path / "again").read_bytes() == save(only, metadata)
    assert load((tmp_path / "again").read_bytes()).keys() == {"x"}


def load_metadata(path):
    with safe_open(path, framework="numpy") as file:
        return file.metadata()["minialex"]


def test_numbers_that_no_checkpoint_holds_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="x is of complex128, which no checkpoint holds"):
        save_checkpoint(tmp_path / "a", {"x": np.ones(3, complex)}, {})
    assert not list(tmp_path.iterdir())


def test_writing_takes_no_second_copy_of_the_numbers(tmp_path):
    numbers = {"x": np.ones((1000, 5000), np.float32).T}
    tracemalloc.start()
    save_checkpoint(tmp_path / "a", numbers, {})
    assert tracemalloc.get_traced_memory()[1] < 0.3 * numbers["x"].nbytes
    tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no links here")
def test_a_link_in_place_of_a_file_or_of_a_temporary_one_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("precious")
    for name in (".run.00.tmp", "run"):
        (tmp_path / name).symlink_to(tmp_path / "mine")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "00")
    with pytest.raises(CheckpointError, match="File exists"):
        write_text(tmp_path / "run", "text")
    monkeypatch.undo()
    write_text(tmp_path / "run", "text")
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / "run").read_text() == "text"


def test_a_folder_that_cannot_be_forced_to_the_disk_costs_nothing(tmp_path, monkeypatch):
    def fsync(handle, real=os.fsync):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        real(handle)

    def chmod(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "chmod", chmod)
    save_checkpoint(tmp_path / "a.safetensors", {"x": np.ones(3)}, {})
    assert os.listdir(tmp_path) == ["a.safetensors"]
    load_checkpoint(tmp_path / "a.safetensors")


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
    for path, words in ((tmp_path, "is no regular file"), (tmp_path / "no", "does not exist")):
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(path)


def file_of(header, numbers=bytes(16)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(dtype="F32", shape=(2, 2), offsets=(0, 16)):
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


ODD = {
    "a number of PyTorch's alone": (file_of(entry("BF16", (2, 4))), "bfloat16"),
    "a negative side": (file_of(entry(shape=(-2, -2))), ""),
    "a side that is text": (file_of(entry(shape=("2", 2))), ""),
    "more numbers than there are": (file_of(entry(shape=(1 << 40, 1 << 40))), ""),
    "offsets beyond the end": (file_of(entry(offsets=(16, 32))), ""),
    "offsets before the beginning": (file_of(entry(offsets=(-16, 0))), ""),
    "a list": (file_of([]), ""),
    "no dictionary": (file_of({"x": 3}), ""),
    "metadata that are a list": (file_of({"__metadata__": []}), ""),
    "a header of text": (file_of({"__metadata__": {"minialex": "[" * 100_000}}), ""),
    "a deep header": (file_of(b"[" * 100_000), ""),
    "a header that is a list": (
        file_of({"__metadata__": {"minialex": "[]"}}, b""), "another format"),
    "a header beyond the end": (struct.pack("<Q", 1 << 62) + b"{}", ""),
    "a zip of nothing": (b"PK\x03\x04" + bytes(30), "not a zip file"),
    "an old file of PyTorch's": (b"\x80\x02\x8a\x0a" + bytes(30), "torch.save"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_refused_in_a_line(tmp_path, name):
    content, words = ODD[name]
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^[^\n]*{words}[^\n]*$"):
        load_checkpoint(tmp_path / "x.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is no regular file"):
        load_checkpoint(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        files.read_text(tmp_path / "pipe")


def test_a_file_that_may_not_be_read_is_not_called_damaged(saved, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied", str(saved))

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(CheckpointError, match=r"^cannot read '.*': Permission denied$"):
        load_checkpoint(saved)


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
        pickle = r"(import|from) (pickle|torch)\b|Unpickler|allow_pickle|np\.(load|save)\("
        assert not re.search(pickle, text), source
