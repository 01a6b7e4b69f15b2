"""Hand-written kernels under the emulator: threads, barriers, atomics, templates, and what goes
wrong."""

import time

import cupy as cp
import numpy as np
import pytest

from cupyemu import device, kernels, toolchain


@pytest.fixture(params=[False, True], ids=["forwards", "backwards"])
def order(request):
    """Threads and blocks take their turns in either order."""
    device.take_turns(request.param)
    yield
    device.take_turns(False)


SAXPY = r"""
extern "C" __global__ void saxpy(const float* x, float* y, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}"""


def test_raw_kernel(order):
    x, y = cp.arange(100, dtype=np.float32), cp.ones(100, np.float32)
    cp.RawKernel(SAXPY, "saxpy")((4,), (32,), (x, y, np.float32(2), np.int32(100)))
    assert y.tolist() == [1 + 2 * i for i in range(100)]


def test_grids_and_blocks_of_three_dimensions(order):
    source = r"""
    extern "C" __global__ void where(int* out) {
      int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
      int z = blockIdx.z * blockDim.z + threadIdx.z;
      int w = gridDim.x * blockDim.x, h = gridDim.y * blockDim.y;
      out[(z * h + y) * w + x] = 10000 * z + 100 * y + x;
    }"""
    out = cp.zeros((6, 4, 15), np.int32)
    cp.RawKernel(source, "where")((5, 2, 3), (3, 2, 2), (out,))
    z, y, x = np.indices(out.shape)
    np.testing.assert_array_equal(out.get(), 10000 * z + 100 * y + x)


def test_elementwise_kernel(order):
    kernel = cp.ElementwiseKernel("T x, T y", "T z", "z = x > 0 ? x * y : T(0)", "gated")
    y = np.arange(7, dtype=np.float32)
    for x in (y - 3, y[:, None] - 3):  # the second is broadcast
        z = kernel(cp.asarray(x), cp.asarray(y))
        assert z.dtype == np.float32
        np.testing.assert_array_equal(z.get(), np.where(x > 0, x * y, 0))


def test_reduction_kernel_and_fusion(order):
    norm = cp.ReductionKernel("T x", "T y", "x * x", "a + b", "y = sqrt(a)", "0", "norm")
    x = np.random.default_rng(0).standard_normal((30, 70))
    np.testing.assert_allclose(
        norm(cp.asarray(x), axis=1).get(), np.linalg.norm(x, axis=1), rtol=1e-13
    )

    @cp.fuse()
    def fused(a, b):
        return cp.maximum(a * b + 1, 0)

    before = device.counters()["launches"]
    y = fused(cp.asarray(x), cp.asarray(x))
    assert device.counters()["launches"] == before + 1
    np.testing.assert_allclose(y.get(), np.maximum(x * x + 1, 0), rtol=1e-13)


REVERSED = r"""
template <class T> __global__ void reverse(T* x, int n) {
  __shared__ T s[64];
  int i = threadIdx.x;
  s[i] = i < n ? x[i] : T(0);
  BARRIER
  if (i < n) x[i] = s[n - 1 - i];
}"""


@pytest.mark.parametrize("dtype, name", [(np.float32, "float"), (np.int64, "long long")])
def test_templates_shared_memory_and_barriers(order, dtype, name):
    code = REVERSED.replace("BARRIER", "__syncthreads();")
    module = cp.RawModule(code=code, name_expressions=[f"reverse<{name}>"])
    x = cp.arange(50, dtype=dtype)
    module.get_function(f"reverse<{name}>")((1,), (64,), (x, np.int32(50)))
    assert x.tolist() == list(range(50))[::-1]


def test_a_missing_barrier_shows():
    def run(backwards):
        device.take_turns(backwards)
        try:
            # Not what the first run left in shared memory.
            x = cp.arange(50, dtype=np.float32) + 100 * backwards
            right = x[::-1].tolist()
            module = cp.RawModule(
                code=REVERSED.replace("BARRIER", ""), name_expressions=["reverse<float>"]
            )
            module.get_function("reverse<float>")((1,), (64,), (x, np.int32(50)))
            return x.tolist() == right
        finally:
            device.take_turns(False)

    assert not run(False) and not run(True)


def test_shared_memory_given_at_the_launch(order):
    source = r"""
    extern "C" __global__ void shift(float* x) {
      extern __shared__ float s[];
      s[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
      __syncthreads();
      x[blockIdx.x * blockDim.x + threadIdx.x] = s[(threadIdx.x + 1) % blockDim.x];
    }"""
    x = cp.arange(8, dtype=np.float32)
    cp.RawKernel(source, "shift")((2,), (4,), (x,), shared_mem=16)
    assert x.tolist() == [1, 2, 3, 0, 5, 6, 7, 4]


