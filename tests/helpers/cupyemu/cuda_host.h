// The dialect of CUDA C++ that CuPy's kernels and hand-written ones use, for a host compiler.
// One translation unit is one module of kernels; kernels.py adds an EMU_KERNEL line for each of them.
#pragma once
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static  // one block runs at a time
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __CUDA_ARCH__ 900

struct uint3 { unsigned x, y, z; };
typedef uint3 dim3;
extern "C" {
#ifndef __SANITIZE_THREAD__
extern uint3 emu_thread, emu_block;
#endif
extern uint3 emu_block_size, emu_grid_size;
extern int emu_backwards;
extern char emu_shared[];
const char* emu_run_block(void (*thread)(void*), void* argument);
void emu_barrier(int of_the_block);
int emu_thread_number(void);
void emu_global_read(const char* from, size_t size);
extern char __ehdr_start[] __attribute__((visibility("hidden")));  // where this library begins,
extern char _end[] __attribute__((visibility("hidden")));          // and where it ends
}
#ifdef __SANITIZE_THREAD__  // threads of a kernel run on several threads of the host: see run()
#include <thread>
static thread_local uint3 emu_thread, emu_block;
#endif
#define threadIdx emu_thread
#define blockIdx emu_block
#define blockDim emu_block_size
#define gridDim emu_grid_size
static const int warpSize = 32;

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

// ---------------------------------------------------------------------------------------- arithmetic

using std::abs; using std::acos; using std::asin; using std::atan; using std::atan2; using std::cbrt;
using std::ceil; using std::copysign; using std::cos; using std::cosh; using std::erf; using std::exp;
using std::exp2; using std::expm1; using std::fabs; using std::floor; using std::fmod; using std::hypot;
using std::isfinite; using std::isinf; using std::isnan; using std::ldexp; using std::log; using std::log10;
using std::log1p; using std::log2; using std::nextafter; using std::pow; using std::rint; using std::round;
using std::signbit; using std::sin; using std::sinh; using std::sqrt; using std::tan; using std::tanh; using std::trunc;

#define EMU_MIN_MAX(T) \
    static inline T min(T a, T b) { return b < a ? b : a; } \
    static inline T max(T a, T b) { return a < b ? b : a; }
