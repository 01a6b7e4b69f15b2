// MaxPool2d: forward also notes which of its KH*KW inputs won each window; backward asks, for each
// input, the windows that hold it.  No thread writes what another one reads or writes: a sum is
// gathered by its owner.  A thread works on V neighbouring channels, which it reads at once.

// Of an image, of what comes out, and of a window: down and across.
#define SIZES \
    int H, int W, int C, int OH, int OW, int KH, int KW, int SH, int SW, int PH, int PW

template <class T, int V> struct alignas(V * sizeof(T)) Some { T v[V]; };
template <int V, class T> __device__ Some<T, V> some(const T* at) { return *(const Some<T, V>*)at; }

template <int V, class T, class I>
__device__ void maxpool_forward(const T* x, Index k, SIZES, T* y, I* winner) {
    const Index to = k * V;
    const int c = k % (C / V) * V; k /= C / V;
    const int q = k % OW; k /= OW;
    const int p = k % OH;
    const Index n = k / OH;
    Some<T, V> best;
    Some<I, V> won;
    bool first = true;
    for (int a = 0; a < KH; a++)
        for (int b = 0; b < KW; b++) {
            const int h = p * SH + a - PH, w = q * SW + b - PW;
            if (h < 0 || h >= H || w < 0 || w >= W) continue;
            const Some<T, V> x_here = some<V>(x + ((n * H + h) * W + w) * C + c);
            for (int e = 0; e < V; e++) {
                const T v = x_here.v[e];
                const bool nan = v != v && best.v[e] == best.v[e];  // the first of the window
                if (first || v > best.v[e] || nan) { best.v[e] = v; won.v[e] = a * KW + b; }
            }
            first = false;
        }
    *(Some<T, V>*)(y + to) = best;
    *(Some<I, V>*)(winner + to) = won;
}

// What backward reads.  `relu`: x was made by a ReLU, whose derivative is applied here as well; where
// an input won, its x is the window's y.
template <class T, class I> struct MaxPool { const T* dy; const I* winner; const T* y; bool relu; };

template <int V, class T, class I>
__device__ void maxpool_backward(MaxPool<T, I> of, Index k, SIZES, T* dx) {
    const Index to = k * V;
    const int c = k % (C / V) * V; k /= C / V;
    const int w = k % W + PW; k /= W;
    const int h = k % H + PH;
    const Index n = k / H;
    Some<T, V> sum;
    for (int e = 0; e < V; e++) sum.v[e] = 0;
    for (int p = min(h / SH, OH - 1); p >= 0 && h - p * SH < KH; p--)
        for (int q = min(w / SW, OW - 1); q >= 0 && w - q * SW < KW; q--) {
            const Index at = ((n * OH + p) * OW + q) * C + c;
            const Some<I, V> winner = some<V>(of.winner + at);
            const Some<T, V> dy = some<V>(of.dy + at), y = some<V>(of.y + at);
            for (int e = 0; e < V; e++) {
                const bool closed = of.relu && y.v[e] <= 0;
                if (winner.v[e] == (h - p * SH) * KW + w - q * SW && !closed) sum.v[e] += dy.v[e];
            }
        }
    *(Some<T, V>*)(dx + to) = sum;
}
