"""What is said of a machine on which something is missing: `python tests/gpu/unready.py STATE`.

CuPy is the real one.  In the state "no driver" nothing is changed, so it finds what LD_LIBRARY_PATH
offers; "no NVRTC" puts an emulated GPU below it, and it looks for its compiler; "no cuBLAS"
emulates the kernels too, and it looks for its libraries; "no cuRAND" emulates the products as well;
"full" also has 100 kB of memory only.  A second argument "doctor" lets the doctor speak, any other
is the run folder of a training.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))


def change(state):
    """Put the machine into this state, before anything imports cupy."""
    if state == "no driver":
        return
    os.environ["CUPY_ACCELERATORS"] = ""
    from cupyemu import blas, device, kernels

    device.patch()
    if state in ("no cuRAND", "full"):
        blas.patch()
    import cupy

    cupy.cuda.set_allocator(None)
    if state != "no NVRTC":
        cupy.cuda.compiler._compile_module_with_cache = kernels.compile_module
        cupy.cuda.compiler._get_arch = lambda: "90"
    if state == "full":
        pool = cupy.cuda.MemoryPool()
        pool.set_limit(size=100_000)
        cupy.cuda.set_allocator(pool.malloc)


if __name__ == "__main__":
    change(sys.argv[1])
    if sys.argv[2:] == ["doctor"]:
        from minialex.commands.main import main

        sys.exit(main(["doctor"]))
    if len(sys.argv) > 2:
        os.environ["MINIALEX_TEST_DEVICE"] = "cpu"  # the emulated device is there already
        import tiny_run

        tiny_run.OPTIONS["device"] = "gpu"
        tiny_run.run_main(lambda: tiny_run.main(["--out", sys.argv[2]]))
    from minialex.gpu.diagnosis import gpu_problem

    print(gpu_problem())
