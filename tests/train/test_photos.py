"""A run keeps its photos: through other photos, other folders, damage; and so does evaluate."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from bad_input import refused, snapshot
from device import DEVICE
from minialex.commands.evaluate import open_images
from minialex.commands.main import main
from minialex.data import open_source
from minialex.errors import CheckpointError, DataError
from minialex.train.photos import DAMAGED, RunPhotos
from minialex.train.run import RunFolder

TINY = (
    "--width=0.02", "--image-size=67", "--batch-size=4", "--workers=0", "--device", DEVICE,
    "--augment=none", "--colour-shift=0",
)  # fmt: skip


PART = '{"folder": "x", "files": {"a.png": ["tra8n", "cat", "1-2"]}, "left_out": {}}'


def paint(path, number, end=None):
    pixels = np.random.default_rng(number).integers(0, 256, (72, 80, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, end)


def scramble(path):
    """Damage that only decoding shows."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 99] = bytes(b ^ 0x55 for b in data[middle : middle + 99])
    path.write_bytes(data)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Sixteen photos in two classes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("cat", "dog")):
        for i in range(8):
            paint(tmp_path / "photos" / name / f"{i}.png", 100 * k + i)
    return tmp_path / "photos"


def train(*arguments):
    return main(["train", *TINY, "--data", "photos", "--out", "run", *arguments])


def resume(*arguments):
    return main(["train", "--resume", "run", *arguments])


def parts(run):
    """{part: files}."""
    found = {"train": set(), "val": set(), "test": set()}
    for file, (part, *_) in RunPhotos.read(run).files.items():
        found[part].add(file)
    return found


def test_photos_that_come_move_none_and_those_that_go_are_missed(photos, capsys):
    run = photos.parent / "run"
    assert train("--epochs=1", "--keep-last") == 0
    before, source = parts(run), open_source("photos", seed=0)
    assert {p: len(files) for p, files in before.items()} == {
        part: len(getattr(source, part)) for part in before
    }
    for i in range(5):
        paint(photos / "cat" / f"new{i}.png", 500 + i)
    capsys.readouterr()
    assert resume("--epochs=2") == 0
    assert parts(run) == before
    assert "left out: 5 photos that are new since the run began" in capsys.readouterr().out
    (photos / "cat" / "3.png").unlink()
    paint(photos / "dog" / "2.png", 900)
    with refused(DataError, "2 photos in", "'cat/3.png' is gone", "'dog/2.png' is another one"):
        resume("--epochs=3")


def test_a_run_goes_on_with_its_own_folder_from_anywhere(photos, tmp_path, monkeypatch, capsys):
    assert train("--epochs=1", "--keep-last") == 0
    other = tmp_path / "elsewhere"
    for k, name in enumerate(("cat", "dog")):
        for i in range(8):
            paint(other / "photos" / name / f"{i}.png", 700 + 100 * k + i)
    monkeypatch.chdir(other)
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "run"), "--epochs=2"]) == 0
    assert f"photos in {str(photos)!r}" in capsys.readouterr().out
    settings = RunFolder(tmp_path / "run").settings()
    test, _ = open_images(None, None, settings, tmp_path / "run")
    assert {path for path, _ in test.samples} == {
        str(photos / file) for file in parts(tmp_path / "run")["test"]
    }
    spec = str(photos)  # by its own name: no more than its test photos
    assert len(open_images(spec, None, settings, tmp_path / "run")[0]) == len(test)
    shutil.rmtree(photos)
    with refused(DataError, str(photos), "does not exist"):
        main(["train", "--resume", str(tmp_path / "run"), "--epochs=3"])


def test_all_bad_photos_are_listed_before_the_first_step(photos, capsys):
    (photos / "cat" / "0.png").write_bytes(b"")
    (photos / "dog" / "1.png").write_bytes((photos / "dog" / "1.png").read_bytes()[:900])
    (photos / "dog" / "2.png").write_bytes(b"<html>404</html>")
    with refused(DataError, "3 of 16 photos cannot be read", "--skip-damaged"):
        train()
    out = capsys.readouterr().out
    assert all(out.count(name) == 1 for name in ("cat/0.png", "dog/1.png", "dog/2.png"))
    assert not (photos.parent / "run").exists()
    assert train("--epochs=1", "--skip-damaged", "--keep-last") == 0
    kept = RunPhotos.read(photos.parent / "run")
    assert len(kept.files) == 13 and set(kept.left_out) == {"cat/0.png", "dog/1.png", "dog/2.png"}
    assert "left out: 3 of 16 photos" in capsys.readouterr().out
    assert resume("--epochs=2") == 0  # remembered
    assert "new since" not in capsys.readouterr().out


