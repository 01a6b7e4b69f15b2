"""`python tests/gpu/mutations.py [WORD ...]`: can the tests of the GPU path fail?

Each mutation of mutation_list.py removes one thing from a copy of the repository (an xp lookup, a
cast, the wait for an event, a guard of a kernel ...) and runs the tests that are about it by
`pytest --device gpu`, first without and then with it.  A table of which test found it, in Markdown,
goes to stdout.  With WORDs, only those mutations whose file or description contains one of them.

Exit status 1 where one survived: then a test is missing.  Status 2 where the list no longer fits
the sources, or tests fail without any mutation.  It needs what `pytest --device gpu` needs, and
takes several minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutation_list import MUTATIONS
from patterns import PatternError, change

REPOSITORY = Path(__file__).parents[2]
PARTS = ("minialex", "tests", "examples", "benchmarks", "pyproject.toml")  # what the tests need
SURVIVED = "SURVIVED"


class ListError(Exception):
    """The list of mutations and the repository do not fit together."""


def mutated(mutation, package):
    """The text of its file, with the mutation; `package` is the folder minialex."""
    return apply(mutation, (package / mutation.file).read_text(encoding="utf-8"))


def apply(mutation, text):
    """`text`, its file in any form, with the mutation."""
    python = mutation.file.endswith(".py")
    try:
        return change(text, python, mutation.place, mutation.old, mutation.new)
    except PatternError as error:
        raise ListError(f"minialex/{mutation.file}: {error}") from None


def copy_repository(to):
    """The parts of the repository that tests need, in the folder `to`."""
    for name in PARTS:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / name)


def first_failure(copy, tests):
    """Of `tests` on the emulated GPU, with the package of `copy`: the first that failed, or None.

    Raises ListError where they could not run.
    """
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--device",
        "gpu",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=copy)
    lines = done.stdout.splitlines()
    for kind in ("FAILED ", "ERROR "):
        for line in lines:
            if done.returncode == 1 and line.startswith(kind):
                return line.removeprefix(kind).partition(" - ")[0]
    if done.returncode < 0:  # a signal
        return f"{tests[0]} (the process died)"
    if done.returncode != 0:
        raise ListError(
            f"pytest {' '.join(tests)} ended with status {done.returncode}:\n{done.stdout[-2000:]}"
        )
    return None


def check_copy(copy):
    """Raise ListError where the tests would import another minialex than that of `copy`."""
    program = "import minialex; print(minialex.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd=copy,
        check=True,
    ).stdout.strip()
    if not Path(found).resolve().is_relative_to(copy.resolve()):
        raise ListError(f"the tests would not import the copy of minialex, but {found}")


def main(words):
    chosen = [
        m for m in MUTATIONS if not words or any(word in f"{m.file} {m.what}" for word in words)
    ]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_repository(copy)
        check_copy(copy)
        texts = [mutated(mutation, copy / "minialex") for mutation in chosen]
        failed = first_failure(
            copy, sorted({test for mutation in chosen for test in mutation.tests})
        )
        if failed:
            raise ListError(f"without any mutation, {failed} fails")
        print(
            "| file | what was removed | the test that found it |\n| --- | --- | --- |", flush=True
        )
        for mutation, text in zip(chosen, texts, strict=True):
            file = copy / "minialex" / mutation.file
            original = file.read_text(encoding="utf-8")
            file.write_text(text, encoding="utf-8")
            found = first_failure(copy, mutation.tests)
            file.write_text(original, encoding="utf-8")
            survivors += found is None
            test = f"`{found.removeprefix('tests/')}`" if found else SURVIVED
            print(f"| {mutation.file} | {mutation.what} | {test} |", flush=True)
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutations were found")
    return 1 if survivors else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ListError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
