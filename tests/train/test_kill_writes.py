"""A run that dies while it writes a file, wherever it can, and goes on as if it had not."""

import json
import os
import re
import stat
from pathlib import Path

import pytest

import tiny_run
from minialex.train.checkpoint import load_checkpoint


class Death(BaseException):
    """Like SIGKILL: no handler of the package catches it, so nothing is tidied up."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Two epochs of one step; a death like these costs no more than a process has in memory."""
    source = tiny_run.source(4)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(tiny_run, "source", lambda: source)
    monkeypatch.setattr(tiny_run, "OPTIONS", tiny_run.OPTIONS | {"epochs": 2, "workers": 0})


def plain(path):
    """The name of a file; of a temporary one, without its random part."""
    return re.sub(r"\.[0-9a-f]{8}\.tmp$", ".tmp", Path(path).name)


def die_at(patch, moment):
    """Raise Death at index `moment` of the list that this returns and a run fills.

    Its items are (what is done, the file).
    """
    moments, opened = [], []
    make, force, rename, unlink = os.open, os.fsync, os.replace, Path.unlink

    def is_dead():
        return moment is not None and len(moments) > moment

    def reached(what, path, damage=lambda: None):
        moments.append((what, plain(path)))
        if len(moments) - 1 == moment:
            damage()
            raise Death

    def watched_open(path, flags, mode=0o777):
        if Path(path).suffix != ".tmp":
            return make(path, flags, mode)
        reached("before opening", path)
        handle = make(path, flags, mode)
        opened.append(path)
        reached("opened", path)
        return handle

    def watched_fsync(handle):
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            size = os.fstat(handle).st_size
            reached("half written", opened[-1], lambda: os.ftruncate(handle, size // 2))
            force(handle)
            reached("written", opened[-1])

    def watched_rename(old, new):
        reached("before renaming", old)
        rename(old, new)
        reached("renamed", old)

    def watched_unlink(path, missing_ok=False):
        if is_dead():  # the dead do not tidy up
            return
        watched = path.exists() and path.suffix != ".tmp"
        if watched:
            reached("before removing", path)
        unlink(path, missing_ok=missing_ok)
        if watched:
            reached("removed", path)

    patch.setattr(Path, "unlink", watched_unlink)
    patch.setattr(os, "open", watched_open)
    patch.setattr(os, "fsync", watched_fsync)
    patch.setattr(os, "replace", watched_rename)
    return moments


def outcome(folder):
    """All that a run leaves, except how long it took."""
    names = [name for name in ("best", "last") if (folder / f"{name}.safetensors").exists()]
    files = [load_checkpoint(folder / f"{name}.safetensors") for name in names]
    parts, headers = zip(*files, strict=True)
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"], result["images_per_s"]
    for progress in (header["progress"] for header in headers[1:]):
        del progress["seconds"]
        for row in progress["history"]:
            del row["images_per_s"]
    lines = (folder / "history.csv").read_text().splitlines()
    history = [line.rpartition(",")[0] for line in lines]
    numbers = [{name: array.tobytes() for name, array in part.items()} for part in parts]
    config = (folder / "config.json").read_text()
    return numbers, headers, result, history, config, sorted(os.listdir(folder))


@pytest.mark.parametrize("keep", [True, False], ids=["last is kept", "last is dropped"])
def test_death_at_any_moment_of_any_write_leaves_no_trace(tmp_path, keep):
    options = [] if keep else ["--no-keep-last"]
    with pytest.MonkeyPatch.context() as patch:
        moments = die_at(patch, None)
        assert tiny_run.main(["--out", str(tmp_path / "whole"), *options]) == 0
    whole = outcome(tmp_path / "whole")
    files = ["config.json", "best.safetensors", "last.safetensors", "history.csv", "result.json"]
    files += ["curves.svg"]
    assert {f".{name}.tmp" for name in files} == {file for _, file in moments if file[0] == "."}
    assert ("renamed", "last.safetensors") in moments  # it became last-1
    assert sorted(name for name in files if keep or name[:4] != "last") == whole[-1]

    for moment, name in enumerate(moments):
        folder = tmp_path / str(moment)
        with pytest.MonkeyPatch.context() as patch:
            seen = die_at(patch, moment)
            with pytest.raises(Death):
                tiny_run.main(["--out", str(folder), *options])
        assert seen[-1] == name
        begun = (folder / "config.json").exists()
        assert tiny_run.main(["--resume" if begun else "--out", str(folder), *options]) == 0
        assert outcome(folder) == whole, name
