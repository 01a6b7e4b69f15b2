"""The benchmark on a GPU, as far as it goes without one: its options, rows, tables, kernels."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import bench_gpu
import bench_gpu_layers
import benchmark
import kernel_times
from bad_input import refused
from bench_children import BenchmarkError, Contender
from bench_gpu_worker import FEWEST, turn
from minialex.errors import ConfigError
from minialex.models import AlexNet

CASE = {
    "variant": "ungrouped", "lrn": False, "image_size": 227, "width": 1.0, "batch_size": 128,
    "precision": "tf32",
}  # fmt: skip


class Gpu:
    """A clock that is `behind` the program's calls, and goes on by 2 ms with each mark."""

    now = 0

    def mark(self):
        self.now += 2
        return self.now

    def milliseconds(self, start, end):
        return end - start

    def wait(self):
        pass


def options(*words):
    return benchmark.parser().parse_args(["--device", "gpu", *words])


def result(ms, peak=100):
    return {"ms": ms, "loop_ms": ms - 1, "host_ms": 1, "peak_mb": peak}


def test_the_faster_layout_of_pytorch_is_the_one_to_compare_with():
    results = {
        "minialex": result(31, 50), "PyTorch, plain": result(16),
        "PyTorch, channels-last": result(11),
    }  # fmt: skip
    row = bench_gpu.comparison(CASE, results)
    assert row["torch_best"] == "PyTorch, channels-last"
    assert (row["ratio_loop_ms"], row["ratio_ms"], row["ratio_peak_mb"]) == (3, 31 / 11, 0.5)
    text = bench_gpu.table(row)
    assert text.endswith("channels-last: back to back 3.00, one alone 2.82, memory 0.50")
    assert [line.split(" ")[0] for line in text.splitlines()][1:3] == ["minialex", "PyTorch,"]
    alone = bench_gpu.comparison(CASE, {"minialex": result(31, None)})
    assert alone["torch_best"] is alone["ratio_ms"] is None
    assert "minialex /" not in bench_gpu.table(alone)
    assert "LRN, width 0.5, 227 px, batch 128, tf32, 2 rounds" in bench_gpu.title(
        CASE | {"lrn": True, "width": 0.5}, 2
    )


def test_a_turn_is_steps_alone_and_as_many_back_to_back():
    worker = types.SimpleNamespace(gpu=Gpu(), steps=0)

    def step():
        worker.steps += 1

    worker.step = step
    found = turn(worker, seconds=0)
    assert worker.steps == 2 * FEWEST and found["ms"] == 2
    assert 0 <= found["host_ms"] < 1e3 and 0 <= found["loop_ms"] < 1e3


def test_layers_beside_the_roofline():
    model = AlexNet(2, width=1 / 16, image_size=67)

    class Adam:
        def step(self):
            pass

    class Worker:
        gpu, adam, tf32, x = Gpu(), Adam(), False, [0, 0]

        def step(self):
            self.adam.step()

    worker = Worker()
    worker.model = model
    rows = {row["name"]: row for row in bench_gpu_layers.layer_times(worker, seconds=0)}
    assert rows["Adam"]["backward_ms"] == 2 and rows["a step"]["forward_ms"] == 6
    assert rows["loss, and between"]["forward_ms"] == 4
    least = sum(row["forward_least_ms"] + row["backward_least_ms"] for row in rows.values())
    assert least == pytest.approx(2 * rows["a step"]["forward_least_ms"])
    assert "step" not in vars(worker) and "forward" not in vars(next(model.leaves())[1])
    lines = bench_gpu_layers.layer_table(list(rows.values())).splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("Adam", "a step"))] == [
        "Adam",
        "a",
    ]


