"""Every kernel of a training step, CuPy's and our own, through NVIDIA's compilers: no GPU is needed
for that."""

import numpy as np
import pytest

import cuda_compilers
from device import has_gpu, on_device

if has_gpu():
    pytest.skip("a real GPU compiles its kernels itself", allow_module_level=True)

from cuda_compilers import ARCHITECTURES, CompileError, merged
from cupyemu import kernels
from minialex.gpu import kernel as kernel_module
from minialex.gpu.photos import GpuPhotos
from minialex.models import VARIANTS
from step_costs import Steps

COMPILERS = cuda_compilers.found() or {None: None}
PLANTED = """#include <cupy/carray.cuh>
extern "C" __global__ void planted(float* x) {{ x[0] = x[1] * {}; }}"""


@pytest.fixture(params=COMPILERS)
def compile(request):
    if request.param is None:
        pytest.skip(f"NOT CHECKED, for there is no CUDA compiler: {cuda_compilers.HOW}")
    return COMPILERS[request.param]


@pytest.fixture(scope="module")
def sources():
    """Of all kernels that training steps of the three variants launch, with narrow and with wide
    indices; those of implicit.cu have a test of their own."""
    found = []
    for limit in (kernel_module.LARGEST_INT32, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel_module, "LARGEST_INT32", limit)
            runs = [Steps(variant, 1, algorithm="im2col") for variant in VARIANTS]
            runs.append(Steps("owt", 1, optimizer="sgd", algorithm="im2col"))
            found += [kernel.source for steps in runs for kernel, _ in steps.kernels]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_all_kernels_compile(compile, sources, arch):
    for name in (
        "adam",
        "im2col",
        "col2im",
        "maxpool_forward",
        "maxpool_backward",
        "lrn_forward",
        "lrn_backward",
    ):
        both = {
            "typedef long long Index" in source
            for source in sources
            if f"minialex_{name}(" in source
        }
        assert both == {False, True}, name
    assert compile(merged(sources), arch).startswith(b"\x7fELF")


def test_no_instruction_of_float64(compile, sources):
    """Not even where no word names it: `x * 0.5` is one."""
    assert b".f64" not in compile(merged(sources), ARCHITECTURES[0], "ptx")
    assert b".f64" in compile(merged([*sources, PLANTED.format("0.7")]), ARCHITECTURES[0], "ptx")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_kernels_of_photos_compile(compile, arch, monkeypatch):
    """Of which only the one for a few numbers per image may compute with float64."""
    view = np.array([[0, 0, 9, 9, 1, 1, 8, 8, 0]], np.int32)
    photos = GpuPhotos([(on_device(np.zeros((9, 9, 3), np.uint8)), 0)], (5, 5))
    for limit in (kernel_module.LARGEST_INT32, 0):
        monkeypatch.setattr(kernel_module, "LARGEST_INT32", limit)
        photos.cut(on_device(view), view)
    sources = {
        name: list(
            {one.source for one in kernels.loaded if one.name.startswith(f"minialex_{name}")}
        )
        for name in ("cut", "find_taps")
    }
    assert min(len(found) for found in sources.values()) >= 2  # other tests may have more
    assert compile(merged([*sources["cut"], *sources["find_taps"]]), arch).startswith(b"\x7fELF")
    assert b".f64" not in compile(merged(sources["cut"]), arch, "ptx")


def test_a_kernel_that_does_not_compile_is_named(compile, sources):
    with pytest.raises(CompileError, match=f"kernel{len(sources)}.*nonsense"):
        compile(merged([*sources, PLANTED.format("nonsense")]), ARCHITECTURES[0])
