// Convolution without im2col's matrix ("implicit GEMM"): see implicit.py, which derives it.
//
//     forward  y  (M, F)   M = N*OH*OW places   sum over k = (i, j, c): patch of x  * weight
//     dx       dx (M', C)  M' = N*H*W pixels    sum over k = (i, j, f): patch of dy * weight turned
//     dw       dw (D, F)   D = KH*KW*C          sum over k = (n, p, q): patch of x transposed * dy
//
// Each is a matrix product, out(m, n) = sum over k of A(m, k) * B(k, n).  A block of threads
// computes a tile of it, BK values of k at a time: it fetches that part of A and of B into shared
// memory, multiplies (tiles.cu), and goes on.  Arrays are float32, channels last, indices int.
//
//   VX, VF  4 where C/G, or F/G, is a multiple of 4, so that 16 bytes go at once; else 1
//   STAGES  tiles in shared memory at a time: 3 of 128 + 128 rows fill 48 KiB
// Nothing is summed in an order that depends on timing: every run gives the same bits.
#ifndef ASYNC  // before Ampere (sm_80), a copy to shared memory passes through registers
#define ASYNC (__CUDA_ARCH__ >= 800)
#endif

constexpr int TILE = (BM + BN) * BK;  // numbers of a stage
struct Shape { int N, H, W, C, OH, OW, KH, KW, SH, SW, PH, PW, F, G; };  // down, across
__device__ const float4 ONE = {1, 0, 0, 0};

// A number with three digits: (high * MID + mid) * LOW + low.  Divided once, then counted up.
struct Digits {
    int high, mid, low, MID, LOW;
    __device__ Digits(int value, int MID, int LOW)
        : high(value / LOW / MID), mid(value / LOW % MID), low(value % LOW), MID(MID), LOW(LOW) {}
    __device__ bool advance(int by) {  // whether the upper digits changed
        low += by;
        const bool changed = low >= LOW;
        for (; low >= LOW; low -= LOW)
            if (++mid == MID) mid = 0, high++;
        return changed;
    }
};

// What a thread copies of a tile: COUNT times V numbers.
template <int V, int COUNT> struct Copies {
#if ASYNC
    __device__ void copy(int i, float* to, const float* from, bool there) {
        copy_async<V>(to, from, there);
    }
    __device__ void land() {}
#else
    float held[COUNT][V], *where[COUNT];
    __device__ void copy(int i, float* to, const float* from, bool there) {
        where[i] = to;
        UNROLL for (int e = 0; e < V; e++) held[i][e] = there ? from[e] : 0;
    }
    __device__ void land() {  // after the arithmetic, which hides how long the reading takes
        UNROLL for (int i = 0; i < COUNT; i++)
            UNROLL for (int e = 0; e < V; e++) where[i][e] = held[i][e];
    }
#endif
};

// A tile by rows: LANES threads share a row; each has MINE rows and TURNS pieces of each.
template <int ROWS, int V> struct ByRow : Copies<V, ROWS * BK / V / THREADS> {
    static constexpr int LANES = V == 4 ? 4 : THREADS / ROWS, STEP = THREADS / LANES;
    static constexpr int MINE = ROWS / STEP, TURNS = BK / V / LANES;
    static __device__ int row(int i) { return threadIdx.x / LANES + i * STEP; }
    static __device__ int k(int t) { return threadIdx.x % LANES * V + t * LANES * V; }
};
// A tile by k: piece i of a thread is for k(i) and the columns from n(i) on.
template <int WIDTH, int V> struct ByK : Copies<V, WIDTH * BK / V / THREADS> {
    static constexpr int LANES = WIDTH / V, TURNS = BK * LANES / THREADS, STEP = THREADS / LANES;
    static constexpr bool EVEN = THREADS % LANES == 0;  // then all pieces are for one column
    static __device__ int piece(int i) { return threadIdx.x + (EVEN ? 0 : i * THREADS); }
    static __device__ int k(int i) { return piece(i) / LANES + (EVEN ? i * STEP : 0); }
    static __device__ int n(int i) { return piece(i) % LANES * V; }
};

