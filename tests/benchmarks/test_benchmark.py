"""The benchmark: its rows, its layers and scaling, and its bad options as one line."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import bench_ours
import bench_scaling
import benchmark
from bench_children import BenchmarkError, in_turn, ours, running
from bench_layers import layer_rows, layer_table, work
from bench_machine import Speeds
from bench_ours import Stopwatch, build
from bench_rows import PARTS
from minialex import fast
from minialex.attach import accelerate
from minialex.errors import ConfigError
from minialex.fast.threads import cpu_count
from minialex.layers import ReLU, Sequential
from minialex.train.memory import step_bytes
from minialex.use.summary import multiply_adds

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "benchmark.py"
NO_LIMITS = {"threads": None, "memory_limit": None}
TINY = {"variant": "vgg", "lrn": False, "image_size": 16, "batch_size": 2, **NO_LIMITS}
SPEEDS = Speeds(threads=2, products=2e9, products_of_one=1e9, copies=1e9, copies_of_one=1e9)


def run(*arguments, **options):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


# --------------------------------------------------------------------------------------------- rows


def test_minialex_alone_gives_a_row_for_each_phase(tmp_path, capsys):
    out = tmp_path / "rows.json"
    size = ["--variant=vgg", "--image-size=16", "--batch-size=2"]
    options = benchmark.parser().parse_args([*size, "--rounds=1", f"--json={out}"])
    rows = []
    benchmark.compare(options, benchmark.check(options), None, rows)
    assert not out.exists()  # it is written at the end
    benchmark.save(rows, out)
    assert json.loads(out.read_text()) == rows
    assert [row["phase"] for row in rows] == ["train", "inference"]
    for row in rows:
        assert row.items() >= TINY.items()
        assert row["ratio"] is row["torch_best_s"] is row["torch_rss_mb"] is None
        assert 0 < row["ours_s"] == pytest.approx(sum(row["ours"]["parts_s"].values()))
        assert row["ours"]["images_per_s"] == 2 / row["ours_s"]
        assert 30 < row["ours_rss_mb"] < 4000
    assert set(rows[0]["ours"]["parts_s"]) == set(PARTS)
    assert min(rows[0]["ours"]["parts_s"].values()) > 0
    shown = capsys.readouterr().out
    assert all(benchmark.table(row) in shown for row in rows)


def made_up(*seconds, rss=100):
    return [{"seconds": s, "parts": dict.fromkeys(PARTS, s / 5), "rss_mb": rss} for s in seconds]


def test_a_comparison_takes_medians_and_pytorchs_best_setting():
    steps = {
        "minialex": made_up(0.3, 9, 0.2, 0.1),  # even: the lower median, a step that took place
        "PyTorch, default Adam": made_up(0.8, 0.8, 0.1, 0.8),
        "PyTorch, fused Adam": made_up(0.5, 7, 0.4, 0.4, rss=160),
    }
    row = benchmark.comparison(TINY | {"phase": "train"}, steps)
    assert (row["ours_s"], row["torch_best_s"], row["ratio"]) == (0.2, 0.4, 0.5)
    assert row["torch_best"] == "PyTorch, fused Adam"
    assert (row["ours_rss_mb"], row["torch_rss_mb"]) == (100, 160)
    assert row["ours"].items() >= {"lowest_s": 0.1, "highest_s": 9, "images_per_s": 10}.items()
    assert row["torch"]["PyTorch, default Adam"]["s"] == 0.8
    assert sum(row["ours"]["parts_s"].values()) == pytest.approx(row["ours_s"])
    text = benchmark.table(row)
    assert "time 0.50, memory 0.62" in text and all(name in text for name in steps)


def test_each_phase_has_its_settings_of_pytorch():
    names = [c.name for c in benchmark.contenders(TINY | {"phase": "train"}, "python")]
    adams = ("default Adam", "fused Adam", "channels-last", "channels-last, fused Adam")
    assert names == ["minialex", *(f"PyTorch, {adam}" for adam in adams)]
    names = [c.name for c in benchmark.contenders(TINY | {"phase": "inference"}, "python")]
    assert names == ["minialex", "PyTorch, default", "PyTorch, channels-last"]


# ------------------------------------------------------------------------------- layers and scaling


def test_layers_are_timed_within_a_step():
    case = TINY | {"phase": "train", "layers": True}
    with running([ours(case)]) as (child,):
        (steps,) = in_turn([child], 1)
    rows = layer_rows(child.about, steps, 2, SPEEDS)
    model, _ = build(case)
    leaves = [name for name, _ in model.leaves()]
    names = [f"{name} {direction}" for direction in ("forward", "backward") for name in leaves]
    assert [row["name"] for row in rows[:-2]] == names
    assert sum(row["s"] for row in rows) == pytest.approx(steps[0]["seconds"])
    assert rows[0]["layer"] in layer_table(rows)
    # 0.0 is 3 -> 64 filters of 3 x 3 on two images of 16 x 16
    assert rows[0]["gflop_per_s"] * rows[0]["s"] * 1e9 == pytest.approx(2 * 2 * 16 * 16 * 27 * 64)
    assert rows[0]["products_share"] == pytest.approx(rows[0]["gflop_per_s"] / 2)
    assert rows[0]["copies_share"] == pytest.approx(rows[0]["gb_per_s"])
    first, *others = (cost["input_grad"] for cost in child.about["layers"])
    assert not first and all(others)


def test_the_work_of_a_layer():
    cost = {"multiply_adds": 50, "inputs": 7, "outputs": 5, "weights": 11, "input_grad": True}
    assert work(cost, "forward", 3) == (300, 4 * (21 + 15 + 11))
    assert work(cost, "backward", 3) == (600, 4 * (21 + 15 + 11 + 21 + 11))
    assert work(cost | {"input_grad": False}, "backward", 3) == (300, 4 * (21 + 15 + 11))


def test_the_stopwatch_gives_the_mean_over_threads(monkeypatch):
    watch, layer, together = Stopwatch(), ReLU(), threading.Barrier(2)
    forward = layer.forward
    # Lest one thread do the work of both.
    layer.forward = lambda x: (together.wait(), forward(x))[1]
    watch.watch(layer, "relu")
    monkeypatch.setattr(fast.threads, "cpu_count", lambda: 2)
    monkeypatch.setattr(fast.sequential, "GROUP", 1)  # micro-batches of one image
    model = Sequential(layer)
    model.__class__, model.head = fast.sequential.Sequential, 1
    model.forward(np.ones((4, 3)))
    assert [name for name, _, _ in watch.calls] == 4 * ["relu.forward"]
    total = sum(seconds for _, _, seconds in watch.calls)
    assert watch.read() == {"relu.forward": pytest.approx(total / 2)} and watch.read() == {}


def test_a_point_of_the_scaling_table():
    series, *_ = bench_scaling.all_series({**TINY, "threads": 1}, ["inference"])
    row = bench_scaling.measure(series[0] | {"batch_size": 3}, rounds=1, seconds=0)
    products, shape = 0, (16, 16, 3)
    for _, layer in build(TINY)[0].leaves():
        products += multiply_adds(layer, shape)
        shape = layer.output_shape(shape)
    assert row["gflop"] == pytest.approx(3 * 2 * products / 1e9)
    assert row["ms_per_image"] == pytest.approx(1000 * row["ours_s"] / 3) and row["rounds"] == 1
    assert 0 < row["other_mb"] < row["ours_rss_mb"] < 4000


def test_scaling_leaves_out_what_takes_too_long(monkeypatch, tmp_path, capsys):
    order = []

    def measured(point, rounds, seconds):
        order.append((point["series"], point["batch_size"], point["image_size"]))
        s = 1e-9 * point["batch_size"] if point["phase"] == "train" else 1e3
        return point | {
            "ours_s": s, "ms_per_image": 1, "gflop": point["batch_size"], "gflop_per_s": 1,
            "ours_rss_mb": 9, "other_mb": 8,
        }  # fmt: skip

    monkeypatch.setattr(bench_scaling, "measure", measured)
    monkeypatch.setattr(bench_scaling, "BATCHES", (1, 4))
    series = bench_scaling.all_series({**TINY, "threads": 1}, ["train", "inference"])
    assert [len(points) for points in series] == [2, 4, 2, 4]
    results = bench_scaling.scaling(series, rounds=1, seconds=60)
    # The second step of inference would take 2,000 s.
    assert [len(done) for done in results] == [2, 4, 1, 1]
    assert [o[1:] for o in order[:4]] == [(1, 16), (16, 32), (1, 16), (16, 32)]
    assert "inference, 1 thread: batch 4, 16 px: left out" in capsys.readouterr().err
    table = bench_scaling.scaling_table(results)
    assert "from first to last: 4.0 times the work, 4.0 times the time" in table
    pytest.importorskip("matplotlib")
    bench_scaling.draw(results, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_a_step_in_less_memory_takes_the_batch_in_chunks(monkeypatch):
    chunks, of = [], bench_ours.Chunks.of

    def watched(self, N):
        for images, *rest in of(self, N):
            chunks.append((images.start, images.stop))
            yield images, *rest

    monkeypatch.setattr(bench_ours.Chunks, "of", watched)
    settings = {**TINY, "batch_size": 64, "phase": "train"}
    model = accelerate(bench_ours.build(settings)[0], input_grad=False)
    half = step_bytes(model, (16, 16, 3), 64, 32)
    for limit, expected in ((None, [(0, 64)]), (half, [(0, 32), (32, 64)])):
        _, step = bench_ours.prepare({**settings, "memory_limit": limit})
        done = step()
        assert chunks == expected and set(done["parts"]) == set(PARTS)
        assert sum(done["parts"].values()) == pytest.approx(done["seconds"])
        chunks.clear()


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds and --batch-size must be at least 1"),
        (["--batch-size", "32", "0"], "--rounds and --batch-size must be at least 1"),
        (["--minutes", "0"], "--minutes above 0"),
        (["--threads", str(cpu_count() + 1)], f"--threads must be from 1 to {cpu_count()}"),
        (["--layers", "--scaling"], "choose one"),
        (["--layers", "--against", "torch"], "leave out --against"),
        (["--scaling", "--against", str(SCRIPT.parents[1])], "leave out --against"),
        (["--torch-python", "python"], "--torch-python is for --against torch; add it"),
        (["--variant", "vgg", "--lrn"], "leave out --lrn"),
        (["--png", "missing/folder.png"], "there is no folder 'missing'"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        benchmark.check(benchmark.parser().parse_args(arguments))


@pytest.mark.parametrize(
    ("variant", "lrn", "side"),
    [("2012", True, 227), ("ungrouped", False, 227), ("owt", False, 224), ("vgg", False, 64)],
)
def test_defaults_come_from_the_variant(variant, lrn, side):
    settings = benchmark.check(benchmark.parser().parse_args(["--variant", variant]))
    assert settings == {"variant": variant, "lrn": lrn, "image_size": side, **NO_LIMITS}


def test_missing_pytorch_is_one_line(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run("--against", "torch", env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "No module named 'torch'); name a Python" in done.stderr

    with pytest.raises(BenchmarkError, match=r"--torch-python: No such file.*: '/no/python'"):
        benchmark.torch_version("/no/python")


def test_an_image_too_small_is_one_line():
    settings = TINY | {"phase": "train", "image_size": 15}
    with (
        pytest.raises(BenchmarkError, match=r"^minialex failed: .*too small; use at least 16$"),
        running([ours(settings)]),
    ):
        pass


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="--json: No such file or directory"):
        benchmark.check_file(tmp_path / "missing" / "rows.json")