def noted(run):
    """The files of which a run knows that they are damaged."""
    return [file for file, place in RunPhotos.read(run).files.items() if place[2] == DAMAGED]


def in_part(run_photos, part):
    return next(file for file, (own, *_) in run_photos.files.items() if own == part)


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("cache", ["--cache", "--no-cache"])
def test_damage_that_only_decoding_shows(photos, capsys, part, cache):
    assert train("--epochs=2", "--limit=14", cache) == 0
    run = photos.parent / "run"
    bad = in_part(RunPhotos.read(run), part)
    shutil.rmtree(run)
    scramble(photos / bad)
    with refused(DataError, bad, "damaged", "--resume run --skip-damaged"):
        train("--epochs=2", "--limit=14", cache)
    kept = RunPhotos.read(run)
    assert noted(run) == [bad]
    history = (run / "history.csv").read_text() if (run / "history.csv").exists() else ""
    with refused(DataError, bad, "--skip-damaged"):
        resume()
    assert resume("--skip-damaged") == 0
    after = RunPhotos.read(run)
    assert bad in after.left_out and after.files.keys() == kept.files.keys() - {bad}
    assert not noted(run) and (run / "history.csv").read_text().startswith(history)
    assert (run / "result.json").exists()


def test_one_that_was_mended_goes_on(photos, capsys):
    run = photos.parent / "run"
    whole = (photos / "cat" / "0.png").read_bytes()
    scramble(photos / "cat" / "0.png")
    with refused(DataError, "cat/0.png"):
        train("--epochs=1")
    (photos / "cat" / "0.png").write_bytes(whole)
    assert resume() == 0
    assert "cat/0.png" in RunPhotos.read(run).files and not noted(run)


def test_one_that_is_gone_is_no_damaged_one(photos):
    assert train("--epochs=1", "--keep-last") == 0
    (photos / "cat" / "3.png").unlink()
    for options in ((), ("--skip-damaged",)):
        with refused(DataError, "'cat/3.png' is gone"):
            resume("--epochs=2", *options)


@pytest.mark.parametrize("colours", ["--colour-shift=0", "--colour-shift=0.1"])
def test_a_run_that_skips_names_each_damaged_photo_once(photos, capsys, colours):
    bad = {"cat/0.png", "cat/3.png", "cat/5.png", "dog/3.png", "dog/4.png"}
    for name in bad:
        scramble(photos / name)
    (photos / "dog" / "7.png").write_bytes(b"")
    assert train("--epochs=2", "--skip-damaged", colours) == 0
    assert set(RunPhotos.read(photos.parent / "run").left_out) == bad | {"dog/7.png"}
    out = capsys.readouterr().out
    assert out.count("device: ") == 1
    assert [out.count(f"{name}': ") for name in sorted(bad | {"dog/7.png"})] == [1] * 6


def test_damage_found_before_the_run_has_a_folder(photos):
    scramble(photos / "cat" / "0.png")
    with refused(DataError, "cat/0.png", "to go on: --skip-damaged"):
        train("--epochs=1", "--colour-shift=0.1")


