// What the kernels of implicit.cu say in PTX, by its documentation: copies to shared memory that
// arrive later, ldmatrix, and mma.  A copy arrives at once where threads take their turns
// backwards, else when the thread waits for its group: CUDA allows both, and all between.
// Only kernels that use them include this file, after cuda_host.h: it takes time to compile.
#pragma once
#include <vector>

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };

namespace emu {
enum { MOST_THREADS = 1024 };
struct Copy { float* to; const float* from; int there, size; };  // of `size` numbers, or zeros
struct Lane { std::vector<Copy> queue; std::vector<size_t> groups; };
// What the lanes of a warp show each other: rows for ldmatrix, and the factors of a product.
struct Warp { const float* row[32]; float a[16][8], b[8][8]; };
static Lane lanes[MOST_THREADS];
static Warp warps[MOST_THREADS / 32][2];  // used in turn: so one barrier is enough
static int turns[MOST_THREADS];
static inline Lane& me() { return lanes[emu_thread_number()]; }
static inline Warp& next_of_my_warp() {
    const int i = emu_thread_number();
    return warps[i / 32][turns[i]++ & 1];
}
static inline void deliver(const Copy& c) {
    for (int i = 0; i < c.size; i++) c.to[i] = c.there ? c.from[i] : 0;
}
static inline void read(const void* from, size_t size) {  // of an array, or a constant of the module
    const char* p = (const char*)from;
    if (p < __ehdr_start || p + size > _end) emu_global_read(p, size);
}
}  // namespace emu

template <int V> void copy_async(float* to, const float* from, bool there) {
    const emu::Copy c{to, from, there, V};
    if (there || (uintptr_t)from % (4 * V)) emu::read(from, 4 * V);
    if ((uintptr_t)to % (4 * V)) __builtin_trap();
    for (int i = 0; i < V; i++) to[i] = NAN;  // until it arrives
    if (emu_backwards) emu::deliver(c);
    else emu::me().queue.push_back(c);
}
static inline void end_group() { emu::me().groups.push_back(emu::me().queue.size()); }
template <int N> void wait_for_all_groups_but() {
    emu::Lane& f = emu::me();
    if ((int)f.groups.size() <= N) return;
    const size_t done = f.groups[f.groups.size() - 1 - N];
    for (size_t i = 0; i < done; i++) emu::deliver(f.queue[i]);
    f.queue.erase(f.queue.begin(), f.queue.begin() + done);
    f.groups.erase(f.groups.begin(), f.groups.end() - N);
    for (size_t& g : f.groups) g -= done;
}

static inline void load_matrices(float* r, const float* row) {
    emu::Warp& warp = emu::next_of_my_warp();
    const int lane = emu_lane();
    if ((uintptr_t)row % 16) __builtin_trap();
    warp.row[lane] = row;
    __syncwarp();
    for (int i = 0; i < 4; i++) r[i] = warp.row[i * 8 + lane / 4][lane % 4];
}

// PTX ISA, "Matrix Fragments for mma.m16n8k8" (.tf32); g = lane/4, q = lane%4:
//   a[i]: row g + 8*(i&1), column q + 4*(i>>1)   b[i]: row q + 4*i, column g
//   c[i]: row g + 8*(i>>1), column 2q + (i&1)
static inline void multiply_tf32(float* c, const float* a, const float* b) {
    auto tf32 = [](float v) { return __uint_as_float(__float_as_uint(v) & 0xffffe000); };
    emu::Warp& warp = emu::next_of_my_warp();
    const int lane = emu_lane(), g = lane / 4, q = lane % 4;
    for (int i = 0; i < 4; i++) warp.a[g + i % 2 * 8][q + i / 2 * 4] = tf32(a[i]);
    for (int i = 0; i < 2; i++) warp.b[g][q + i * 4] = tf32(b[i]);
    __syncwarp();
    for (int i = 0; i < 4; i++) {
        const float *row = warp.a[g + i / 2 * 8], *column = warp.b[q * 2 + i % 2];
        for (int k = 0; k < 8; k++) c[i] += row[k] * column[k];
    }
}