// Patches, by rows: row m is a place, k = (tap, tap, channel).  SIGN -1 walks the taps backwards.
// Each row has a pointer to its next number; whether this lies in the image, `look` finds out where
// the tap changes, which is seldom.
template <int V, int SIGN> struct Patches : ByRow<BM, V> {
    using B = ByRow<BM, V>;
    const float* at[B::MINE];
    int H, W, C, KI, top[B::MINE], left[B::MINE], inside;
    Digits k;
    // Place (p, q) of OH x OW has its first tap at (p*SH + y0, q*SW + x0).
    __device__ Patches(const float* data, int H, int W, int C, int channels, int KI, int KJ, int m0,
                       int M, int OH, int OW, int SH, int SW, int y0, int x0)
        : H(H), W(W), C(C), KI(KI), k(B::k(0), KJ, channels) {
        UNROLL for (int i = 0; i < B::MINE; i++) {
            const Digits place(m0 + B::row(i), OH, OW);
            top[i] = place.mid * SH + y0, left[i] = place.low * SW + x0;
            at[i] = data + ((place.high * H + top[i]) * W + left[i]) * C + from_first_tap();
            if (m0 + B::row(i) >= M) top[i] = -(1 << 20);  // outside of every image
        }
        look();
    }
    __device__ int from_first_tap() { return SIGN * (k.high * W + k.mid) * C + k.low; }
    __device__ void look() {
        inside = 0;
        UNROLL for (int i = 0; i < B::MINE; i++) {
            const int y = top[i] + SIGN * k.high, x = left[i] + SIGN * k.mid;
            inside |= ((unsigned)y < H && (unsigned)x < W && k.high < KI) << i;
        }
    }
    __device__ void fetch(float* tile) {
        UNROLL for (int t = 0; t < B::TURNS; t++) {
            UNROLL for (int i = 0; i < B::MINE; i++)
                this->copy(t * B::MINE + i, tile + by_row(B::row(i), B::k(t)), at[i],
                           inside >> i & 1);
            int forward = B::LANES * V;
            if (k.low + forward < k.LOW) k.low += forward;
            else {
                const int before = from_first_tap();
                k.advance(forward), look();
                forward = from_first_tap() - before;
            }
            UNROLL for (int i = 0; i < B::MINE; i++) at[i] += forward;
        }
    }
};

// The same patches by k, for dw: column d = (tap, tap, channel) is the thread's, k is the place.
// After the last column comes one of ones: its row of dw is the gradient of the bias.
template <int V> struct PatchesByPlace : ByK<BM, V> {
    using B = ByK<BM, V>;
    const float* data;
    int H, W, C, SH, SW, y0, x0, N, row;
    bool inside;
    Digits place;
    __device__ PatchesByPlace(const float* x, Shape s, int channels, int d0, int first)
        : H(s.H), W(s.W), C(s.C), SH(s.SH), SW(s.SW), N(s.N),
          place(first + B::k(0), s.OH, s.OW) {
        const Digits d(d0 + B::n(0), s.KW, channels);
        data = x + d.low, x0 = d.mid - s.PW, y0 = d.high < s.KH ? d.high - s.PH : -(1 << 20);
        if (d0 + B::n(0) == s.KH * s.KW * channels)  // an image that is 1 everywhere
            data = &ONE.x, x0 = y0 = C = 0, H = W = 0x7fffffff;
        look();
    }
    __device__ void look() {
        const int y = place.mid * SH + y0;
        inside = (unsigned)y < H && place.high < N, row = (place.high * H + y) * W;
    }
    __device__ void fetch(float* tile) {
        UNROLL for (int t = 0; t < B::TURNS; t++) {
            const int x = place.low * SW + x0;
            this->copy(t, tile + by_k<BM>(B::k(t), B::n(0)), data + (row + x) * C,
                       inside && (unsigned)x < W);
            if (place.advance(B::STEP)) look();
        }
    }
};

// Rows k of a matrix of F columns, by k: the weight (forward) or dy (dw).
template <int V> struct Rows : ByK<BN, V> {
    using B = ByK<BN, V>;
    const float* data;
    int rows, columns, F;  // rows and columns from the tile's first on
    __device__ Rows(const float* data, int n0, int columns, int F, int first, int end)
        : data(data + first * F + n0), rows(end - first), columns(columns - n0), F(F) {}
    __device__ void fetch(float* tile) {
        UNROLL for (int t = 0; t < B::TURNS; t++)
            this->copy(t, tile + by_k<BN>(B::k(t), B::n(t)), data + B::k(t) * F + B::n(t),
                       B::k(t) < rows && B::n(t) < columns);
        data += BK * F, rows -= BK;
    }
};

