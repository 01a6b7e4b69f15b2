"""`python tests/gpu/sanitized.py thread|address WORK`: our kernels on the emulated GPU under a
sanitizer.

ThreadSanitizer finds kernels in which one thread touches what another writes: their threads are
dealt out to some of the host.  AddressSanitizer finds those that read or write outside an array.
CuPy's own kernels and cuBLAS are not looked at.  WORK is a name of WORKS.  Exit status 0: nothing
was found.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

LIBRARIES = {"thread": "libtsan.so", "address": "libasan.so"}
OPTIONS = {
    "TSAN_OPTIONS": "halt_on_error=1",
    "ASAN_OPTIONS": "detect_leaks=0",
}  # Python leaves memory to the system


def library(sanitizer):
    """The library that a process must load first, or None where g++ or the library is missing."""
    try:
        command = ["g++", f"-print-file-name={LIBRARIES[sanitizer]}"]
        path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return path if Path(path).is_absolute() else None


def run(sanitizer, work):
    """The status and messages of WORK in a process of its own."""
    environment = {
        **os.environ,
        **OPTIONS,
        "MINIALEX_SANITIZER": sanitizer,
        "LD_PRELOAD": library(sanitizer),
    }
    command = [sys.executable, __file__, sanitizer, work]
    # Without random addresses, which ThreadSanitizer does not always get along with.
    fixed = ["setarch", "-R"] if sys.platform == "linux" else []
    done = subprocess.run([*fixed, *command], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


def steps():
    """Training steps of all variants, with indices of both widths, and one with SGD."""
    import step_costs
    from minialex.gpu import kernel
    from minialex.models import VARIANTS

    step_costs.WARM_UP = step_costs.LAST = 1  # three batches: memory for two of them serves again
    for limit in (kernel.LARGEST_INT32, 0):
        kernel.LARGEST_INT32 = limit
        for variant in VARIANTS:
            optimizer = "sgd" if variant == "owt" else "adam"
            step_costs.Steps(variant, 1, batch_size=2, optimizer=optimizer)


def kernels():
    """All of test_forms.py: odd shapes, strides, layouts; and photos of odd sizes.

    A kernel touches the same numbers whatever their type, so one sanitizer sees it with float32 and
    narrow indices, the other with float64 and wide ones: each combination is a kernel to compile.
    """
    import pytest

    folder = Path(__file__).parent
    photos = folder / "test_photos.py::test_the_batches_of_the_loader_to_the_bit"
    cases = ("of any shape-a later Pillow", "crops over the border-Pillow as it is")
    photos = [f"{photos}[{case}]" for case in cases]
    chosen = {
        "thread": "not float64 and not long",
        "address": "long and not float32 or test_photos",
    }[sys.argv[1]]
    forms = str(folder / "test_forms.py")
    sys.exit(pytest.main(["--device", "gpu", "-k", chosen, forms, *photos]))


def planted(body):
    """A kernel with a bug, on 1,000 numbers."""

    def work():
        import step_costs  # noqa: F401 -- the emulator, before cupy
        from minialex.gpu.kernel import Kernel

        cupy = importlib.import_module("cupy")
        x, y = cupy.ones(1000, "f"), cupy.zeros(1000, "f")
        Kernel("", "planted", "raw T x", "raw T y", body)(x, y, size=1000)

    return work


WORKS = {
    "steps": steps,
    "kernels": kernels,
    "atomic": planted("atomicAdd(&y[i % 10], x[i])"),
    "race": planted("y[i % 10] += x[i]"),
    "read": planted("y[i] = x[i + 1]"),
    "write": planted("y[i - 1] = x[i]"),
}

if __name__ == "__main__":
    if os.environ.pop("LD_PRELOAD", None):  # it is loaded; g++ shall not load it
        WORKS[sys.argv[2]]()
    else:
        status, messages = run(*sys.argv[1:])
        print(messages, end="")
        sys.exit(status)
