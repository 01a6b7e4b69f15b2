// Convolution without im2col's matrix ("implicit GEMM"): see implicit.py, which derives it.
//
//     forward  y  (M, F)   M = N*OH*OW places   sum over k = (i, j, c): patch of x  * weight
//     dx       dx (M', C)  M' = N*H*W pixels    sum over k = (i, j, f): patch of dy * weight, turned
//     dw       dw (D, F)   D = K*K*C            sum over k = (n, p, q): patch of x, transposed * dy
//
// Each is a matrix product, out(m, n) = sum over k of A(m, k) * B(k, n).  A block of threads
// computes a tile of BM x BN numbers of it, BK values of k at a time: it fetches that part of A and
// of B into shared memory, multiplies, and goes on.  Arrays are float32, channels last, indices int.
//
// Set when it is compiled:
//   MATH    0: float32 by ordinary multiplications   1: TF32   3: float32 from three TF32 products
//   VX, VF  4 where C/G, or F/G, is a multiple of 4 and the arrays are aligned: 16 bytes go at once;
//           else 1
//   BN      columns of a tile: 128, 96 or 64          STAGES  tiles in shared memory at a time
// Nothing is summed in an order that depends on timing: every run gives the same bits.
#define UNROLL _Pragma("unroll")
#ifndef ASYNC  // before Ampere (sm_80), a copy to shared memory passes through registers
#define ASYNC (__CUDA_ARCH__ >= 800)
#endif

constexpr int BM = 128, BK = 16;                  // STAGES 3 of 128 + 128 rows fill 48 KiB
constexpr int TILE = (BM + BN) * BK;              // numbers of a stage
constexpr int THREADS = MATH ? 128 : 256, BLOCKS = MATH && BN == 64 ? 3 : 2;
struct Shape { int N, H, W, C, OH, OW, F, K, S, P, G; };
__device__ const float4 ONE = {1, 0, 0, 0};

// ----------------------------------------------------------------- instructions without a C++ name
#ifdef __CUDACC__
// V numbers to shared memory, behind the thread's back; zeros where there is nothing to copy.
template <int V> __device__ void copy_async(float* to, const float* from, bool there) {
    const unsigned s = __cvta_generic_to_shared(to), bytes = there ? 4 * V : 0;
    if (V == 4)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(s), "l"(from), "r"(bytes));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(s), "l"(from), "r"(bytes));
}
__device__ void end_group() { asm volatile("cp.async.commit_group;"); }
template <int N> __device__ void wait_for_all_groups_but() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8x4 matrices at once: lane l names row l%8 of matrix l/8, and receives number l%4 of row l/4
// of each.  (The instruction is meant for 8x8 numbers of 16 bits, but moves whole words.)
__device__ void load_matrices(float* r, const float* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=f"(r[0]), "=f"(r[1]), "=f"(r[2]), "=f"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row)));
}

// c (16x8) += a (16x8) * b (8x8) by the 32 lanes of a warp together, on a tensor core.  It reads of
// each factor TF32, the upper 19 bits of a float32 (10 after the point).
__device__ void multiply_tf32(float* c, const float* a, const float* b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])),
                   "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
                   "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif

// The tensor core cuts the lower bits off, which makes every factor smaller, by half of TF32's last
// place on average.  This makes it larger by as much, and leaves NaN, infinity, and numbers that
// are TF32 already, as they are.  (Rounding properly takes more time than all else together.)
__device__ float before_the_cut(float v) { return v * (1 + 0.375f / 1024); }
__device__ float cut(float v) { return __uint_as_float(__float_as_uint(v) & 0xffffe000); }