// The weight by rows, for dx: row c, k = (tap, tap, filter); tap t stands for weight i0 + t*SH
// down, j0 + t*SW across.
template <int V> struct Filters : ByRow<BN, V> {
    using B = ByRow<BN, V>;
    const float *data, *at;
    int channels, rows, F, KW, SH, SW, i0, j0, KI;
    Digits k;
    __device__ Filters(const float* data, Shape s, int c0, int channels, int filters, int i0,
                       int j0, int KI, int KJ)
        : data(data + c0 * s.F), channels(channels), rows(channels - c0), F(s.F), KW(s.KW),
          SH(s.SH), SW(s.SW), i0(i0), j0(j0), KI(KI), k(B::k(0), KJ, filters) { look(); }
    __device__ void look() {
        const int tap = (i0 + k.high * SH) * KW + j0 + k.mid * SW;
        at = data + (tap * channels + B::row(0)) * F + k.low;
        if (k.high >= KI) rows = 0;
    }
    __device__ void fetch(float* tile) {
        UNROLL for (int t = 0; t < B::TURNS; t++) {
            UNROLL for (int i = 0; i < B::MINE; i++)
                this->copy(t * B::MINE + i, tile + by_row(B::row(i), B::k(t)),
                           at + i * B::STEP * F, B::row(i) < rows);
            at += B::LANES * V;
            if (k.advance(B::LANES * V)) look();
        }
    }
};

// ------------------------------------------------------------------------------ one tile of out
// STAGES - 1 tiles are under way while one is being multiplied; one barrier a tile.
template <class S, class OperandA, class OperandB>
__device__ void multiply(S& sums, OperandA& A, OperandB& B, int tiles) {
    __shared__ float4 storage[STAGES * TILE / 4];
    float *shared = (float*)storage, *read = shared, *fill = shared;
    UNROLL for (int i = 0; i < S::RI; i++)
        UNROLL for (int j = 0; j < S::CJ; j++) sums.value(i, j) = 0;
    auto next = [&](float* at) { return at == shared + (STAGES - 1) * TILE ? shared : at + TILE; };
    for (int t = 1 - STAGES; t < tiles; t++) {  // fetch tile t + STAGES - 1, multiply tile t
        if (t >= 0) {
#if ASYNC
            wait_for_all_groups_but<STAGES - 2>();  // my copies for tile t have arrived ...
#endif
            __syncthreads();  // ... everybody's have, and nobody still reads tile t - 1
        }
        const bool more = t + STAGES - 1 < tiles;
        if (more) A.fetch(fill), B.fetch(fill + BM * BK);
#if ASYNC
        end_group();  // empty where there was nothing: so the count stays right
#endif
        if (t >= 0) sums.add(read, read + BM * BK), read = next(read);
        if (more) A.land(), B.land();
        fill = next(fill);
    }
}

// out[at(row)][column], plus bias, then ReLU (forward); or 0 where the ReLU below, `mask`, had been
// closed (dx).  NaN stays NaN.
template <int V, class S, class At>
__device__ void write(S& sums, float* out, At at, int columns, const float* bias, bool relu,
                      const float* mask) {
    constexpr int W = V == 4 ? S::VECTOR : 1;
    UNROLL for (int i = 0; i < S::RI; i++) {
        const int base = at(S::row(i));
        if (base < 0) continue;
        UNROLL for (int j = 0; j < S::CJ; j += W) {
            const int n = S::column(j);
            if (n >= columns) continue;
            float v[W];
            UNROLL for (int e = 0; e < W; e++) {
                v[e] = sums.value(i, j + e) + (bias ? bias[n + e] : 0);
                if (relu && v[e] < 0 || mask && mask[base + n + e] <= 0) v[e] = 0;
            }
            if (W == 4) *(float4*)(out + base + n) = *(float4*)v;
            else if (W == 2) *(float2*)(out + base + n) = *(float2*)v;
            else out[base + n] = v[0];
        }
    }
}

// ------------------------------------------------------------------------------------- kernels
#define GEOMETRY                                                                            \
    int N, int H, int W, int C, int OH, int OW, int KH, int KW, int SH, int SW, int PH, int PW, \
        int F, int G
// blockIdx.x counts tiles, those that read the same rows of A one after the other, so that these
// are in the cache; blockIdx.y counts groups, and the parts that a kernel names.

// grid (ceil(N*OH*OW / BM) * ceil(F/G / BN), G)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_forward(
    const float* x, const float* weight, const float* bias, int relu, float* y, GEOMETRY) {
    const int channels = C / G, filters = F / G, M = N * OH * OW, D = KH * KW * channels;
    const int group = blockIdx.y, across = (filters + BN - 1) / BN;
    const int m0 = blockIdx.x / across * BM, n0 = blockIdx.x % across * BN;
    const int f0 = group * filters + n0;
    // Within the image, a row of the window is one run of numbers, as if it were a single tap.
    const bool run = PW == 0 && G == 1 && (OW - 1) * SW + KW <= W;
    Patches<VX, 1> A(x + group * channels, H, W, C, run ? KW * C : channels, KH, run ? 1 : KW, m0,
                     M, OH, OW, SH, SW, -PH, -PW);
    Rows<VF> B(weight + group * filters, n0, filters, F, 0, D);
    Sums<true, false> sums;
    multiply(sums, A, B, (D + BK - 1) / BK);
    auto at = [&](int row) { return m0 + row < M ? (m0 + row) * F : -1; };
    write<VF>(sums, y + f0, at, filters - n0, bias ? bias + f0 : nullptr, relu, nullptr);
}