def test_a_photos_json_of_an_earlier_version(photos):
    assert train("--epochs=1", "--keep-last") == 0
    file = photos.parent / "run" / "photos.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "damaged": ["cat/0.png"]}))
    paint(photos / "cat" / "0.png", 999)  # mended
    assert resume("--epochs=2") == 0
    assert "damaged" not in json.loads(file.read_text()) and not noted(photos.parent / "run")
    file.write_text(json.dumps({**json.loads(file.read_text()), "damaged": ["cat/9.png"]}))
    with refused(CheckpointError, "photos.json' is damaged"):
        resume("--epochs=3")


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_without_photos_to_learn_from_is_no_class(photos, tmp_path, part):
    for name in ("cat", "dog"):
        for i in range(3):
            (photos / name / f"{i}.png").unlink()
    for folder in ("train", "val", "test"):
        shutil.copytree(photos, tmp_path / "all" / folder)
    for i in range(3, 8):
        (tmp_path / "all" / part / "cat" / f"{i}.png").write_bytes(b"")
    if part == "train":
        with refused(DataError, "train has no photo of 'cat' left that can be read"):
            train("--data=all", "--epochs=1", "--skip-damaged")
    else:
        assert train("--data=all", "--epochs=1", "--skip-damaged", "--keep-last") == 0
        for i in range(3, 8):
            (tmp_path / "all" / part / "dog" / f"{i}.png").unlink()
        file = tmp_path / "run" / "photos.json"
        text = json.loads(file.read_text())
        for i in range(3, 8):
            text["files"][f"val/dog/{i}.png"][2] = DAMAGED
        file.write_text(json.dumps(text))
        with refused(DataError, "val has no photo of 'dog' left that can be read"):
            resume("--epochs=2", "--skip-damaged")


def test_a_limit_holds_for_the_whole_run(photos, capsys):
    assert train("--epochs=1", "--limit=8", "--keep-last") == 0
    kept = RunPhotos.read(photos.parent / "run")
    assert len(kept.files) == 8 and list(kept.left_out.values()) == ["beyond --limit"] * 8
    assert resume("--epochs=2") == 0
    assert RunPhotos.read(photos.parent / "run") == kept
    assert "new since" not in capsys.readouterr().out


def test_a_limit_counts_the_photos_that_cannot_be_read(photos):
    assert train("--epochs=1", "--limit=8") == 0
    bad = sorted(parts(photos.parent / "run")["train"])[0]
    shutil.rmtree(photos.parent / "run")
    (photos / bad).write_bytes(b"")
    assert train("--epochs=1", "--limit=8", "--skip-damaged") == 0
    kept = RunPhotos.read(photos.parent / "run")
    assert len(kept.files) == 7 and kept.left_out[bad] != "beyond --limit"


def test_equal_photos_are_told(photos, capsys):
    shutil.copy(photos / "cat" / "0.png", photos / "dog" / "copy.png")
    for i in range(8):
        shutil.copy(photos / "cat" / f"{i}.png", photos / "cat" / f"again{i}.png")
    train("--epochs=1")
    out = capsys.readouterr().out
    assert "photos are in two classes, byte for byte" in out and "'dog/copy.png' (dog)" in out
    assert "photos are in two parts, byte for byte" in out


def test_a_run_that_noted_no_photos_is_not_tested_on_those_it_learned(photos):
    assert train("--epochs=1", "--keep-last") == 0
    run = photos.parent / "run"
    (run / "photos.json").unlink()
    before = snapshot(run)
    with refused(CheckpointError, "no photos.json", "--weights"):
        resume("--epochs=2")
    for spec in (None, "photos"):
        with refused(CheckpointError, "no photos.json", "--data"):
            open_images(spec, "test", RunFolder(run).settings(), run)
    assert snapshot(run) == before
    shutil.copytree(photos, photos.parent / "others")
    assert open_images("others", None, RunFolder(run).settings(), run)[1].startswith("all photos")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"folder": 3}', PART, "[" * 100_000, "\xff"]
)
def test_a_photos_json_that_is_damaged(photos, text):
    assert train("--epochs=1", "--keep-last") == 0
    run = photos.parent / "run"
    (run / "photos.json").write_text(text, encoding="latin-1")
    before = snapshot(run)
    with refused(CheckpointError, "photos.json' is damaged", "start a new run"):
        resume("--epochs=2")
    assert snapshot(run) == before


def test_evaluate_looks_at_the_photos_that_the_run_kept(photos, capsys):
    assert train("--epochs=1") == 0
    run = photos.parent / "run"
    for i in range(9):
        paint(photos / "cat" / f"more{i}.png", 300 + i)
    test, _ = open_images(None, None, RunFolder(run).settings(), run)
    assert len(test) == len(parts(run)["test"])
    paint(photos / sorted(parts(run)["test"])[0], 999)
    with refused(DataError, "is another one"):
        open_images(None, None, RunFolder(run).settings(), run)
