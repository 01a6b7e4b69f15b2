"""The benchmark's PyTorch networks are minialex's: same weights, same logits; and it runs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import bench_ours
import bench_torch
from bench_gpu_worker import FEWEST, turn
from minialex.train.checkpoint import state_dict

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "benchmark.py"
CASES = [
    ("2012", True, 227),
    ("ungrouped", False, 227),
    ("ungrouped", True, 131),
    ("owt", False, 224),
]


@pytest.mark.parametrize(
    ("variant", "lrn", "side"), [*CASES, ("vgg", False, 64), ("vgg", False, 48)]
)
def test_same_parameters_and_same_logits(variant, lrn, side):
    settings = {"variant": variant, "lrn": lrn, "image_size": side, "threads": None}
    model, _ = bench_ours.build(settings)
    with torch.device("meta"):  # no numbers: the weights are assigned
        net = bench_torch.build(settings)
    ours, theirs = list(state_dict(model).values()), net.state_dict()
    assert [array.shape for array in ours] == [tuple(tensor.shape) for tensor in theirs.values()]
    weights = dict(zip(theirs, map(torch.from_numpy, ours), strict=True))
    net.load_state_dict(weights, assign=True)
    x = np.random.default_rng(0).standard_normal((2, side, side, 3), dtype=np.float32)
    with torch.inference_mode():
        expected = net.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(model.train(False)(x) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("variant", ["2012", "ungrouped", "owt", "vgg"])
def test_same_layers_in_the_same_order(variant):
    """Dropout, which inference does not show, and the rest."""
    settings = {"variant": variant, "lrn": variant == "2012", "image_size": 96, "threads": None}
    model, _ = bench_ours.build(settings)
    kinds = [
        type(layer).__name__ for _, layer in model.leaves() if type(layer).__name__ != "Flatten"
    ]
    with torch.device("meta"):
        net = bench_torch.build(settings)
    assert [
        type(module).__name__ for module in net.modules() if not list(module.children())
    ] == kinds


def test_the_comparison(tmp_path):
    out = tmp_path / "rows.json"
    command = [
        sys.executable,
        str(SCRIPT),
        "--against",
        "torch",
        "--variant",
        "vgg",
        "--image-size",
        "16",
    ]
    command += ["--batch-size", "2", "--rounds", "1", "--json", str(out)]
    # Threads that wait sleep: numbers are not looked at, and others may need the cores.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"PyTorch {torch.__version__}" in done.stdout
    train, inference = json.loads(out.read_text())
    assert len(train["torch"]) == 4 and len(inference["torch"]) == 2
    for row in (train, inference):
        best = row["torch"][row["torch_best"]]
        assert (
            row["torch_best_s"]
            == best["s"]
            == min(setting["s"] for setting in row["torch"].values())
        )
        assert row["torch_rss_mb"] == best["rss_mb"] > 50
        assert row["ratio"] == row["ours_s"] / row["torch_best_s"]
        for setting in row["torch"].values():
            assert sum(setting["parts_s"].values()) == pytest.approx(setting["s"])
    assert all(
        set(setting["parts_s"]) == set(train["ours"]["parts_s"])
        for setting in train["torch"].values()
    )


class Event:
    """Stands for one of CUDA's."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


@pytest.mark.parametrize("variant, channels_last", [("2012", False), ("owt", True)])
def test_the_process_for_a_gpu_on_the_cpu(variant, channels_last, monkeypatch):
    import bench_gpu_torch

    stand_ins = {
        "Event": Event, "synchronize": lambda: None,
        "get_device_name": lambda: "a CPU", "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda: None, "max_memory_allocated": lambda: 2**20,
    }  # fmt: skip
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    monkeypatch.setattr(bench_gpu_torch, "DEVICE", "cpu")
    settings = {"variant": variant, "lrn": variant == "2012", "image_size": 67, "width": 1 / 16}
    with monkeypatch.context() as there:
        there.setattr(torch.cuda, "is_available", lambda: True)
        theirs = bench_gpu_torch.Theirs(settings | {"channels_last": channels_last})
    ours, _ = bench_ours.build(settings)
    shapes = [tuple(tensor.shape) for tensor in theirs.net.state_dict().values()]
    assert shapes == [array.shape for array in state_dict(ours).values()]
    assert theirs.about["device"] == "a CPU"
    for precision in ("tf32", "float32"):
        assert theirs.prepare(4, precision) == {"peak_mb": 1}
        assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert theirs.x.is_contiguous(memory_format=theirs.layout)
    before = theirs.net.state_dict()["features.0.bias"].clone()
    found = turn(theirs, seconds=0)
    assert 0 < found["host_ms"] <= found["ms"] and found["loop_ms"] > 0
    assert not torch.equal(before, theirs.net.state_dict()["features.0.bias"])
    assert next(iter(theirs.adam.state.values()))["step"] == 2 * (3 + 1) + 2 * FEWEST
