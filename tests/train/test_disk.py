"""A disk that fills up: decoded images leave its room to the checkpoints, or are given up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import tiny_run
from minialex.data import CenterCrop, Compose, DataLoader, ToArray, cache
from minialex.data.cache import ImageCache, cache_bytes, keep_decoded
from minialex.train import saving

TRANSFORM = Compose((CenterCrop(67), ToArray()))


def loader():
    return DataLoader(tiny_run.source().train, 4, TRANSFORM)


@pytest.mark.parametrize("reserve", [0, 10**6, 10**9])
def test_the_room_of_the_checkpoints_is_not_for_the_images(tmp_path, monkeypatch, reserve):
    need = cache_bytes(loader().dataset, Compose((CenterCrop(67),)))
    for free, kept in ((reserve + 2 * need, True), (reserve + 2 * need - 2, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        one = loader()
        line = keep_decoded([one], tmp_path, reserve=reserve)
        assert line.startswith("decoded images are kept") == kept
        assert isinstance(one.dataset, ImageCache) == kept
        assert ("beside the run's files" in line) == (not kept and reserve > 0)


def test_a_run_reserves_what_it_will_save(tmp_path, monkeypatch):
    run, asked = tiny_run.training(tmp_path / "run", epochs=2), []
    real = cache.keep_decoded

    def keep(parts, folder, only_ours, reserve):
        asked.append(reserve)
        return real(parts, folder, only_ours, reserve)

    monkeypatch.setattr("minialex.train.resident.keep_decoded", keep)
    run.train()
    theta = run.optimizer.theta.nbytes
    best_and_lasts = theta + 2 * 3 * theta  # the latter with two moments
    assert asked == [best_and_lasts + saving.OTHERS]


def test_images_that_are_larger_than_thought_are_not_all_kept(tmp_path):
    dataset = tiny_run.source().train  # 80 x 80 pixels
    images = ImageCache(dataset, tmp_path, most=5 * 80 * 80 * 3)
    seen = [images[i][0].tobytes() for i in range(12)]
    assert "keeps 5 images so far" in repr(images)
    assert [images[i][0].tobytes() for i in range(12)] == seen


def test_where_the_disk_refuses_once_nothing_more_is_asked_of_it(tmp_path):
    images = ImageCache(tiny_run.source().train, tmp_path)
    asked = []

    class Full:
        def __getattr__(self, name):
            return getattr(file, name)

        def write(self, pixels):
            asked.append(len(pixels))
            raise OSError(28, "No space left on device")

    file, images._file = images._file, Full()
    for i in range(5):
        images[i]
    assert len(asked) == 1 and "keeps 0 images" in repr(images)


def can_mount(folder):
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True)
    return done.returncode == 0


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount")
@pytest.mark.parametrize("kilobytes", [900, 1300, 2600, 3000, 3400, 3800, 5000])
def test_on_a_small_disk_a_run_ends_well_or_says_that_it_is_small(tmp_path, kilobytes):
    if not can_mount(tmp_path):
        pytest.skip("only root mounts")
    try:
        command = ["mount", "-o", f"remount,size={kilobytes}k", str(tmp_path)]
        subprocess.run(command, check=True)
        program = [sys.executable, str(Path(tiny_run.__file__)), "--out", "run", "--epochs=2"]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
        if done.returncode:
            assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
            assert "free, but the run needs" in done.stderr, done.stderr
            assert not os.listdir(tmp_path)
        else:
            assert (tmp_path / "run" / "result.json").exists()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