EMU_MIN_MAX(int)
EMU_MIN_MAX(unsigned)
EMU_MIN_MAX(long)
EMU_MIN_MAX(unsigned long)
EMU_MIN_MAX(long long)
EMU_MIN_MAX(unsigned long long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

template <class To, class From> static inline To emu_bits(From value) {
    To result;
    static_assert(sizeof result == sizeof value, "as many bytes");
    memcpy(&result, &value, sizeof result);
    return result;
}
static inline float __int_as_float(int v) { return emu_bits<float>(v); }
static inline float __uint_as_float(unsigned v) { return emu_bits<float>(v); }
static inline int __float_as_int(float v) { return emu_bits<int>(v); }
static inline unsigned __float_as_uint(float v) { return emu_bits<unsigned>(v); }
static inline double __longlong_as_double(long long v) { return emu_bits<double>(v); }
static inline long long __double_as_longlong(double v) { return emu_bits<long long>(v); }
static inline unsigned short __float2half_rn(float v) { return emu_bits<unsigned short>((_Float16)v); }
static inline float __half2float(unsigned short v) { return emu_bits<_Float16>(v); }
#define __half_as_ushort(v) emu_bits<unsigned short>(v)
#define __ushort_as_half(v) emu_bits<half>((unsigned short)(v))
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __clz(int v) { return v ? __builtin_clz(v) : 32; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
// Not contracted: the compiler must not see where the number comes from.
static inline double __dmul_rn(double a, double b) { volatile double v = a * b; return v; }
static inline double __dadd_rn(double a, double b) { volatile double v = a + b; return v; }
static inline float rsqrtf(float v) { return 1 / sqrtf(v); }
static inline float rsqrt(float v) { return 1 / sqrtf(v); }
static inline double rsqrt(double v) { return 1 / sqrt(v); }
static inline float __expf(float v) { return expf(v); }
static inline float __logf(float v) { return logf(v); }
static inline float __fdividef(float a, float b) { return a / b; }
template <class T> static inline T __ldg(const T* p) { return *p; }
static inline void __threadfence() {}

// ------------------------------------------------------------------------------------------- atomics

// p holds `old`: put `next` there.  False, with the new `old`, where another thread of the host came between.
template <class T> static inline bool emu_exchange(T* p, T& old, T next) {
#ifdef __SANITIZE_THREAD__
    return __atomic_compare_exchange(p, &old, &next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
#else
    *p = next;
    return true;
#endif
}
template <class T> static inline T emu_load(T* p) {
    T value;
    __atomic_load(p, &value, __ATOMIC_RELAXED);
    return value;
}

#define EMU_ATOMIC(name, T, expression) \
    static inline T name(T* p, T v) { T old = emu_load(p); while (!emu_exchange(p, old, (T)(expression))) {} return old; }
#define EMU_ATOMICS(T) \
    EMU_ATOMIC(atomicAdd, T, old + v) EMU_ATOMIC(atomicSub, T, old - v) EMU_ATOMIC(atomicExch, T, v) \
    EMU_ATOMIC(atomicMax, T, old < v ? v : old) EMU_ATOMIC(atomicMin, T, v < old ? v : old) \
    EMU_ATOMIC(atomicAnd, T, old & v) EMU_ATOMIC(atomicOr, T, old | v) EMU_ATOMIC(atomicXor, T, old ^ v) \
    static inline T atomicCAS(T* p, T expected, T v) { \
        T old = emu_load(p); \
        while (old == expected && !emu_exchange(p, old, v)) {} \
        return old; \
    }
EMU_ATOMICS(int)
EMU_ATOMICS(unsigned)
EMU_ATOMICS(unsigned long long)
EMU_ATOMIC(atomicAdd, float, old + v)
EMU_ATOMIC(atomicAdd, double, old + v)
EMU_ATOMIC(atomicExch, float, v)
EMU_ATOMIC(atomicExch, double, v)

// ------------------------------------------------------------------------------------------ barriers

static inline void __syncthreads() { emu_barrier(1); }
static inline void __syncwarp(unsigned = ~0u) { emu_barrier(0); }

template <class T> static inline T emu_shuffle(T value, int lane) {  // a lane outside the warp: the own value
    static uint64_t slots[1024];
    int me = emu_thread_number();
    memcpy(&slots[me], &value, sizeof value);
    __syncwarp();
    T result;
    memcpy(&result, &slots[lane < 0 || lane > 31 ? me : (me & ~31) + lane], sizeof result);
    __syncwarp();
    return result;
}
static inline int emu_lane() { return emu_thread_number() & 31; }
template <class T> static inline T __shfl_sync(unsigned, T v, int lane) { return emu_shuffle(v, lane & 31); }
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask) { return emu_shuffle(v, emu_lane() ^ mask); }
template <class T> static inline T __shfl_up_sync(unsigned, T v, int d) { return emu_shuffle(v, emu_lane() - d); }
template <class T> static inline T __shfl_down_sync(unsigned, T v, int d) { return emu_shuffle(v, emu_lane() + d); }

// ----------------------------------------------------------------------------------------- launching

namespace emu {

// kernel(*arguments[0], *arguments[1], ...)
template <auto kernel, class... A, size_t... I>
static inline void call(void (*)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(typename std::remove_reference<A>::type*)arguments[I]...);
}

template <auto kernel, class... A> static inline void one_thread(void (*same)(A...), void** arguments) {
    call<kernel>(same, arguments, std::index_sequence_for<A...>{});
}

template <auto kernel> static void fibre(void* arguments) { one_thread<kernel>(kernel, (void**)arguments); }

template <auto kernel> static inline void run_block(void** arguments) {
    const uint3 size = emu_block_size;
    const bool backwards = emu_backwards;
    for (unsigned z = 0; z < size.z; z++)
        for (unsigned y = 0; y < size.y; y++)
            for (unsigned x = 0; x < size.x; x++) {
                emu_thread = backwards ? uint3{size.x - 1 - x, size.y - 1 - y, size.z - 1 - z} : uint3{x, y, z};
                one_thread<kernel>(kernel, arguments);
            }
}

#ifdef __SANITIZE_THREAD__  // the threads of all blocks, dealt out to four of the host: ThreadSanitizer watches them
template <auto kernel> static void run_on_threads(const unsigned* grid, void** arguments) {
    const uint3 blocks = emu_grid_size, size = emu_block_size;
    const size_t each = (size_t)size.x * size.y * size.z, count = each * blocks.x * blocks.y * blocks.z;
    auto some = [=](size_t first) {
        for (size_t i = first; i < count; i += 4) {
            const size_t b = i / each, t = i % each;
            emu_block = {unsigned(b % blocks.x), unsigned(b / blocks.x % blocks.y), unsigned(b / blocks.x / blocks.y)};
            emu_thread = {unsigned(t % size.x), unsigned(t / size.x % size.y), unsigned(t / size.x / size.y)};
            one_thread<kernel>(kernel, arguments);
        }
    };
    std::thread threads[] = {std::thread(some, 0), std::thread(some, 1), std::thread(some, 2), std::thread(some, 3)};
    for (std::thread& thread : threads) thread.join();
}
#endif

// grid: gridDim, blockDim.  Returns what went wrong, or NULL.
template <auto kernel, bool has_barriers> static const char* run(const unsigned* grid, void** arguments) {
    emu_grid_size = uint3{grid[0], grid[1], grid[2]};
    emu_block_size = uint3{grid[3], grid[4], grid[5]};
#ifdef __SANITIZE_THREAD__
    run_on_threads<kernel>(grid, arguments);
    return nullptr;
#endif
    const size_t count = (size_t)grid[0] * grid[1] * grid[2];
    for (size_t k = 0; k < count; k++) {
        const size_t i = emu_backwards ? count - 1 - k : k;
        emu_block = uint3{unsigned(i % grid[0]), unsigned(i / grid[0] % grid[1]), unsigned(i / grid[0] / grid[1])};
        if (!has_barriers) {
            run_block<kernel>(arguments);
        } else if (const char* problem = emu_run_block(fibre<kernel>, arguments)) {
            return problem;
        }
    }
    return nullptr;
}

}  // namespace emu

#define EMU_KERNEL(symbol, has_barriers, ...) \
    extern "C" const char* symbol(const unsigned* grid, void** arguments) { \
        return emu::run<__VA_ARGS__, has_barriers>(grid, arguments); \
    }
