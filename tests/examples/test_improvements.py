"""examples/improvements/improvements.py: tiny runs end to end, pairs, bad options."""

import json
import math
import sys

import numpy as np
import pytest
from PIL import Image

import device_comparison as gpu
import improvements
import programme
import runs
from bad_input import refused, snapshot
from claims import ARMS, EXPERIMENTS
from device import DEVICE
from minialex.data import DataLoader
from minialex.errors import ConfigError, DataError, DeviceError
from minialex.train.evaluation import evaluate
from minialex.train.run import Config
from plan import SMALL, Design, Plan
from plots import draw
from report import rows_of

TINY = Design(width=1 / 16, side=67, images=12, test_images=4, epochs=2)
PLAN = Plan(epochs=2, images=12, test_images=4, run_seconds={}, seconds=0)
FOREVER = 1e18


@pytest.fixture(autouse=True)
def quickly_measured(monkeypatch):
    """Tests give a plan all the time that it could want, however wrong the speeds are."""
    monkeypatch.setattr(programme, "MEASURED", 0.05)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Twelve drawings to train on and four to be tested on."""
    path = tmp_path_factory.mktemp("images") / "0.safetensors"
    assert runs.prepare("drawings", 0, TINY, path)[:2] == (12, 4)
    return path


def measurement(file, arm, seed=0, epochs=2):
    config = runs.config_of(arm, seed, TINY, epochs)
    return runs.Measurement(config, runs.load(file, 12, 4), FOREVER)


# ------------------------------------------------------------------------------------------ one run


@pytest.mark.parametrize("arm", ARMS)
def test_arms_of_a_seed_share_their_initial_weights_and_the_order_of_images(file, arm):
    one, other = measurement(file, "standard"), measurement(file, arm)
    theta = one.optimizer.theta
    assert theta.shape == other.optimizer.theta.shape
    same = ARMS[arm].get("init") is None
    assert np.array_equal(theta, other.optimizer.theta) == same
    np.testing.assert_array_equal(one.loader.order(1), other.loader.order(1))
    assert not np.array_equal(theta, measurement(file, arm, seed=1).optimizer.theta)


def test_the_curve_is_measured_without_dropout_and_without_augmentation(file):
    run = measurement(file, "crops, colours")
    assert len(run.train()) == 2 and len(run.curve) == 3
    plain = DataLoader(run.loader.dataset, 32, run.val.transform)
    loss, accuracy = evaluate(run.model, plain)
    assert math.isclose(run.curve[-1]["train_loss"], loss, rel_tol=1e-6)
    assert run.curve[-1]["train_error"] == 1 - accuracy
    assert run.curve[-1]["test_error"] == 1 - evaluate(run.model, run.val)[1]
    assert run.history[-1]["train_loss"] != loss  # that of the running epoch is another


def test_a_run_keeps_no_files(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(runs.train("LRN", 0, file, TINY, PLAN, FOREVER)["curve"]) == 3
    assert not snapshot(tmp_path)


def test_a_run_gives_up_when_time_is_over(file):
    result = runs.train("standard", 0, file, TINY, PLAN, deadline=0)
    assert "curve" not in result and result["failed"].endswith("of 2, out of time")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers overflow, in all threads
def test_a_run_that_diverges_is_not_counted(file, monkeypatch):
    monkeypatch.setitem(ARMS, "standard", {"optimizer": "sgd", "lr": 1e30, "warm_up": 0})
    result = runs.train("standard", 0, file, TINY, PLAN, FOREVER)
    assert "curve" not in result and "became" in result["failed"]


def test_classes_take_turns():
    labels = np.array([0, 0, 0, 0, 1, 1])
    assert labels[runs.mixed(labels)[:3]].tolist() in ([0, 1, 0], [0, 0, 1])
    assert sorted(runs.mixed(labels)) == [0, 1, 2, 3, 4, 5]
    labels = np.repeat([0, 1], 50)
    assert np.bincount(labels[runs.mixed(labels)[:20]]).tolist() == [10, 10]


def test_photos_are_reduced_to_their_middle_square(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 5), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(count):
                photo = Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
                photo.save(tmp_path / "photos" / part / name / f"{i}.png")
    train, test, text = runs.prepare(str(tmp_path / "photos"), 0, TINY, tmp_path / "0.safetensors")
    source = runs.load(tmp_path / "0.safetensors", 100, 100)
    assert (train, test) == (len(source.train), len(source.test)) == (8, 4)
    assert "8 for training" in text
    assert source.test[0][0].size == (76, 76) and source.classes == ["class 0", "class 1"]


# ---------------------------------------------------------------------------------------- all of it


def test_numbers_do_not_depend_on_how_many_processes_there_are(monkeypatch):
    curves = []
    for cores in (1, 3):
        monkeypatch.setattr(programme, "cpu_count", lambda cores=cores: cores)
        results = programme.run_programme(
            ["lrn"], "drawings", 3, 1e6, TINY, improvements.time.time(), print
        )
        curves.append({(run["arm"], run["seed"]): run["curve"] for run in results["runs"]})
    assert curves[0] == curves[1] and len(curves[0]) == 6


def test_after_ctrl_c_what_is_finished_is_reported():
    lines = []

    def report(line):
        lines.append(line)
        if line.startswith("  2/6"):
            raise KeyboardInterrupt

    results = programme.run_programme(
        ["lrn"], "drawings", 3, 1e6, TINY, improvements.time.time(), report
    )
    assert len(results["runs"]) == 2 and lines[-1].startswith("stopped by Ctrl-C")


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["improvements.py", *map(str, arguments)])
    handler = improvements.signal.getsignal(improvements.signal.SIGTERM)
    try:
        return improvements.main()
    finally:
        improvements.signal.signal(improvements.signal.SIGTERM, handler)


def test_all_from_end_to_end(tmp_path, monkeypatch, capsys):
    def refuse(device):
        raise DeviceError("no GPU")

    monkeypatch.setattr(improvements, "SMALL", TINY)
    monkeypatch.setattr(gpu, "choose_device", refuse)
    assert call(monkeypatch, "all", "--seeds", 3, "--budget", 1000, "--out", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "gpu: not measured, for want of a GPU (no GPU)" in text and "27/27" in text
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["runs"]) == 27 and results["plan"]["epochs"] == 2
    assert {len(row["seeds"]) for row in results["comparisons"]} == {3}
    assert (tmp_path / "out" / "table.md").read_text() in text
    for name in EXPERIMENTS:
        assert (tmp_path / "out" / f"{name}.png").exists() == (name != "gpu")


def test_gpu_alone_says_whether_there_is_one(tmp_path, monkeypatch, capsys):
    small = Config(batch_size=4, workers=0, width=1 / 16, image_size=67)
    monkeypatch.setattr(improvements, "Config", lambda **_: small)
    assert call(monkeypatch, "gpu", "--out", tmp_path / "out") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    if DEVICE == "gpu":
        assert len(results["gpu"]["cpu"]) == len(results["gpu"]["gpu"]) == 5
        assert "a training step took" in capsys.readouterr().out
    else:
        assert results["gpu"]["verdict"] in ("not measured", "held", "did not hold", "not decided")


def test_steps_are_timed_on_the_cpu():
    config = Config(batch_size=2, workers=0, width=1 / 16, image_size=67)
    seconds = gpu.step_seconds("cpu", 2, config)
    assert len(seconds) == 2 and min(seconds) > 0


# -------------------------------------------------------------------------------------- bad options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "2"], "--seeds must be from 3"),
        (["--budget", "0"], "--budget a number of minutes above 0"),
        (["--budget", "nan"], "--budget a number"),
        (["--budget", "0.1"], "--budget is too small"),
        (["--out", "{w}"], "holds results already"),
        (["--out", "{w}/results.json/new"], "cannot make the folder"),
        (["--data", "{w}/nothing"], "no folder"),
    ],
)
def test_bad_options_give_one_line(options, words, tmp_path, monkeypatch):
    (tmp_path / "results.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    design = Design(width=1 / 16, side=67, images=64, test_images=4)
    monkeypatch.setattr(improvements, "SMALL", design)
    before = snapshot(tmp_path)
    with refused(ConfigError if "nothing" not in options[1] else DataError, words):
        call(monkeypatch, "lrn", *(option.format(w=tmp_path) for option in options))
    assert snapshot(tmp_path) == before


def test_an_unknown_experiment_is_refused_by_its_name(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "batchnorm")
    assert "invalid choice: 'batchnorm'" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- pictures


def made_up_runs():
    return [
        {
            "arm": arm, "seed": seed, "steps_per_epoch": 10, "seconds": 1.0,
            "curve": [
                {"train_error": 0.5 - 0.1 * e, "test_error": 0.5 - 0.01 * (k + seed) * e}
                for e in range(4)
            ],
        }
        for k, arm in enumerate(ARMS) for seed in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "gpu"])
def test_pictures_are_drawn(name, tmp_path):
    draw(name, rows_of([name], made_up_runs()), made_up_runs(), tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert picture.shape[1] > 1000 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_without_matplotlib_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    improvements.draw_all(
        ["lrn", "relu"], rows_of(["lrn", "relu"], made_up_runs()), made_up_runs(), tmp_path
    )
    assert capsys.readouterr().out.count("no pictures: matplotlib is not installed") == 1
    assert not list(tmp_path.iterdir())


def test_the_default_is_the_small_design():
    assert improvements.SMALL is SMALL and improvements.parser().parse_args(["relu"]).budget == 60
