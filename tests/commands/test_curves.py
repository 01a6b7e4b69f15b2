"""minialex curves: runs side by side, names that tell them apart, what cannot be read."""

import os
import re

import pytest

from bad_input import refused
from minialex.commands import curves
from minialex.commands.curves import names
from minialex.errors import CheckpointError, MinialexError
from minialex.train.run import COLUMNS, RunFolder
from trained import command


@pytest.fixture
def runs(tmp_path):
    rows = [dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch} for epoch in (1, 2)]
    paths = [tmp_path / name / "run" for name in ("xa", "xb")]
    for path in paths:
        path.mkdir(parents=True)
        RunFolder(path).write_history(rows)
        assert RunFolder(path).read_history() == rows
    return paths


def test_several_runs_in_one_picture(runs, tmp_path, capsys):
    out = tmp_path / "both.svg"
    assert command("curves", *runs, "--out", out, device=False) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert re.findall('class="name">(.*?)<', out.read_text()) == ["xa/run", "xb/run"] * 2


def test_names_tell_runs_apart(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a/x/run", "b/x/run", "b/y/run")]
    assert list(names(paths)) == ["a/x/run", "b/x/run", "b/y/run"]
    assert list(names(paths[1:])) == ["x/run", "y/run"]
    assert list(names([paths[0], paths[0]])) == ["run"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert list(names([tmp_path.relative_to(tmp_path)])) == ["here"]


def test_histories_that_cannot_be_read(runs, tmp_path):
    file = runs[1] / "history.csv"
    for text in (None, "", "epoch\n1\n", ",".join(COLUMNS) + "\n"):
        file.unlink() if text is None else file.write_text(text)
        with pytest.raises(CheckpointError, match=r"history.csv': |'.*run' has not "):
            command("curves", *runs, device=False)


def test_places_that_cannot_be_written(runs, tmp_path):
    for name, why in (("missing/curves.svg", "No such file"), ("curves.png", "end with .svg")):
        with refused(MinialexError, "cannot write", why):
            command("curves", runs[0], "--out", tmp_path / name, device=False)
    assert not (tmp_path / "curves.png").exists()


def test_the_help_has_an_example():
    parser = curves.parser()
    assert f"  {parser.prog} runs/first" in parser.format_help()


@pytest.mark.parametrize("place", ["", "/", "{w}", "{w}/" + 300 * "x" + ".svg", "{w}/file/a.svg"])
def test_odd_places_are_one_line(runs, tmp_path, place, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    with refused(MinialexError, "cannot write"):
        command("curves", runs[0], "--out", place.format(w=tmp_path), device=False)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_links_in_a_circle_are_one_line(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with refused(CheckpointError, "history.csv': "):
        curves.main(curves.parser().parse_args([str(tmp_path / "loop")]))


def test_a_pipe_in_place_of_a_history_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "history.csv")
    with refused(CheckpointError, "history.csv': it is no regular file"):
        command("curves", tmp_path, device=False)


@pytest.mark.parametrize("epoch", ["nan", "inf", "1e999", "x"])
def test_a_history_of_odd_numbers_is_one_line(tmp_path, epoch):
    lines = [",".join(COLUMNS), f"{epoch},0.5,0.5,0.5,0.5,1"]
    (tmp_path / "history.csv").write_text("\n".join(lines))
    with refused(CheckpointError, "history.csv': "):
        command("curves", tmp_path, device=False)
