"""The benchmark of one checkout against another: its interval, its processes, its bad paths."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
from bad_input import refused
from bench_children import BenchmarkError, running
from bench_rows import PARTS
from bench_trees import (
    NAMES,
    check_imports,
    median_interval,
    tree_comparison,
    tree_contenders,
    tree_table,
)
from minialex.errors import ConfigError

ROOT = Path(__file__).parents[2]
CASE = {
    "phase": "inference", "variant": "ungrouped", "lrn": False, "image_size": 67, "batch_size": 2,
    "threads": None, "memory_limit": None,
}  # fmt: skip
WORKER = """
import minialex
from bench_worker import serve

def step():
    return {'seconds': 1, 'parts': {'forward': 1}}

serve(lambda settings: ({'minialex': minialex.__file__} | settings, step))
"""


@pytest.fixture
def older(tmp_path):
    """A checkout whose worker is where it was before there was a folder for benchmarks."""
    root = tmp_path / "older"
    for folder in ("minialex", "examples"):
        (root / folder).mkdir(parents=True)
    (root / "minialex" / "__init__.py").write_text("")
    (root / "examples" / "bench_ours.py").write_text(WORKER)
    shared = (ROOT / "benchmarks" / "bench_worker.py").read_text(encoding="utf-8")
    (root / "examples" / "bench_worker.py").write_text(shared, encoding="utf-8")
    return root


# ----------------------------------------------------------------------------------------- interval


@pytest.mark.parametrize(
    ("n", "k", "confidence"),
    [(6, 1, 0.96875), (9, 2, 0.9609375), (15, 4, 0.96484), (20, 6, 0.95861)],
)
def test_the_interval_is_from_the_kth_lowest_to_the_kth_highest(n, k, confidence):
    low, high, found = median_interval(range(n, 0, -1))
    assert (low, high) == (k, n + 1 - k) and found == pytest.approx(confidence, abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 9, 12])
def test_the_interval_holds_the_median_as_often_as_it_says(n):
    """All ways in which n numbers can lie around a median of zero, each as likely as another."""
    held = 0
    for signs in itertools.product((-1, 1), repeat=n):
        low, high, confidence = median_interval([sign * (i + 1) for i, sign in enumerate(signs)])
        held += low < 0 < high
    assert held / 2**n == confidence and (confidence >= 0.95) == (n >= 6)


def test_a_row_has_the_median_of_the_ratios_of_the_pairs():
    ours, other = (
        [{"seconds": s, "parts": {"forward": s}, "rss_mb": mb} for s in seconds]
        for seconds, mb in (((2, 3, 8), 150), ((1, 3, 16), 100))
    )
    row = tree_comparison(CASE, [ours, other], "there")
    assert row.items() >= CASE.items() and (row["against"], row["rounds"]) == ("there", 3)
    assert (row["ours_s"], row["other_s"], row["ratios"]) == (3, 3, [2, 1, 0.5])
    assert (row["ratio"], row["interval"], row["confidence"]) == (1, [0.5, 2], 0.75)
    verdict = (
        "this / other: time 1.000, interval 0.500 to 2.000 (75.0%, order statistics of 3 pairs)"
    )
    assert tree_table(row).endswith(f"{verdict}, memory 1.50")


# ---------------------------------------------------------------------------------------- processes


def test_this_checkout_against_itself(tmp_path):
    """From a folder with another minialex, which must not win."""
    (tmp_path / "minialex.py").write_text("raise ValueError('this is another one')")
    out = tmp_path / "rows.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "benchmark.py"), f"--against={ROOT}"]
    command += ["--variant=vgg", "--image-size=16", "--batch-size=2", "--rounds=2"]
    command += [f"--json={out}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    train, inference = rows = json.loads(out.read_text())
    assert (train["phase"], inference["phase"]) == ("train", "inference")
    for row in rows:
        assert (row["variant"], row["batch_size"], row["rounds"]) == ("vgg", 2, 2)
        assert row["interval"][0] <= row["ratio"] <= row["interval"][1]
        assert row["ratio"] == pytest.approx(sum(row["ratios"]) / 2)
        for tree in ("ours", "other"):
            assert sum(row[tree]["parts_s"].values()) == pytest.approx(row[f"{tree}_s"])
        assert tree_table(row) in done.stdout
    assert set(train["other"]["parts_s"]) == set(PARTS)


def test_the_other_worker_imports_its_own_minialex(older):
    chosen = tree_contenders(CASE, str(older))
    check_imports(chosen)
    assert [contender.name for contender in chosen] == list(NAMES)
    with running(chosen[1:]) as (child,):
        assert child.about["minialex"] == str(older / "minialex" / "__init__.py")
        assert child.about.items() >= CASE.items()


def test_a_worker_that_would_import_another_minialex_is_refused(older):
    (older / "examples" / "minialex").mkdir()
    (older / "examples" / "minialex" / "__init__.py").write_text("")
    with refused(BenchmarkError, "other tree: minialex would be imported from", older / "examples"):
        check_imports(tree_contenders(CASE, str(older)))


def test_a_minialex_that_cannot_be_imported_is_refused(older):
    (older / "minialex" / "__init__.py").write_text("raise ValueError('no\\nluck')")
    with refused(BenchmarkError, "other tree: minialex cannot be imported (luck)"):
        check_imports(tree_contenders(CASE, str(older)))


# ------------------------------------------------------------------------------------------ options


def checked(*arguments):
    options = benchmark.parser().parse_args(arguments)
    return options, benchmark.check(options)


def test_defaults():
    options, settings = checked(f"--against={ROOT}")
    assert options.rounds == 15
    cases = [(case["phase"], case["batch_size"]) for case in benchmark.cases(options, settings)]
    assert cases == [("train", 32), ("train", 128), ("inference", 1), ("inference", 32)]
    assert [checked(*a)[0].rounds for a in ([], ["--against=torch"], ["--rounds=7"])] == [5, 5, 7]


def test_a_path_that_is_no_checkout_is_refused(older):
    for path in ("", "missing", __file__):
        with refused(ConfigError, f"torch or a checkout of minialex; there is no folder {path!r}"):
            checked(f"--against={path}")
    (older / "examples" / "bench_ours.py").unlink()
    with refused(ConfigError, "has none of benchmarks/bench_ours.py, examples/bench_ours.py"):
        checked(f"--against={older}")
    with refused(ConfigError, "is no checkout of minialex, it has no minialex/__init__.py"):
        checked(f"--against={older / 'examples'}")


def test_torch_python_is_for_pytorch():
    with refused(ConfigError, "--torch-python is for --against torch; leave it out"):
        checked(f"--against={ROOT}", "--torch-python=python")
