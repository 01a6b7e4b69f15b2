// MaxPool2d: forward also notes which of its K*K inputs won each window; backward asks, for each
// input, the windows that hold it.  No thread writes what another one reads or writes: a sum is
// gathered by its owner.

template <class X, class Y, class Winner>
__device__ void maxpool_forward(const X& x, Index k, int H, int W, int C, int OH, int OW, int K,
                                int S, int P, Y& y, Winner& winner) {
    const int c = k % C; k /= C;
    const int q = k % OW; k /= OW;
    const int p = k % OH;
    const Index n = k / OH;
    Y best = 0;
    int first = -1;
    for (int a = 0; a < K; a++)
        for (int b = 0; b < K; b++) {
            const int h = p * S + a - P, w = q * S + b - P;
            if (h < 0 || h >= H || w < 0 || w >= W) continue;
            const Y v = x[((n * H + h) * W + w) * C + c];
            const bool nan = v != v && best == best;  // not a number, the first of the window
            if (first < 0 || v > best || nan) { best = v; first = a * K + b; }
        }
    y = best;
    winner = first;
}

// `closed`: x was made by a ReLU, whose derivative is applied here as well.  Where an input won, its
// x is the window's y.
template <class T, class DY, class Winner, class Y>
__device__ T maxpool_backward(const DY& dy, const Winner& winner, const Y& y, bool closed, Index k,
                              int H, int W, int C, int OH, int OW, int K, int S, int P) {
    const int c = k % C; k /= C;
    const int w = k % W + P; k /= W;
    const int h = k % H + P;
    const Index n = k / H;
    T sum = 0;
    for (int p = min(h / S, OH - 1); p >= 0 && h - p * S < K; p--)
        for (int q = min(w / S, OW - 1); q >= 0 && w - q * S < K; q--) {
            const Index at = ((n * OH + p) * OW + q) * C + c;
            const bool won = winner[at] == (h - p * S) * K + w - q * S;
            if (won && !(closed && y[at] <= 0)) sum += dy[at];
        }
    return sum;
}