// dx[n, h, w, c] sums dy[n, p, q, f] * weight[i, j, c, f] where p*SH + i - PH = h and
// q*SW + j - PW = w.  A pixel sees only the weights i = i0, i0 + SH, ... with i0 = (h + PH) % SH,
// and the same across.  So the pixels are dealt to SH*SW parts, and each part is a convolution of
// stride 1: nothing is multiplied by zeros.
// grid (ceil(N*ceil(H/SH)*ceil(W/SW) / BM) * ceil(C/G / BN), G*SH*SW)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_dx(
    const float* dy, const float* weight, const float* mask, float* dx, GEOMETRY) {
    const int channels = C / G, filters = F / G, group = blockIdx.y / (SH * SW);
    const int across = (channels + BN - 1) / BN, c0 = blockIdx.x % across * BN;
    // Its pixels are (h0 + SH*a, w0 + SW*b), its taps KI x KJ; 0 where the kernel is smaller than S.
    const int h0 = blockIdx.y / SW % SH, w0 = blockIdx.y % SW;
    const int rows = (H - h0 + SH - 1) / SH, columns = (W - w0 + SW - 1) / SW;
    const int M = N * rows * columns, m0 = blockIdx.x / across * BM;
    if (m0 >= M) return;
    const int i0 = (h0 + PH) % SH, j0 = (w0 + PW) % SW;
    const int KI = (KH - i0 + SH - 1) / SH, KJ = (KW - j0 + SW - 1) / SW;
    const Shape shape = {N, H, W, C, OH, OW, KH, KW, SH, SW, PH, PW, F, G};
    Patches<VF, -1> A(dy + group * filters, OH, OW, F, filters, KI, max(KJ, 1), m0, M, rows,
                      columns, 1, 1, (h0 + PH) / SH, (w0 + PW) / SW);
    Filters<VF> B(weight + group * filters, shape, c0, channels, filters, i0, j0, KI, max(KJ, 1));
    Sums<true, true> sums;
    multiply(sums, A, B, (KI * KJ * filters + BK - 1) / BK);
    auto at = [&](int row) {
        const Digits pixel(m0 + row, rows, columns);
        const int h = h0 + pixel.mid * SH, w = w0 + pixel.low * SW;
        return m0 + row < M ? ((pixel.high * H + h) * W + w) * C : -1;
    };
    const int first = group * channels + c0;
    write<VX>(sums, dx + first, at, channels - c0, nullptr, false, mask ? mask + first : nullptr);
}

// dw is small and its sums are long: too few tiles for a GPU.  So the places are cut into `parts`;
// part s writes its sums to out[s] (rows, F), and sum_parts adds them in order.  There are D rows,
// and with a bias the one of its gradient.
// grid (ceil(rows / BM) * ceil(F/G / BN), G*parts)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_dw(
    const float* x, const float* dy, float* out, int rows, int parts, GEOMETRY) {
    const int channels = C / G, filters = F / G, M = N * OH * OW;
    const int group = blockIdx.y / parts, part = blockIdx.y % parts;
    const int across = (filters + BN - 1) / BN, n0 = blockIdx.x % across * BN;
    const int d0 = blockIdx.x / across * BM, each = ((M + parts - 1) / parts + BK - 1) / BK * BK;
    const int first = part * each, end = min(first + each, M);
    const Shape shape = {N, H, W, C, OH, OW, KH, KW, SH, SW, PH, PW, F, G};
    PatchesByPlace<VX> A(x + group * channels, shape, channels, d0, first);
    Rows<VF> B(dy + group * filters, n0, filters, F, first, end);
    Sums<false, false> sums;
    multiply(sums, A, B, (max(end - first, 0) + BK - 1) / BK);
    auto at = [&](int row) { return d0 + row < rows ? (d0 + row) * F : -1; };
    float* to = out + part * rows * F + group * filters + n0;
    write<VF>(sums, to, at, filters - n0, nullptr, false, nullptr);
}

// dw[i] = sums[0][i] + sums[1][i] + ..., and what follows dw's last is db; one thread a number.
extern "C" __global__ void sum_parts(
    const float* sums, float* dw, float* db, int parts, int size, int size_of_dw) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= size) return;
    float sum = 0;
    for (int s = 0; s < parts; s++) sum += sums[s * size + i];
    (i < size_of_dw ? dw[i] : db[i - size_of_dw]) = sum;
}
