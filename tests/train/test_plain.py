"""--plain: a run whose pages compute as they stand, without their twins; and back again."""

import json

import numpy as np
import pytest

import tiny_run
from bad_input import refused
from device import DEVICE, assert_allclose
from minialex import losses
from minialex.errors import ConfigError
from minialex.params import family
from minialex.train.checkpoint import load_checkpoint
from minialex.train.loop import Training
from minialex.twin import Twin, page_of


def forms(run):
    """The classes of all layers and of the optimizer."""
    return [type(part) for part in (*family(run.model), run.optimizer)]


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs the program on the tiny drawings; its status and the tensors that it leaves."""
    # Not Adam, whose first steps are as large where the gradient is rounding alone.
    options = {"epochs": 2, "optimizer": "sgd", "lr": 1e-3}
    monkeypatch.setattr(tiny_run, "OPTIONS", tiny_run.OPTIONS | options)

    def run(name, *arguments):
        status = tiny_run.main([*map(str, arguments)])
        return status, load_checkpoint(tmp_path / name / "last.safetensors")[0]

    return run


def test_a_plain_run_is_made_of_pages_alone(tmp_path):
    run = tiny_run.training(tmp_path / "plain", plain=True)
    assert forms(run) == [page_of(part) for part in (*family(run.model), run.optimizer)]
    assert run.loss is losses.softmax_cross_entropy
    fast = tiny_run.training(tmp_path / "fast")
    assert any(issubclass(form, Twin) for form in forms(fast)) and forms(fast)[-1] != forms(run)[-1]


def test_a_plain_run_ends_like_an_accelerated_one(tmp_path, command):
    status, plain = command("plain", "--out", tmp_path / "plain", "--plain")
    assert status == 0
    assert json.loads((tmp_path / "plain" / "config.json").read_text())["plain"] is True
    assert json.loads((tmp_path / "plain" / "result.json").read_text())["best_epoch"] in (1, 2)
    _, fast = command("fast", "--out", tmp_path / "fast")
    for name, array in fast.items():
        assert_allclose(plain[name], array, rtol=1e-5, atol=1e-5)
    if DEVICE == "cpu":  # Winograd's method rounds differently, so it did not run in both
        assert not np.array_equal(plain["features.0.weight"], fast["features.0.weight"])


@pytest.mark.parametrize("change", [("--plain", "--no-plain"), ("--no-plain", "--plain")])
def test_a_resumed_run_may_change_between_pages_and_twins(tmp_path, command, change, monkeypatch):
    _, whole = command("whole", "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        end_epoch = Training.end_epoch

        def stop(run):
            end_epoch(run)
            run.stop.asked = True

        patch.setattr(Training, "end_epoch", stop)
        assert command("run", "--out", tmp_path / "run", change[0])[0] == 130
    status, tensors = command("run", "--resume", tmp_path / "run", change[1])
    assert status == 0
    for name, array in whole.items():
        assert_allclose(tensors[name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("option", [("--algorithm", "winograd"), ("--memory-limit", "1GB")])
def test_what_only_twins_can_do_is_refused(tmp_path, option):
    with refused(ConfigError, "--plain", option[0], "leave one of them out"):
        tiny_run.main(["--out", str(tmp_path / "run"), "--plain", *option])
    assert not (tmp_path / "run").exists()
