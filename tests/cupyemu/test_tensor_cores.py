"""Emulated copies to shared memory, ldmatrix and products of tensor cores, as PTX defines them."""

import cupy as cp
import numpy as np
import pytest

from cupyemu import device

COPY = r"""
extern "C" __global__ void copy(const float* x, float* before, float* after, int there) {
  __shared__ float4 room[32];
  float* s = (float*)(room + threadIdx.x);
  copy_async<4>(s, x + threadIdx.x * 4, there);
  end_group();
  for (int i = 0; i < 4; i++) before[threadIdx.x * 4 + i] = s[i];
  wait_for_all_groups_but<GROUPS>();
  __syncthreads();
  for (int i = 0; i < 4; i++) after[threadIdx.x * 4 + i] = s[i];
}"""
PRODUCT = r"""
extern "C" __global__ void product(const float* a, const float* b, float* c) {
  const int lane = threadIdx.x, g = lane / 4, q = lane % 4;
  __shared__ float4 room[16 * 2];
  float* s = (float*)room;
  for (int i = 0; i < 4; i++) s[lane * 4 + i] = a[lane * 4 + i];
  __syncthreads();
  float A[4], B[2], C[4] = {1, 1, 1, 1};
  load_matrices(A, s + lane % 16 * 8 + lane / 16 * 4);
  for (int i = 0; i < 2; i++) B[i] = b[(q + i * 4) * 8 + g];
  multiply_tf32(C, A, B);
  for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + q * 2 + i % 2] = C[i];
}"""


@pytest.fixture(params=[False, True], ids=["forwards", "backwards"])
def backwards(request):
    device.take_turns(request.param)
    yield request.param
    device.take_turns(False)


def copied(x, groups, there=1):
    """What lies in shared memory after a copy, and after waiting for it."""
    module = cp.RawModule(code=COPY, options=(f"-DGROUPS={groups}",))
    before, after = cp.zeros(128, np.float32), cp.zeros(128, np.float32)
    module.get_function("copy")((1,), (32,), (x, before, after, np.int32(there)))
    return before.get(), after.get()


def test_a_copy_arrives_at_once_or_when_it_is_waited_for(backwards):
    x = cp.arange(128, dtype=np.float32)
    before, after = copied(x, 0)
    np.testing.assert_array_equal(before, x.get() if backwards else np.full(128, np.nan))
    np.testing.assert_array_equal(after, x.get())
    np.testing.assert_array_equal(copied(x, 0, there=0)[1], np.zeros(128))


def test_one_group_too_few_is_waited_for():
    assert np.isnan(copied(cp.arange(128, dtype=np.float32), 1)[1]).all()


@pytest.mark.parametrize("begin, size", [(0, 124), (1, 128), (4, 127)])
def test_a_copy_from_outside_of_an_array_or_not_aligned_is_noticed(backwards, begin, size, capfd):
    before = device.value("overruns")
    copied(cp.zeros(begin + size, np.float32)[begin:], 0)
    assert device.value("overruns") > before
    device.forgive_overruns()


def test_a_product_of_tensor_cores(backwards):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape, dtype=np.float32) for shape in ((16, 8), (8, 8)))
    c = cp.zeros((16, 8), np.float32)
    cp.RawModule(code=PRODUCT).get_function("product")((1,), (32,), (cp.array(a), cp.array(b), c))
    cut_a, cut_b = ((v.view(np.uint32) & 0xFFFFE000).view(np.float32) for v in (a, b))
    np.testing.assert_allclose(c.get(), 1 + cut_a.astype(float) @ cut_b, rtol=0, atol=1e-6)
    assert abs(c.get() - 1 - a @ b).max() > 1e-4
