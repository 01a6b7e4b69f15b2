// im2col: each number of X is fetched by a thread of its own.  Number k of X is that of patch
// (n, p, q), row a, column b and channel c of the window.
template <class T, class X>
__device__ T im2col(const X& x, Index k, int H, int W, int C, int OH, int OW, int K, int S, int P) {
    const int c = k % C; k /= C;
    const int b = k % K; k /= K; const int a = k % K; k /= K;
    const int q = k % OW; k /= OW; const int p = k % OH;
    const int h = p * S + a - P, w = q * S + b - P;
    const Index at[] = {k / OH, h, w, c};
    return h >= 0 && h < H && w >= 0 && w < W ? x[at] : T(0);
}

// col2im: each number of dx is gathered by its own thread, from all patches that hold it, in the
// order in which the page adds them.
template <class T, class X>
__device__ T col2im(const X& dX, Index k, int H, int W, int C, int OH, int OW, int K, int S,
                    int P) {
    const int c = k % C; k /= C;
    const int w = k % W + P; k /= W; const int h = k % H + P;
    const Index n = k / H;
    T sum = 0;
    for (int p = min(h / S, OH - 1); p >= 0 && h - p * S < K; p--)
        for (int q = min(w / S, OW - 1); q >= 0 && w - q * S < K; q--)
            sum += dX[((((n * OH + p) * OW + q) * K + h - p * S) * K + w - q * S) * C + c];
    return sum;
}
