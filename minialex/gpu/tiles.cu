// The arithmetic of a tile of a matrix product, on tensor cores or without them: see implicit.cu.
//
// A block of threads computes BM x BN numbers of out(m, n) = sum over k of A(m, k) * B(k, n), from
// BK values of k at a time, whose factors lie in shared memory.
//
//   MATH  0: float32 by ordinary multiplications   1: TF32   3: float32 from three TF32 products
//   BN    columns of a tile: 128, 96 or 64
#define UNROLL _Pragma("unroll")

constexpr int BM = 128, BK = 16;
constexpr int THREADS = MATH ? 128 : 256, BLOCKS = MATH && BN == 64 ? 3 : 2;  // on a multiprocessor

// ----------------------------------------------------------------- instructions without a C++ name
#ifdef __CUDACC__
// V numbers to shared memory, behind the thread's back; zeros where there is nothing to copy.
template <int V> __device__ void copy_async(float* to, const float* from, bool there) {
    const unsigned s = __cvta_generic_to_shared(to), bytes = there ? 4 * V : 0;
#define COPY(cached, size)                                      \
    asm volatile("cp.async." cached ".shared.global [%0], [%1], " size ", %2;" \
                 ::"r"(s), "l"(from), "r"(bytes))
    if (V == 4) COPY("cg", "16");
    else COPY("ca", "4");
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
__device__ float before_the_cut(float v) { return v * (1 + 0.35f / 1024); }
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

// ----------------------------------------------------------------------- the arithmetic of a tile
// A_ROW, B_ROW: the operand lies by rows.  A thread has rows row(0..RI-1), columns column(0..CJ-1).
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
        const int n = B_ROW ? lane + j * 8 : j / 4 * 32 + lane * 4 + j % 4;
        return threadIdx.x / 32 % 2 * (BN / 2) + n;
    }
    __device__ float& value(int i, int j) { return sum[i][j]; }
    __device__ void add(const float* A, const float* B) {
        // Half of them at a time: to fetch for all at once takes more registers than there are.
        _Pragma("unroll 8") for (int k = 0; k < BK; k++) {
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
//     a: rows g, g+8 of columns q, q+4   b: rows q, q+4 of column g
//     c: rows g, g+8 of columns 2q, 2q+1
// (PTX ISA, "Matrix Fragments for mma.m16n8k8").  Which row of the tile is row g of which product
// is ours to say.  By rows, neighbours make a product.  By k, rows are dealt like cards: product t
// takes rows t, MT+t, 2*MT+t ..., and a lane finds its numbers for all of them side by side.
template <bool A_ROW, bool B_ROW> struct Sums {
    static constexpr bool WIDE = BN == 96 || (BN == 128 && MATH == 3);
    static constexpr int BESIDE = WIDE ? 1 : 2, WM = 32 * BESIDE, WN = BN / BESIDE;
    static constexpr int MT = WM / 16, NT = WN / 8, RI = 2 * MT, CJ = 2 * NT;
    static constexpr int VECTOR = B_ROW ? 2 : 4;  // neighbours among a thread's columns
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
        const int at = by_k<BN>(q(), n0() + g() * 4) + k * BN + u * 8;
        UNROLL for (int h = 0; h < 2; h++)
            UNROLL for (int v = 0; v < 4; v++)
                if (!B_ROW) b[v][h] = B[at + h * 4 * BN + v];
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
                    UNROLL for (int h = 0; h < 2; h++)
                        multiply_tf32(sum[t][u + v], a[h][t], b[h][v]);
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
    // v becomes TF32, and `low` the rest of it.  What came by load_matrices lies in the registers
    // that the tensor core reads, and that cuts it itself.
    static __device__ void prepare(float& v, float& low, bool in_place) {
        const float whole = v;
        if (MATH == 1 || !in_place) v = before_the_cut(whole);
        low = whole - cut(v);
    }
};
#endif
