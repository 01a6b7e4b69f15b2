"""The benchmark's processes: they take turns, their faults are one line, and none outlives it."""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench_children import BenchmarkError, Child, Contender, check_memory, in_turn, running
from bench_worker import turn
from minialex.fast.threads import cpu_count

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "benchmark.py"
WORKER = """
import os, sys, time
sys.path.insert(0, {folder!r})
from bench_worker import serve
calls = 0

def step():
    global calls
    calls += 1
    if calls > 1:  # the first one warms up
        {step}
    return {{'seconds': 1}}

def prepare(settings):
    {prepare}
    return {about}, step

serve(prepare)
"""


def worker(folder, name, prepare="pass", step="pass", about="{}", **settings):
    """A contender that runs these lines of code."""
    file = folder / f"{name}.py"
    code = WORKER.format(folder=str(SCRIPT.parent), prepare=prepare, step=step, about=about)
    file.write_text(code)
    return Contender(name, sys.executable, str(file), settings)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    if not status.exists():
        return True
    return status.read_text().rpartition(")")[2].split()[0] != "Z"  # Z: ended, not yet read


@pytest.mark.parametrize(("swap", "order"), [(False, "ABABAB"), (True, "ABBAAB")])
def test_processes_take_turns(tmp_path, swap, order):
    log = tmp_path / "log"
    step = "open({!r}, 'a').write({!r})"
    two = [worker(tmp_path, name, step=step.format(str(log), name)) for name in "AB"]
    with running(two) as children:
        assert [len(steps) for steps in in_turn(children, 3, swap)] == [3, 3]
    assert log.read_text() == order


def test_a_turn_is_the_median_of_as_many_steps_as_take_half_a_second():
    seconds = iter([0.3, 0.1, 0.2, 9.0])
    assert turn(lambda: {"seconds": next(seconds)}) == {"seconds": 0.2}
    assert next(seconds) == 9.0
    assert turn(lambda: {"seconds": 0.7}) == {"seconds": 0.7}


@pytest.mark.parametrize("fault", [ValueError("stop"), KeyboardInterrupt()])
def test_no_process_is_left_behind(tmp_path, fault):
    two = [worker(tmp_path, "idle"), worker(tmp_path, "busy", step="time.sleep(1000)")]
    with pytest.raises(type(fault)), running(two) as children:
        children[1].process.stdin.write("\n")
        children[1].process.stdin.flush()
        raise fault
    assert [child.process.returncode for child in children] == [-9, -9]


def test_a_process_ends_with_its_input_even_in_the_middle_of_a_step(tmp_path):
    child = Child(worker(tmp_path, "orphan", step="time.sleep(1000)"))
    child.answer()
    child.process.stdin.write("\n")
    child.process.stdin.close()
    assert child.process.wait(timeout=60) == 0
    child.end()


FAULTS = {
    "an exception": ("raise ValueError('no\\nluck')", "failing failed: luck"),
    "silence": ("sys.exit(3)", "failing failed: it ended with status 3 and said nothing"),
    "a kill": (
        "os.kill(os.getpid(), 9)",
        "failing failed: it was killed, perhaps for want of memory; use a smaller",
    ),
}


@pytest.mark.parametrize("when", ["prepare", "step"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_process_is_one_line_and_the_end_of_the_others(tmp_path, fault, when):
    code, message = FAULTS[fault]
    started = []
    with pytest.raises(BenchmarkError) as error:
        contenders = [worker(tmp_path, "good"), worker(tmp_path, "failing", **{when: code})]
        with recorded(started), running(contenders) as children:
            in_turn(children, 1)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
    assert len(started) == 2 and not any(alive(pid) for pid in started)


@contextlib.contextmanager
def recorded(pids):
    """Note the process ids of all children."""
    original = Child.__init__

    def init(self, contender):
        original(self, contender)
        pids.append(self.process.pid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "__init__", init)
        yield


@pytest.mark.skipif("SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}), reason="no size known")
def test_processes_that_would_swap_are_refused():
    small, big = (SimpleNamespace(about={"rss_mb": mb}) for mb in (1, 1e9))
    check_memory([small, small])
    with pytest.raises(BenchmarkError, match=r"2 processes need 1,000,000,001 of [\d,]+ MB; use a"):
        check_memory([small, big])


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen")
def test_threads_limits_the_cores_of_the_processes_alone(tmp_path):
    before = os.sched_getaffinity(0)
    about = "{'cores': len(os.sched_getaffinity(0)), 'threads': os.environ['OMP_NUM_THREADS']}"
    with running([worker(tmp_path, "one", about=about, threads=1)]) as (child,):
        assert (child.about["cores"], child.about["threads"]) == (1, "1")
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children cannot be listed")
def test_ctrl_c_and_sigterm_end_all():
    command = [sys.executable, str(SCRIPT), "--variant=vgg", "--image-size=16", "--rounds=100000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Processes inherit it where Ctrl-C is ignored, as in the background jobs of a shell script.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGINT, before)
        # Ctrl-C reaches all processes of the session, so the first one gets a session of its own.
        first = stack.enter_context(subprocess.Popen(command, start_new_session=True, **pipes))
        stack.callback(first.kill)
        second = stack.enter_context(subprocess.Popen(command, **pipes))
        stack.callback(second.kill)
        children = first_child(first), first_child(second)
        os.killpg(first.pid, signal.SIGINT)
        second.send_signal(signal.SIGTERM)
        for process, status, said in ((first, 130, "interrupted\n"), (second, 143, "")):
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (status, said)
    # A child that was just being started is not known yet; it ends by itself, when it sees the end
    # of its input.
    deadline = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, children))


def first_child(process):
    """The process id of the first child of `process`, as soon as there is one."""
    shown = ""
    while "training step" not in shown:
        shown += process.stdout.readline()
        assert process.poll() is None
    versions = f"NumPy {np.__version__}", platform.python_version()
    for text in (f"{cpu_count()} cores", *versions, "GFLOP/s", "GB/s"):
        assert text in shown
    listed = []
    while not listed:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(listed[0])