@pytest.mark.parametrize(
    "line, result",
    [
        ("for (int d = 16; d; d /= 2) v += __shfl_down_sync(~0u, v, d);", {0: 496, 32: 1520}),
        (
            "for (int d = 1; d < 32; d *= 2) v += __shfl_xor_sync(~0u, v, d);",
            {0: 496, 31: 496, 63: 1520},
        ),
        ("v = __shfl_sync(~0u, v, 5);", {0: 5, 31: 5, 33: 37}),
        ("v = __shfl_up_sync(~0u, v, 2);", {0: 0, 1: 1, 2: 0, 31: 29, 34: 32}),
    ],
)
def test_shuffles_stay_in_a_warp(order, line, result):
    body = f"int v = x[threadIdx.x]; {line} x[threadIdx.x] = v;"
    source = f'extern "C" __global__ void warp(int* x) {{ {body} }}'
    x = cp.arange(64, dtype=np.int32)
    cp.RawKernel(source, "warp")((1,), (64,), (x,))
    assert {i: int(x[i]) for i in result} == result


def test_atomics(order):
    source = r"""
    typedef unsigned long long word;
    extern "C" __global__ void count(const int* x, float* sums, int* most, word* words) {
      int v = x[blockIdx.x * blockDim.x + threadIdx.x];
      atomicAdd(&sums[v % 3], 0.5f);
      atomicMax(most, v);
      atomicAdd(words, 1ull << 40);
    }"""
    x, sums, most, words = (
        cp.arange(96, dtype=np.int32),
        cp.zeros(3, "f"),
        cp.zeros(1, "i"),
        cp.zeros(1, "u8"),
    )
    cp.RawKernel(source, "count")((3,), (32,), (x, sums, most, words))
    assert sums.tolist() == [16, 16, 16] and int(most[0]) == 95 and int(words[0]) == 96 << 40


# ---------------------------------------------------------------------------------- what goes wrong


def test_an_error_of_the_compiler_is_cupys():
    kernel = cp.RawKernel('extern "C" __global__ void k(float* x) { x[0] = undefined_name; }', "k")
    with pytest.raises(cp.cuda.compiler.CompileException, match="undefined_name"):
        kernel((1,), (1,), (cp.zeros(1),))


@pytest.mark.parametrize(
    "grid, block, shared", [((1,), (2048,), 0), ((1, 70000), (1,), 0), ((1,), (1,), 60000)]
)
def test_a_launch_that_no_gpu_takes(grid, block, shared):
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        cp.RawKernel(SAXPY, "saxpy")(
            grid, block, (cp.zeros(1), cp.zeros(1), 1.0, 0), shared_mem=shared
        )


def test_a_deadlock_is_reported():
    source = r"""
    extern "C" __global__ void stuck(float* x) {
      if (threadIdx.x < 16) __syncthreads(); else __syncwarp();
      x[threadIdx.x] = 1;
    }"""
    with pytest.raises(RuntimeError, match="deadlock"):
        cp.RawKernel(source, "stuck")((1,), (32,), (cp.zeros(32, "f"),))
    assert float(cp.ones(1000).sum()) == 1000  # barriers work again


@pytest.mark.parametrize("place", ["n", "-1"])
def test_a_write_outside_an_array_is_noticed(monkeypatch, capfd, place):
    source = f'extern "C" __global__ void write(float* x, int n) {{ x[{place}] = 1; }}'
    before = device.value("overruns")
    x = cp.zeros(10, np.float32)
    cp.RawKernel(source, "write")((1,), (1,), (x, np.int32(10)))
    del x
    assert device.value("overruns") == before + 1
    assert "a kernel wrote outside an array of 40 bytes" in capfd.readouterr().err
    device.forgive_overruns()


def test_a_read_outside_an_array_is_nan():
    arguments, body = "const float* x, float* y, int n", "y[0] = x[n]; y[1] = x[-1];"
    source = f'extern "C" __global__ void read({arguments}) {{ {body} }}'
    x, y = cp.zeros(10, np.float32), cp.zeros(2, np.float32)
    cp.RawKernel(source, "read")((1,), (1,), (x, y, np.int32(10)))
    assert cp.isnan(y).all()


# ------------------------------------------------------------------------------- numbers, the cache


def test_float32_below_the_normal_range_becomes_zero():
    tiny = cp.full(3, 1e-39, np.float32)
    assert (tiny * np.float32(1) == 0).all() and float(np.float32(1e-39)) != 0


def test_each_kernel_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain, "FOLDER", tmp_path)
    source = f'extern "C" __global__ void once(int* x) {{ x[0] = {time.time_ns()}; }}'
    path, _ = kernels.compile_source(source, (), ())
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(toolchain, "run", None)  # the compiler is not asked again
    assert kernels.compile_source(source, (), ())[0] == path and path.stat().st_mtime_ns == written
    with pytest.raises(TypeError):
        kernels.compile_source(source + " ", (), ())
    assert not [p.name for p in tmp_path.iterdir() if ".tmp" in p.name]