def test_a_process_of_pytorch_that_cannot_run_is_left_out(tmp_path, capsys):
    code = "import sys, time\n{}\nprint('{{}}', flush=True)\ntime.sleep(100)\n"
    for name, line in (("good", ""), ("bad", "sys.exit('no GPU')")):
        (tmp_path / f"{name}.py").write_text(code.format(line))

    def contender(name, file):
        return Contender(name, sys.executable, str(tmp_path / f"{file}.py"), {})

    chosen = [contender("minialex, float32", "good"), contender("PyTorch, plain", "bad")]
    with bench_gpu.started(chosen) as children:
        assert list(children) == ["minialex, float32"]
    assert capsys.readouterr().out == "NOT MEASURED: PyTorch, plain failed: no GPU\n"
    with (
        pytest.raises(BenchmarkError, match="minialex, tf32 failed: no GPU"),
        bench_gpu.started([contender("minialex, tf32", "bad")]),
    ):
        pass
    with (
        pytest.raises(BenchmarkError, match="--torch-python: there is no program '/no/python'"),
        bench_gpu.started([chosen[0]._replace(python="/no/python")]),
    ):
        pass


def test_what_no_longer_fits_into_the_time_is_left_out(capsys):
    assert not bench_gpu.Clock(60).over("all", 59)
    assert bench_gpu.Clock(5).over("batch 512", 8)
    assert capsys.readouterr().out == "\nbatch 512: left out, the time is over\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads=1"], "--threads is for the CPU"),
        (["--phase", "train"], "--phase is for the CPU"),
        (["--layers"], "--layers is for the CPU"),
        (["--against=somewhere"], "compares with torch only"),
        (["--torch-python=python"], "--torch-python is for --against torch"),
        (["--variant=vgg"], "measures AlexNet"),
        (["--batch-size=0"], "must be at least 1"),
        (["--rounds=0"], "must be at least 1"),
        (["--width=0"], "--width must be above 0"),
    ],
)
def test_bad_options_are_refused(words, message):
    with refused(ConfigError, message):
        bench_gpu.settings(options(*words))


def test_options_of_the_gpu_are_refused_without_it():
    for words in (["--quick"], ["--width=0.5"]):
        with refused(ConfigError, "--device gpu"):
            benchmark.check(benchmark.parser().parse_args(words))


def test_the_settings_are_those_of_the_variant():
    found = bench_gpu.settings(options("--variant=2012", "--image-size=67"))
    assert found == {"variant": "2012", "lrn": True, "image_size": 67, "width": 1.0}
    names = [c.name for c in bench_gpu.contenders(found, "python")]
    assert names == ["minialex, float32", "minialex, tf32", *bench_gpu.LAYOUTS]
    assert len(bench_gpu.contenders(found, None)) == 2


# ------------------------------------------------------------------------------------------ kernels


def test_kernels_by_time(monkeypatch):
    def event(name, microseconds):
        return types.SimpleNamespace(name=name, device_time=microseconds)

    class Record:
        def __init__(self, activities):
            self.found = []

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def events(self):
            return self.found

    record = Record(None)
    profiler = types.ModuleType("torch.profiler")
    profiler.ProfilerActivity = types.SimpleNamespace(CUDA=1)
    profiler.profile = lambda activities: record
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "torch.profiler", profiler)
    torch = types.SimpleNamespace(cuda=types.SimpleNamespace(synchronize=lambda: None))

    def step():
        record.found += [event("sum", 100), event("gemm", 500), event("gemm", 400), event("ask", 0)]

    kernels = kernel_times.profiled(step, torch)
    assert [(k["name"], round(k["ms"], 9), k["launches"]) for k in kernels] == [
        ("gemm", 0.9, 2),
        ("sum", 0.1, 1),
    ]
    lines = kernel_times.table(kernels).splitlines()
    assert lines[0] == "1.00 ms on the GPU and 3 launches in a step"
    assert lines[2].split() == ["0.900", "90.0%", "2.0", "450.0", "gemm"]
    many = [{"name": str(i), "ms": 1.0, "launches": 1} for i in range(kernel_times.SHOWN + 2)]
    assert kernel_times.table(many).endswith("2.000  in 2 other kernels")


def test_kernels_without_pytorch_are_one_line(tmp_path):
    script = Path(kernel_times.__file__)
    code = "import importlib.util as u, runpy, sys; u.find_spec = lambda name: None;"
    code += f"sys.argv = ['kernel_times.py']; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: the kernels can be seen with")
