"""Run a program on the GPU where there is one, and otherwise on an emulated one (see
cupyemu/__init__.py):

    python tests/gpu/on_emulated_gpu.py examples/train_catdog.py --device gpu --limit 64 --epochs 1
    python tests/gpu/on_emulated_gpu.py -m minialex doctor

So run the programs that it starts, where they look at MINIALEX_RUN_THROUGH.  It needs what
`pytest --device gpu` needs.  The numbers are a GPU's to rounding, the speed is not.
"""

import os
import runpy
import sys
from pathlib import Path


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    os.environ["MINIALEX_TEST_DEVICE"] = "gpu"
    os.environ["MINIALEX_RUN_THROUGH"] = str(Path(__file__).resolve())
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
    from cupyemu import CannotEmulate

    try:
        import device  # noqa: F401 -- installs the emulator where there is no GPU
    except CannotEmulate as error:
        sys.exit(f"error: {error}")
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path[1] = os.getcwd()
        return runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.path[1] = str(Path(sys.argv[0]).resolve().parent)  # what the program's own imports expect
    return runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
