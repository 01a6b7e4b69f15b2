"""Bad run folders and checkpoints: one clear line, a non-zero exit, every file as it was."""

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from photo_runs import PHOTOS, as_root, check, make, move, nothing

RESUME = ("--resume", "{w}/run")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def w(template, tmp_path, monkeypatch):
    """A copy of `template` to spoil; the current folder."""
    move(template, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What spoils a file of the run, by its name: each returns a function of the folder w.


def replace(name, content):
    return lambda w: (w / "run" / name).write_bytes(content)


def remove(name):
    return lambda w: (w / "run" / name).unlink()


def truncate(name, share):
    def spoil(w):
        whole = (w / "run" / name).read_bytes()
        (w / "run" / name).write_bytes(whole[: int(len(whole) * share)])

    return spoil


def flip(name, share):
    def spoil(w):
        content = bytearray((w / "run" / name).read_bytes())
        content[int(len(content) * share)] ^= 0x10
        (w / "run" / name).write_bytes(content)

    return spoil


def to_folder(name):
    def spoil(w):
        (w / "run" / name).unlink()
        (w / "run" / name).mkdir()

    return spoil


def settings(**changes):
    """Spoil: change settings in config.json."""

    def spoil(w):
        file = w / "run" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def rename_class(w):
    for part in ("train", "test"):
        (w / "photos" / part / "dog").rename(w / "photos" / part / "hound")


RUNS = [  # name, spoil, command line, words
    ("resume nothing", nothing, ("--resume", "{w}/nowhere"), "holds no run: no config.json"),
    ("resume a file", nothing, ("--resume", "{w}/file"), "holds no run: no config.json"),
    ("resume photos", nothing, ("--resume", "{w}/photos"), "holds no run: no config.json"),
    ("config cut", truncate("config.json", 0.5), RESUME, "config.json' is damaged"),
    ("config empty", truncate("config.json", 0), RESUME, "config.json' is damaged"),
    ("config a list", replace("config.json", b"[1]"), RESUME, "it is no dictionary"),
    ("config not text", replace("config.json", b"\xff\xfe"), RESUME, "is damaged"),
    ("config a folder", to_folder("config.json"), RESUME, "config.json': it is no regular file"),
    ("config with a new word", settings(colour="red"), RESUME, "'colour'"),
    ("config with text for a number", settings(epochs="3"), RESUME, "epochs is '3'"),
    ("config with a number for text", settings(data=7), RESUME, "data is 7"),
    ("config with a part of a photo", settings(seed=1.5), RESUME, "seed is 1.5"),
    ("config with batch 0", settings(batch_size=0), RESUME, "--batch-size must be at least 1"),
    (
        "another variant",
        settings(variant="2012"),
        RESUME,
        "last.safetensors' belongs to another model",
    ),
    ("another width", settings(width=0.03), RESUME, "last.safetensors' belongs to another model"),
    ("other classes", rename_class, RESUME, "not those of the run"),
    ("another optimizer", settings(optimizer="sgd"), RESUME, "has unknown optimizer.m"),
    ("another seed", settings(seed=7), RESUME, "had --seed 0, not 7"),
    ("another rate", settings(lr=0.5), RESUME, "had --lr 0.0002, not 0.5"),
    ("photos gone", lambda w: shutil.rmtree(w / "photos"), RESUME, "photos' does not exist"),
    ("last cut", truncate("last.safetensors", 0.9), RESUME, "is damaged"),
    ("last empty", truncate("last.safetensors", 0), RESUME, "is damaged"),
    ("last, bit in the header", flip("last.safetensors", 0.001), RESUME, "is damaged"),
    ("last, bit in the weights", flip("last.safetensors", 0.7), RESUME, "is damaged"),
    ("last a folder", to_folder("last.safetensors"), RESUME, "is no regular file"),
    (
        "last of another program",
        lambda w: save_file({"x": np.ones(3)}, w / "run/last.safetensors"),
        RESUME,
        "was not written by minialex",
    ),
    (
        "last without progress",
        lambda w: shutil.copy(w / "run/best.safetensors", w / "run/last.safetensors"),
        RESUME,
        "no run",
    ),
    ("best gone", remove("best.safetensors"), RESUME, "best.safetensors' does not exist"),
    ("best damaged", flip("best.safetensors", 0.8), RESUME, "checksum does not match"),
    (
        "resume at another lr",
        nothing,
        (*RESUME, "--lr", "0.1"),
        "--lr cannot be changed when a run is resumed",
    ),
    ("resume on other data", nothing, (*RESUME, "--data", "drawings"), "--data cannot be changed"),
    ("resume elsewhere", nothing, (*RESUME, "--out", "{w}/new"), "--out cannot be changed"),
    (
        "resume with bad workers",
        nothing,
        (*RESUME, "--workers", "-2"),
        "--workers must be 0 or more, got -2",
    ),
    (
        "out holds a run",
        nothing,
        (*PHOTOS, "--out", "{w}/run"),
        "holds a run already; continue it with --resume",
    ),
    ("out is a file", nothing, (*PHOTOS, "--out", "{w}/file"), "cannot make the run folder"),
    (
        "out is below a file",
        nothing,
        (*PHOTOS, "--out", "{w}/file/run"),
        "cannot make the run folder",
    ),
]


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"), [c[1:] for c in RUNS], ids=[c[0] for c in RUNS]
)
def test_runs(w, capsys, spoil, arguments, words):
    spoil(w)
    check(w, capsys, arguments, words)


@as_root
def test_a_folder_that_may_not_be_written(w, capsys):
    (w / "closed").mkdir(mode=0o500)
    arguments = [*PHOTOS, "--out", "{w}/closed/run"]
    check(w, capsys, arguments, "cannot make the run folder", "Permission denied")


def test_a_full_disk_keeps_the_files_of_the_run(w, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    check(w, capsys, RESUME, "cannot write", "No space left on device", "the old file is kept")
