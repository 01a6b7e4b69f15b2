"""Several ranks make the run of one, and end together.  Needs mpi4py and an `mpiexec`.

MINIALEX_RANKS=1 says that they have to be there: the tests then fail where they are not.
"""

import functools
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from device import DEVICE
from minialex.fast import linear
from minialex.train import slices
from minialex.train.dealt import digest
from minialex.train.ranks import HERE, STARTED, Ranks, join

PROGRAM, OWN = (Path(__file__).with_name(f"{name}_run.py") for name in ("noise", "own"))
BESIDE = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIEXEC = shutil.which("mpiexec", path=BESIDE)
THERE = MPIEXEC is not None and importlib.util.find_spec("mpi4py") is not None
needs_mpi = pytest.mark.skipif(
    not (THERE or os.environ.get("MINIALEX_RANKS")), reason="pip install 'minialex[mpi]'"
)
LIMIT = 60  # seconds


def environment(fault=""):
    lines = {"FAULT": fault, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    kept = {name: value for name, value in os.environ.items() if name not in STARTED}
    return {**kept, **lines, "OPENBLAS_NUM_THREADS": "2"}


def train(run, ranks, *words, threads=1, fault=""):
    """The status, and what was printed to either stream."""
    return start(ranks, PROGRAM, run, threads, *words, fault=fault)


def start(ranks, *words, fault=""):
    """The same of any program."""
    program = [sys.executable, *map(str, words)]
    start = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run([*start, *program], env=environment(fault), timeout=LIMIT, **both)
    return done.returncode, done.stdout


def weights(output):
    """The line that tells the weights and the losses."""
    return [line for line in output.splitlines() if line.startswith("weights")]


@functools.cache
def alone(*words):
    with tempfile.TemporaryDirectory() as folder:
        return weights(train(Path(folder, "run"), 1, *words)[1])


@needs_mpi
@pytest.mark.parametrize("ranks, threads, words", [
    (2, 2, ("ungrouped", "sgd")), (4, 1, ("ungrouped", "sgd")), (2, 1, ("2012", "adam")),
    (3, 1, ("2012", "adam")), (4, 2, ("2012", "adam")), (4, 1, ("owt", "sgd")),
    (2, 2, ("2012", "named")),
    (2, 1, ("plain", "sgd")),  # every rank computes everything
])  # fmt: skip
def test_several_ranks_train_the_same_network_to_the_bit(tmp_path, ranks, threads, words):
    status, output = train(tmp_path / "run", ranks, *words, threads=threads)
    assert status == 0, output
    assert f"{ranks} ranks" in output
    assert weights(output) == alone(*words) != []
    assert output.count("epoch 1/2") == 1  # the others show nothing


@needs_mpi
@pytest.mark.skipif(DEVICE == "gpu", reason="slices are for the CPU")
@pytest.mark.parametrize("ranks, layers, words", [
    (2, 2, ("2012", "adam")), (3, 2, ("ungrouped", "sgd")), (4, 1, ("2012", "named")),
    (9, 2, ("2012", "adam")),  # one rank has no slice
    (2, 1, ("dense", "sgd")), (3, 2, ("frozen", "sgd")),  # in which all else is repeated
])  # fmt: skip
def test_a_rank_needs_no_weights_but_its_own_of_large_dense_layers(tmp_path, ranks, layers, words):
    status, output = train(tmp_path / "run", ranks, *words, fault="poison")
    assert status == 0, output
    assert f"{layers} layers in slices" in output
    assert weights(output) == alone(*words) != []


@needs_mpi
def test_a_run_that_is_stopped_twice_goes_on_on_other_numbers_of_ranks(tmp_path):
    for ranks in (2, 4):
        status, output = train(tmp_path / "run", ranks, "2012", "named", fault="ask 0")
        assert (status, output.count("interrupted")) == (130, 1)
    assert weights(train(tmp_path / "run", 1, "2012", "named")[1]) == alone("2012", "named")


@needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_a_photo_that_one_rank_cannot_read_ends_all_with_a_checkpoint(tmp_path, rank):
    status, output = train(tmp_path / "run", 2, "2012", "adam", fault=f"photo {rank}")
    assert status == 2
    who = f"rank {rank} (" if rank else "cannot"
    (line,) = [line for line in output.splitlines() if line.startswith(f"error: {who}")]
    assert line.endswith("cannot read image 'cat.jpg': it is cut short")
    assert (tmp_path / "run" / "last.safetensors").exists()
    # The run goes on on another number of ranks.
    assert weights(train(tmp_path / "run", 3 - 2 * rank, "2012", "adam")[1]) == alone(
        "2012", "adam"
    )


@needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_that_is_asked_to_stop_stops_all_at_the_same_step(tmp_path, rank):
    status, output = train(tmp_path / "run", 2, "ungrouped", "sgd", fault=f"ask {rank}")
    assert (status, output.count("interrupted")) == (130, 1)
    assert (tmp_path / "run" / "last.safetensors").exists()
    status, output = train(tmp_path / "run", 4, "ungrouped", "sgd")
    assert weights(output) == alone("ungrouped", "sgd"), output


@needs_mpi
@pytest.mark.parametrize("fault, told", [
    ("bug 1", "ZeroDivisionError: a bug"), ("bug 0", "ZeroDivisionError: a bug"),
    ("kill 1", "Killed"), ("stop 1", "error: rank 1 ("), ("stop 0", "error: rank 0 ("),
    ("end 1", "Alarm clock"), ("end 0", "Alarm clock"),
])  # fmt: skip
def test_a_rank_that_dies_or_hangs_ends_all(tmp_path, fault, told):
    started = time.monotonic()
    status, output = train(tmp_path / "run", 3, "2012", "adam", fault=fault)
    assert status != 0
    assert output.count(told) == 1
    assert time.monotonic() - started < 10 + 5  # it takes some seconds to begin
    assert weights(train(tmp_path / "run", 2, "2012", "adam")[1]) == alone("2012", "adam")


@needs_mpi
@pytest.mark.parametrize("what, ranks", [("parts", 3), ("optimizer", 2), ("disk", 2)])
def test_programs_with_parts_of_their_own_come_to_the_same_on_each_rank(what, ranks):
    status, output = start(ranks, OWN, what)
    assert status == 0, output
    assert weights(output) == weights(start(1, OWN, what)[1]) * ranks != []


@needs_mpi
@pytest.mark.parametrize(
    "what, told", [("bug", "ZeroDivisionError: a bug"), ("early", "is silent")]
)
def test_a_program_that_fails_or_ends_on_one_rank_ends_on_all(what, told):
    status, output = start(2, OWN, what)
    assert status != 0 and output.count(told) == 1, output


@needs_mpi
def test_ranks_that_were_told_different_things_refuse_to_start(tmp_path):
    program = [sys.executable, str(PROGRAM), str(tmp_path / "run"), "1", "2012"]
    one, two = (["-n", "1", *program, kind] for kind in ("sgd", "adam"))
    done = subprocess.run([MPIEXEC, *one, ":", *two], env=environment(), timeout=LIMIT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2
    assert "differs from rank 0 in optimizer: " in done.stderr
    assert not (tmp_path / "run").exists()  # nothing has begun


@needs_mpi
def test_the_command_writes_the_same_weights_from_two_ranks_and_once(tmp_path):
    small = ["--limit=64", "--width=0.1", "--image-size=67", "--epochs=1", "--batch-size=48"]
    words = [sys.executable, "-m", "minialex", "train", "--data=drawings", *small]
    found = []
    for name, start in (("one", []), ("two", [MPIEXEC, "-n", "2"])):
        done = subprocess.run([*start, *words, f"--out={tmp_path / name}"], env=environment(),
                              timeout=LIMIT, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("test accuracy") == 1
        found.append((tmp_path / name / "best.safetensors").read_bytes())
        assert (tmp_path / name / "result.json").exists()
    assert found[0] == found[1]


@needs_mpi
def test_the_doctor_tells_where_the_ranks_are():
    words = [MPIEXEC, "-n", "2", sys.executable, "-m", "minialex", "doctor"]
    done = subprocess.run(words, env=environment(), timeout=LIMIT, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ranks ")]
    assert done.returncode == 0, done.stderr
    assert len(lines) == 3
    assert " 2 on " in lines[1]
    assert lines[2].endswith(" MB/s")


@needs_mpi
def test_a_network_that_mixes_the_images_of_a_batch_is_refused(tmp_path):
    status, output = train(tmp_path / "run", 2, "mixed", "sgd")
    told = "error: 1 BatchNorm2d needs all images of a batch: train it on one rank\n"
    assert (status, output) == (2, told)


def test_processes_that_cannot_work_together_refuse_to_train_apart():
    code = (
        "import sys; sys.modules['mpi4py'] = None; from minialex.commands import main; main.run()"
    )
    for rank, lines in (("0", 1), ("1", 0)):
        started = {"PMI_SIZE": "4", "PMI_RANK": rank}
        done = subprocess.run([sys.executable, "-c", code, "train"], timeout=LIMIT,
            env={**environment(), **started}, capture_output=True, text=True)  # fmt: skip
        assert (done.returncode, len(done.stderr.splitlines())) == (2, lines), done.stderr
        assert done.stdout == ""
        if lines:
            assert "4 processes were started to train together, but they need mpi4py" in done.stderr


def test_a_batch_is_dealt_out_in_whole_groups_of_which_the_first_rank_has_some():
    for N in (1, 16, 17, 100, 128, 129):
        for size in (1, 2, 3, 4, 7):
            parts = []
            for index in range(size):
                ranks = Ranks()
                ranks.index, ranks.size = index, size
                parts += range(N)[ranks.own(N)]
                assert index or parts
                assert ranks.own(N).start % 16 == 0
            assert parts == [*range(N)]


def test_a_large_layer_is_dealt_out_in_whole_slices_of_which_the_first_rank_has_some(monkeypatch):
    for rows in (1000, 1003, 9216):
        weight = np.empty((rows, 1000))
        for size in (1, 2, 3, 4, 7, 8, 9, 20):
            monkeypatch.setattr(HERE, "size", size)
            parts = [slices.owned(weight, rank) for rank in range(size)]
            assert [*itertools.chain(*parts)] == linear.slices(weight)
            assert parts[0]
            assert max(map(len, parts)) == -(-8 // size)
            found = [slices.rows_of(weight, rank) for rank in range(size)]
            assert [*itertools.chain(*(range(rows)[own] for own in found))] == [*range(rows)]


def test_a_process_may_say_that_it_is_alone(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setenv("MINIALEX_RANKS", "0")
    assert join() is HERE
    assert HERE.size == 1


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_of_pairs_are_told_apart_by_labels_and_some_images(kind):
    one = kind((np.full((2, 2), i), i % 3) for i in range(9))
    assert digest(one) == digest(kind((x.copy(), label) for x, label in one))
    assert digest(one) != digest(kind((x, 0) for x, _ in one))
    assert digest(one) != digest(kind((x + 1, label) for x, label in one))
    digest([("anything", 0)])


def test_one_process_has_nothing_to_agree_on():
    assert join() is HERE
    assert (HERE.index, HERE.size) == (0, 1)
    assert HERE.any(True) and not HERE.any(False)
    HERE.check({"anything": object()})
    assert HERE.agree(3) == [3]
    with pytest.raises(mx.MinialexError, match="as it is"):
        HERE.together(lambda: (_ for _ in ()).throw(mx.MinialexError("as it is")))
