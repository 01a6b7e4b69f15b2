// What the kernels of implicit.cu say in PTX, by its documentation: copies to shared memory that
// arrive later, ldmatrix, and mma.  A copy arrives at once where threads take their turns
// backwards, else when the thread waits for its group: CUDA allows both, and all between.
#pragma once
#include <vector>

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };

namespace emu {
enum { MOST_THREADS = 1024 };
struct Copy { float* to; const float* from; int count; };
struct Lane {
    std::vector<Copy> queue; std::vector<size_t> groups;
    float slot[2][6]; const float* row[2]; int turn;  // what it shows the other lanes of its warp
};
static Lane lanes[MOST_THREADS];
static inline Lane& me() { return lanes[emu_thread_number()]; }
static inline Lane& lane_of_my_warp(int i) { return lanes[emu_thread_number() / 32 * 32 + i]; }
static inline void deliver(const Copy& c, int V) {
    for (int i = 0; i < V; i++) c.to[i] = i < c.count ? c.from[i] : 0;
}
static inline void must(bool aligned) { if (!aligned) __builtin_trap(); }
}  // namespace emu

template <int V> void copy_async(float* to, const float* from, bool there) {
    emu::must((uintptr_t)to % (4 * V) == 0 && (uintptr_t)from % (4 * V) == 0);
    const emu::Copy c{to, from, there ? V : 0};
    for (int i = c.count; i < V; i++) to[i] = emu_backwards ? 0 : NAN;  // until it arrives
    if (emu_backwards) emu::deliver(c, V);
    else for (int i = 0; i < V; i++) emu::me().queue.push_back({to + i, from + i, there});
}
static inline void end_group() { emu::me().groups.push_back(emu::me().queue.size()); }
template <int N> void wait_for_all_groups_but() {
    emu::Lane& f = emu::me();
    if ((int)f.groups.size() <= N) return;
    const size_t done = f.groups[f.groups.size() - 1 - N];
    for (size_t i = 0; i < done; i++) emu::deliver(f.queue[i], 1);
    f.queue.erase(f.queue.begin(), f.queue.begin() + done);
    f.groups.erase(f.groups.begin(), f.groups.end() - N);
    for (size_t& g : f.groups) g -= done;
}

static inline void load_matrices(float* r, const float* row) {
    emu::Lane& f = emu::me();
    const int turn = f.turn++ & 1, lane = emu_lane();
    emu::must((uintptr_t)row % 16 == 0);
    f.row[turn] = row;
    __syncwarp();  // one is enough: the slots alternate
    for (int i = 0; i < 4; i++) r[i] = emu::lane_of_my_warp(i * 8 + lane / 4).row[turn][lane % 4];
}

// PTX ISA, "Matrix Fragments for mma.m16n8k8" (.tf32); g = lane/4, q = lane%4:
//   a[i]: row g + 8*(i&1), column q + 4*(i>>1)   b[i]: row q + 4*i, column g
//   c[i]: row g + 8*(i>>1), column 2q + (i&1)
static inline void multiply_tf32(float* c, const float* a, const float* b) {
    emu::Lane& f = emu::me();
    const int turn = f.turn++ & 1, lane = emu_lane();
    for (int i = 0; i < 6; i++)
        f.slot[turn][i] = __uint_as_float(__float_as_uint(i < 4 ? a[i] : b[i - 4]) & 0xffffe000);
    __syncwarp();
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + 8 * (i >> 1), column = lane % 4 * 2 + (i & 1);
        float sum = c[i];
        for (int k = 0; k < 8; k++)
            sum += emu::lane_of_my_warp(row % 8 * 4 + k % 4).slot[turn][row / 8 + k / 4 * 2] *
                   emu::lane_of_my_warp(column * 4 + k % 4).slot[turn][4 + k / 4];
        c[i] = sum;
    }
}
