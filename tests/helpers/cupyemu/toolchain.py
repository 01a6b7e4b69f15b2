"""g++ and its products, each compiled once: a folder of libraries that are named by what they were
made from."""

import ctypes as C
import functools
import hashlib
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minialex-cupyemu"
COMMON = ("-w", "-fPIC", "-U_FORTIFY_SOURCE")  # fortified longjmp refuses to change stacks


class CannotEmulate(Exception):
    """There is no compiler here, or no CuPy that the emulator knows; the message says what to
    do."""


@functools.cache
def version():
    """The first line of `g++ --version`."""
    try:
        done = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0]
    except OSError:
        raise CannotEmulate(
            "CuPy without a GPU needs g++ to compile its kernels (apt-get install g++)"
        ) from None


def once(name, suffix, ingredients, make):
    """The file `name`-<hash of the ingredients>`suffix`, by make(path) where it does not exist yet.

    Several processes may make it at once: it appears whole or not at all.
    """
    digest = hashlib.sha256("\0".join((version(), *ingredients)).encode()).hexdigest()[:24]
    path = FOLDER / f"{name}-{digest}{suffix}"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.stem}.{os.getpid()}{suffix}")
        make(temporary)
        os.replace(temporary, path)
    return path


def run(program, *arguments, source=""):
    """Run gcc or g++ on the arguments with `source` as its input: its messages where it fails, else
    None."""
    done = subprocess.run(
        [program, *COMMON, *map(str, arguments)], input=source, capture_output=True, text=True
    )
    return done.stderr if done.returncode else None


def must_run(program, *arguments, source=""):
    """The same; raises RuntimeError where it fails."""
    error = run(program, *arguments, source=source)
    if error:
        raise RuntimeError(f"{program} failed:\n{error}")


def load(*names):
    """The C files of this folder as one library, whose symbols the kernels see."""
    paths = [HERE / name for name in names]

    def make(path):
        must_run("gcc", "-O2", "-shared", *paths, "-o", path)

    library = once("device", ".so", [path.read_text() for path in paths], make)
    return C.CDLL(str(library), C.RTLD_GLOBAL)
