"""pytest --device cpu|gpu: where the tests of layers, losses, optimizers and training compute.

"gpu" takes a real one where there is one, and otherwise runs CuPy itself with its GPU emulated on
the CPU (see cupyemu/__init__.py).  That needs g++ and one of CuPy's wheels, in an environment of
its own:

    python -m venv .venv-gpu && . .venv-gpu/bin/activate
    pip install -e ".[test]" cupy-cuda13x==14.2.0
    pytest --device gpu

Tests run on both devices, except that fast/, and what is about files, photos, options and words
(see SAME), run on the CPU alone; gpu/ compares the two devices, and cupyemu/ needs the emulated
one.
"""

import os
import signal
from pathlib import Path

import pytest

SAME = (  # on both devices
    "data", "examples", "benchmarks", "book", "commands", "test_docs.py", "test_house.py",
    "test_bad_input.py", "train/test_kill.py", "train/test_kill_writes.py",
    "train/test_several_at_once.py", "train/test_disk.py", "train/test_logs.py",
    "train/test_windows.py", "train/test_process_memory.py", "train/test_screen.py",
    "train/test_bad_runs.py", "train/test_lasts.py", "train/test_photos.py", "ranks",
)  # fmt: skip


def pytest_addoption(parser):
    parser.addoption(
        "--device", choices=("cpu", "gpu"), default="cpu", help="where tests compute (default cpu)"
    )


def pytest_configure(config):
    # A shell's background job ignores Ctrl-C, and so would every program that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["MINIALEX_TEST_DEVICE"] = config.getoption("--device")
    if config.getoption("--device") == "gpu":
        from cupyemu import CannotEmulate

        try:
            import device  # noqa: F401 -- installs the emulator where there is no GPU
        except CannotEmulate as error:
            raise pytest.UsageError(f"--device gpu: {error}") from None


def pytest_report_header(config):
    from minialex.gpu.devices import choose_device

    return choose_device(config.getoption("--device"))[1]


def pytest_ignore_collect(collection_path, config):
    here, on_gpu = Path(__file__).parent, config.getoption("--device") == "gpu"
    needs = {here / name: not on_gpu for name in SAME}
    needs |= {
        here / "fast": not on_gpu,
        here / "gpu": on_gpu,
        here / "cupyemu": on_gpu and _emulator() is not None,
    }
    return None if needs.get(collection_path, True) else True


def _emulator():
    """The emulator's device where it is in use, else None."""
    import sys

    return sys.modules.get("cupyemu.device")


@pytest.fixture(autouse=True)
def memory_limits_are_of_the_step_alone(monkeypatch):
    """What pytest and earlier tests hold does not count; train/test_process_memory.py counts it."""
    from minialex.train import memory

    monkeypatch.setattr(memory, "outside_bytes", lambda *_, **__: 0)
    monkeypatch.setattr(memory, "peak_bytes", lambda device: 0)


@pytest.fixture(autouse=True)
def no_kernel_writes_outside_its_arrays():
    emulated = _emulator()
    before = emulated.value("overruns") if emulated else 0
    yield
    if emulated:
        assert emulated.value("overruns") == before


def pytest_terminal_summary(terminalreporter):
    """Whether the kernels were compiled for a real GPU as well: see gpu/test_compile.py."""
    import sys

    compilers = sys.modules.get("cuda_compilers")
    if compilers:
        line, complete = compilers.report()
        terminalreporter.write_line(line, **({} if complete else {"yellow": True}))


@pytest.fixture(autouse=True)
def a_run_convolves_by_im2col(request, monkeypatch):
    """On the emulated GPU, `auto` is here what it is on a GeForce: im2col, by NumPy's products.

    The kernels without that matrix are emulated thread by thread, a hundred times more slowly.
    gpu/ and layers/ show what they compute, and that a run with them is the same run.
    """
    tested = {Path(__file__).parent / name for name in ("gpu", "layers", "cupyemu")}
    if _emulator() is not None and tested.isdisjoint(request.path.parents):
        from minialex.gpu import implicit

        monkeypatch.setattr(implicit, "capability", lambda: 86)