// ----------------------------------------------------------------------- tiles in shared memory
// A tile lies "by rows" (BK values of k for each row of out, where memory holds them so) or "by k"
// (all rows for one k).  Shared memory has 32 banks of 4 bytes, and each serves one word a cycle:
// so the 16-byte pieces of a row lie in another order (XOR) from row to row, and 8 threads that
// read the same piece of different rows find 8 different groups of 4 banks.
__device__ int by_row(int row, int k) { return row * BK + ((k / 4) ^ (row / 2 % 4)) * 4 + k % 4; }
template <int WIDTH> __device__ int by_k(int k, int n) {
    return k * WIDTH + ((n / 4) ^ (k % 4 * 2)) * 4 + n % 4;
}

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
    // Place (p, q) of OH x OW has its first tap at (p*S + y0, q*S + x0).
    __device__ Patches(const float* data, int H, int W, int C, int channels, int KI, int KJ, int m0,
                       int M, int OH, int OW, int S, int y0, int x0)
        : H(H), W(W), C(C), KI(KI), k(B::k(0), KJ, channels) {
        UNROLL for (int i = 0; i < B::MINE; i++) {
            const Digits place(m0 + B::row(i), OH, OW);
            top[i] = place.mid * S + y0, left[i] = place.low * S + x0;
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
            if (V == 4 && k.low + forward < k.LOW) k.low += forward;
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
    int H, W, C, S, y0, x0, N, row;
    bool inside;
    Digits place;
    __device__ PatchesByPlace(const float* x, Shape s, int channels, int d0, int first)
        : H(s.H), W(s.W), C(s.C), S(s.S), N(s.N), place(first + B::k(0), s.OH, s.OW) {
        const Digits d(d0 + B::n(0), s.K, channels);
        data = x + d.low, x0 = d.mid - s.P, y0 = d.high < s.K ? d.high - s.P : -(1 << 20);
        if (d0 + B::n(0) == s.K * s.K * channels)  // an image that is 1 everywhere
            data = &ONE.x, x0 = y0 = C = 0, H = W = 0x7fffffff;
        look();
    }
    __device__ void look() {
        const int y = place.mid * S + y0;
        inside = (unsigned)y < H && place.high < N, row = (place.high * H + y) * W;
    }
    __device__ void fetch(float* tile) {
        UNROLL for (int t = 0; t < B::TURNS; t++) {
            const int x = place.low * S + x0;
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

// The weight by rows, for dx: row c, k = (tap, tap, filter); tap t stands for weight i0 + t*S.
template <int V> struct Filters : ByRow<BN, V> {
    using B = ByRow<BN, V>;
    const float *data, *at;
    int channels, rows, F, K, S, i0, j0, KI;
    Digits k;
    __device__ Filters(const float* data, Shape s, int c0, int channels, int filters, int i0,
                       int j0, int KI, int KJ)
        : data(data + c0 * s.F), channels(channels), rows(channels - c0), F(s.F), K(s.K), S(s.S),
          i0(i0), j0(j0), KI(KI), k(B::k(0), KJ, filters) { look(); }
    __device__ void look() {
        const int tap = (i0 + k.high * S) * K + j0 + k.mid * S;
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

// ------------------------------------------------------------------------- the arithmetic of a tile
// A_ROW, B_ROW: the operand lies by rows.  A thread owns rows row(0..RI-1), columns column(0..CJ-1).
#if MATH == 0
template <bool A_ROW, bool B_ROW> struct Sums {  // 8 warps of 4 x 8 threads, 32 x BN/2 numbers each
    static constexpr int RI = 8, CJ = BN / 16, VECTOR = B_ROW ? 1 : 4;
    float sum[RI][CJ];
    // By rows every 4th row (8th column), by k 4 neighbours: so no bank is asked twice.
    static __device__ int row(int i) {
        const int lane = threadIdx.x % 32 / 8;
        return threadIdx.x / 64 * 32 + (A_ROW ? lane + i * 4 : i / 4 * 16 + lane * 4 + i % 4);
    }
    static __device__ int column(int j) {
        const int lane = threadIdx.x % 8;
        return threadIdx.x / 32 % 2 * (BN / 2) + (B_ROW ? lane + j * 8 : j / 4 * 32 + lane * 4 + j % 4);
    }
    __device__ float& value(int i, int j) { return sum[i][j]; }
    __device__ void add(const float* A, const float* B) {
        UNROLL for (int k = 0; k < BK; k++) {
            float a[RI], b[CJ];
            UNROLL for (int i = 0; i < RI; i++)
                a[i] = A[A_ROW ? by_row(row(i), k) : by_k<BM>(k, row(i))];
            UNROLL for (int j = 0; j < CJ; j++)
                b[j] = B[B_ROW ? by_row(column(j), k) : by_k<BN>(k, column(j))];
            UNROLL for (int i = 0; i < RI; i++)
                UNROLL for (int j = 0; j < CJ; j++) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
        }
    }
};
#else
// 4 warps of WM x WN numbers each: MT x NT products of 16 x 8.  In a product, lane (g, q) holds
//     a: rows g, g+8 of columns q, q+4   b: rows q, q+4 of column g   c: rows g, g+8, columns 2q, 2q+1
// (PTX ISA, "Matrix Fragments for mma.m16n8k8").  Which row of the tile is row g of which product is
// ours to say.  By rows, neighbours make a product.  By k, rows are dealt like cards: product t
// takes rows t, MT+t, 2*MT+t ..., and a lane finds its numbers for all of them side by side.
template <bool A_ROW, bool B_ROW> struct Sums {
    static constexpr bool WIDE = BN == 96 || (BN == 128 && MATH == 3);
    static constexpr int BESIDE = WIDE ? 1 : 2, WM = 32 * BESIDE, WN = BN / BESIDE;
    static constexpr int MT = WM / 16, NT = WN / 8, RI = 2 * MT, CJ = 2 * NT, VECTOR = B_ROW ? 2 : 4;
    float sum[MT][NT][4];
    static __device__ int m0() { return threadIdx.x / 32 / BESIDE * WM; }
    static __device__ int n0() { return threadIdx.x / 32 % BESIDE * WN; }
    static __device__ int g() { return threadIdx.x % 32 / 4; }
    static __device__ int q() { return threadIdx.x % 4; }
    static __device__ int row(int i) {  // i = 2*product + (0: g, 1: g+8)
        const int t = i / 2, r = g() + i % 2 * 8;
        return m0() + (A_ROW ? t * 16 + r : r * MT + t);
    }
    static __device__ int column(int j) {
        return n0() + (B_ROW ? j / 2 * 8 + q() * 2 + j % 2 : j / 8 * 32 + q() * 8 + j % 8);
    }
    __device__ float& value(int i, int j) {
        const int u = B_ROW ? j / 2 : j / 8 * 4 + j % 4, second = B_ROW ? j % 2 : j / 4 % 2;
        return sum[i / 2][u][i % 2 * 2 + second];
    }
    // Columns k..k+7 of A.  (by_row(r + 16, k + 8) is by_row(r, k) ^ 8, + 16*BK.)
    static __device__ void load_a(float a[MT][4], float low[MT][4], const float* A, int k) {
        const int lane = threadIdx.x % 32, first = by_row(m0() + lane % 16, lane / 16 * 4) ^ k;
        UNROLL for (int t = 0; t < MT; t++)
            if (A_ROW) load_matrices(a[t], A + first + t * 16 * BK);
        UNROLL for (int h = 0; h < 4; h++) {  // h: row g or g+8, column q or q+4
            const int at = by_k<BM>(q(), m0() + (g() + h % 2 * 8) * MT) + (k + h / 2 * 4) * BM;
            UNROLL for (int t = 0; t < MT; t++)
                if (!A_ROW) a[t][h] = A[at + t];
        }
        UNROLL for (int i = 0; i < MT * 4; i++) prepare(a[0][i], low[0][i], A_ROW);
    }
    // Rows k..k+7 of B, for products u..u+3.
    static __device__ void load_b(float b[4][2], float low[4][2], const float* B, int k, int u) {
        const int lane = threadIdx.x % 32;
        const int first = by_row(n0() + lane / 16 * 8 + lane % 8, lane / 8 % 2 * 4) ^ k;
        UNROLL for (int v = 0; v < 4; v += 2)
            if (B_ROW) load_matrices(b[v], B + first + (u + v) * 8 * BK);  // b[v] and b[v + 1]
        UNROLL for (int h = 0; h < 2; h++)
            UNROLL for (int v = 0; v < 4; v++)
                if (!B_ROW) b[v][h] = B[by_k<BN>(q(), n0() + g() * 4) + (k + h * 4) * BN + u * 8 + v];
        UNROLL for (int i = 0; i < 8; i++) prepare(b[0][i], low[0][i], B_ROW);
    }
    __device__ void add(const float* A, const float* B) {
        float a[2][MT][4], a_low[2][MT][4], b[2][4][2], b_low[2][4][2];
        UNROLL for (int h = 0; h < 2; h++) load_a(a[h], a_low[h], A, h * 8);
        UNROLL for (int u = 0; u < NT; u += 4) {
            UNROLL for (int h = 0; h < 2; h++) load_b(b[h], b_low[h], B, h * 8, u);
            UNROLL for (int t = 0; t < MT; t++)
                UNROLL for (int v = 0; v < 4; v++) {
#if MATH == 1
                    UNROLL for (int h = 0; h < 2; h++) multiply_tf32(sum[t][u + v], a[h][t], b[h][v]);
#else
                    // The tensor core cuts its sums, too: so they are short, and added here.
                    float few[4] = {0, 0, 0, 0};
                    UNROLL for (int h = 0; h < 2; h++) multiply_tf32(few, a_low[h][t], b[h][v]);
                    UNROLL for (int h = 0; h < 2; h++) multiply_tf32(few, a[h][t], b_low[h][v]);
                    UNROLL for (int h = 0; h < 2; h++) multiply_tf32(few, a[h][t], b[h][v]);
                    UNROLL for (int e = 0; e < 4; e++) sum[t][u + v][e] += few[e];
#endif
                }
        }
    }
    // v becomes TF32, and `low` the rest of it.  What came by load_matrices lies in the registers that
    // the tensor core reads, which cuts it itself.
    static __device__ void prepare(float& v, float& low, bool in_place) {
        const float whole = v;
        if (MATH == 1 || !in_place) v = before_the_cut(whole);
        low = whole - cut(v);
    }
};
#endif

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
            __syncthreads();  // ... everybody's have, and nobody reads tile t - 1, to be overwritten
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
#define GEOMETRY int N, int H, int W, int C, int OH, int OW, int F, int K, int S, int P, int G
// blockIdx.x counts tiles, those that read the same rows of A one after the other, so that these are
// in the cache; blockIdx.y counts groups, and the parts that a kernel names.

// grid (ceil(N*OH*OW / BM) * ceil(F/G / BN), G)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_forward(
    const float* x, const float* weight, const float* bias, int relu, float* y, GEOMETRY) {
    const int channels = C / G, filters = F / G, M = N * OH * OW, D = K * K * channels;
    const int group = blockIdx.y, across = (filters + BN - 1) / BN;
    const int m0 = blockIdx.x / across * BM, n0 = blockIdx.x % across * BN, f0 = group * filters + n0;
    Patches<VX, 1> A(x + group * channels, H, W, C, channels, K, K, m0, M, OH, OW, S, -P, -P);
    Rows<VF> B(weight + group * filters, n0, filters, F, 0, D);
    Sums<true, false> sums;
    multiply(sums, A, B, (D + BK - 1) / BK);
    auto at = [&](int row) { return m0 + row < M ? (m0 + row) * F : -1; };
    write<VF>(sums, y + f0, at, filters - n0, bias + f0, relu, nullptr);
}

// dx[n, h, w, c] = sum over p*S + i - P = h, q*S + j - P = w of dy[n, p, q, f] * weight[i, j, c, f].
// A pixel sees only the weights i = i0, i0 + S, ... with i0 = (h + P) % S.  So the pixels are dealt
// to S*S parts, and each part is a convolution of stride 1: nothing is multiplied by zeros.
// grid (ceil(N*ceil(H/S)*ceil(W/S) / BM) * ceil(C/G / BN), G*S*S)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_dx(
    const float* dy, const float* weight, const float* mask, float* dx, GEOMETRY) {
    const int channels = C / G, filters = F / G, group = blockIdx.y / (S * S);
    const int across = (channels + BN - 1) / BN, c0 = blockIdx.x % across * BN;
    const int h0 = blockIdx.y / S % S, w0 = blockIdx.y % S;  // this part: pixels (h0 + S*a, w0 + S*b)
    const int PH = (H - h0 + S - 1) / S, PW = (W - w0 + S - 1) / S, M = N * PH * PW;
    const int m0 = blockIdx.x / across * BM, i0 = (h0 + P) % S, j0 = (w0 + P) % S;
    if (m0 >= M) return;
    const int KI = (K - i0 + S - 1) / S, KJ = (K - j0 + S - 1) / S;  // its taps; 0 where K < S
    const Shape shape = {N, H, W, C, OH, OW, F, K, S, P, G};
    Patches<VF, -1> A(dy + group * filters, OH, OW, F, filters, KI, max(KJ, 1), m0, M, PH, PW, 1,
                      (h0 + P) / S, (w0 + P) / S);
    Filters<VF> B(weight + group * filters, shape, c0, channels, filters, i0, j0, KI, max(KJ, 1));
    Sums<true, true> sums;
    multiply(sums, A, B, (KI * KJ * filters + BK - 1) / BK);
    auto at = [&](int row) {
        const Digits pixel(m0 + row, PH, PW);
        const int h = h0 + pixel.mid * S, w = w0 + pixel.low * S;
        return m0 + row < M ? ((pixel.high * H + h) * W + w) * C : -1;
    };
    const int first = group * channels + c0;
    write<VX>(sums, dx + first, at, channels - c0, nullptr, false, mask ? mask + first : nullptr);
}

// dw is small and its sums are long: too few tiles for a GPU.  So the places are cut into `parts`;
// part s writes its sums to out[s] (D + 1, F), and sum_parts adds them in order.
// grid (ceil((D + 1) / BM) * ceil(F/G / BN), G*parts)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_dw(
    const float* x, const float* dy, float* out, int parts, GEOMETRY) {
    const int channels = C / G, filters = F / G, M = N * OH * OW, D = K * K * channels;
    const int group = blockIdx.y / parts, part = blockIdx.y % parts;
    const int across = (filters + BN - 1) / BN, n0 = blockIdx.x % across * BN;
    const int d0 = blockIdx.x / across * BM, each = ((M + parts - 1) / parts + BK - 1) / BK * BK;
    const int first = part * each, end = min(first + each, M);
    const Shape shape = {N, H, W, C, OH, OW, F, K, S, P, G};
    PatchesByPlace<VX> A(x + group * channels, shape, channels, d0, first);
    Rows<VF> B(dy + group * filters, n0, filters, F, first, end);
    Sums<false, false> sums;
    multiply(sums, A, B, (max(end - first, 0) + BK - 1) / BK);
    auto at = [&](int row) { return d0 + row <= D ? (d0 + row) * F : -1; };
    float* to = out + part * (D + 1) * F + group * filters + n0;
    write<VF>(sums, to, at, filters - n0, nullptr, false, nullptr);
}

// dw[i] = sums[0][i] + sums[1][i] + ..., and the last row is db; one thread a number.
extern "C" __global__ void sum_parts(const float* sums, float* dw, float* db, int parts, int D, int F) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, size = (D + 1) * F;
    if (i >= size) return;
    float sum = 0;
    for (int s = 0; s < parts; s++) sum += sums[s * size + i];
    (i < D * F ? dw[i] : db[i - D * F]) = sum;
}
