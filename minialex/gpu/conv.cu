// Of an image, of what comes out, and of a window: down and across.
#define SIZES \
    int H, int W, int C, int OH, int OW, int KH, int KW, int SH, int SW, int PH, int PW

// im2col: each number of X is fetched by a thread of its own.  Number k of X is that of patch
// (n, p, q), row a, column b and channel c of the window.
template <class T, class X>
__device__ T im2col(const X& x, Index k, SIZES) {
    const int c = k % C; k /= C;
    const int b = k % KW; k /= KW; const int a = k % KH; k /= KH;
    const int q = k % OW; k /= OW; const int p = k % OH;
    const int h = p * SH + a - PH, w = q * SW + b - PW;
    const Index at[] = {k / OH, h, w, c};
    return h >= 0 && h < H && w >= 0 && w < W ? x[at] : T(0);
}

// col2im: each number of dx is gathered by its own thread, from all patches that hold it, in the
// order in which the page adds them.
template <class T, class X>
__device__ T col2im(const X& dX, Index k, SIZES) {
    const int c = k % C; k /= C;
    const int w = k % W + PW; k /= W; const int h = k % H + PH;
    const Index n = k / H;
    T sum = 0;
    for (int p = min(h / SH, OH - 1); p >= 0 && h - p * SH < KH; p--)
        for (int q = min(w / SW, OW - 1); q >= 0 && w - q * SW < KW; q--)
            sum += dX[((((n * OH + p) * OW + q) * KH + h - p * SH) * KW + w - q * SW) * C + c];
    return sum;
}
