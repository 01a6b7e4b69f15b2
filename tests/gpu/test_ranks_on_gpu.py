"""Ranks with a GPU each: 2 and 4 agree to the bit, and with one but for rounding.

Needs mpi4py and an `mpiexec`, see tests/ranks.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_ranks import MPIEXEC, PROGRAM, environment, needs_mpi

LIMIT = 300  # seconds


def train(run, ranks):
    """The digest of the weights, and the losses, of a run of one epoch."""
    program = [sys.executable, str(PROGRAM), str(run), "1", "2012", "adam", "1"]
    start = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run([*start, *program], env={**os.environ, **environment()}, timeout=LIMIT,
                          capture_output=True, text=True)  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("weights")]
    _, digest, losses = line.split(maxsplit=2)
    return digest, json.loads(losses)


@needs_mpi
def test_ranks_with_gpus_agree_to_the_bit_and_with_one_gpu_but_for_rounding(tmp_path):
    one, two, four = (train(tmp_path / str(ranks), ranks) for ranks in (1, 2, 4))
    assert two == four
    assert two[1] == pytest.approx(one[1], rel=1e-5)
    assert Path(tmp_path, "4", "best.safetensors").exists()
