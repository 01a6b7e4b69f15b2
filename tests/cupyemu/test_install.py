"""The emulator knows one version of CuPy and says so; it needs a compiler and must come first."""

import os
import subprocess
import sys
from importlib import metadata

import cupy as cp
import pytest

import cupyemu
from cupyemu import toolchain


def installed(monkeypatch, **versions):
    """Pretend that these distributions are installed."""

    def version(name):
        if name.replace("-", "_") not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name.replace("-", "_")]

    monkeypatch.setattr(metadata, "version", version)


def test_this_is_the_pinned_version():
    assert cp.__version__ == cupyemu.VERSION
    cupyemu.check_version()


@pytest.mark.parametrize(
    "versions, words",
    [
        ({"cupy_cuda13x": "14.2.1"}, "knows CuPy 14.2.0 only, not cupy-cuda13x 14.2.1"),
        ({"cupy_cuda12x": "13.6.0"}, "not cupy-cuda12x 13.6.0"),
        ({"cupy": "15.0.0"}, "not cupy 15.0.0"),
        (
            {"cupy_cuda12x": "14.2.0", "cupy_cuda13x": "14.2.0"},
            "not cupy-cuda12x 14.2.0, cupy-cuda13x 14.2.0",
        ),
        ({}, "no CuPy to emulate one; install it with: pip install cupy-cuda13x==14.2.0"),
    ],
)
def test_another_cupy_is_refused(monkeypatch, versions, words):
    installed(monkeypatch, **versions)
    with pytest.raises(cupyemu.CannotEmulate, match=words):
        cupyemu.install()


def test_it_must_be_installed_before_cupy_is_imported():
    with pytest.raises(RuntimeError, match=r"before the first import of cupy"):
        cupyemu.install()


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    toolchain.version.cache_clear()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(cupyemu.CannotEmulate, match=r"needs g\+\+.*apt-get install"):
        toolchain.version()
    toolchain.version.cache_clear()


def test_a_run_with_another_version_fails(tmp_path, request):
    """pytest --device gpu ends with an error, instead of passing on the CPU."""
    (tmp_path / "other.py").write_text('import cupyemu\ncupyemu.VERSION = "99.0.0"\n')
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "other",
        "--device",
        "gpu",
        "-k",
        "test_philox",
    ]
    path = f"{tmp_path}:{request.config.rootpath / 'tests'}"
    root, environment = request.config.rootpath, {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 4, done.stdout
    assert (
        "the emulator knows CuPy 99.0.0 only, not cupy-cuda" in done.stderr
        and " passed" not in done.stdout
    )
