// LocalResponseNorm: each thread adds up the window of its own channel, c of C in its group.

template <class T>
__device__ T inverse_power(T s, T beta) {
    return beta == T(0.75) ? T(1) / (sqrt(s) * sqrt(sqrt(s))) : pow(s, -beta);
}

template <class T, class X>
__device__ void lrn_forward(const X& x, Index i, int C, int half, T alpha, T beta, T k, T& s,
                            T& y) {
    const int c = i % C;
    T sum = 0;
    for (int j = c < half ? -c : -half; j <= half && c + j < C; j++) sum += x[i + j] * x[i + j];
    s = k + alpha * sum;
    y = inverse_power(s, beta) * x[i];
}

template <class T, class DY, class X, class S>
__device__ T lrn_backward(const DY& dy, const X& x, const S& s, Index i, int C, int half, T alpha,
                          T beta) {
    const int c = i % C;
    T total = 0;
    for (int j = c < half ? -c : -half; j <= half && c + j < C; j++)
        total += dy[i + j] * inverse_power(s[i + j], beta) * x[i + j] / s[i + j];
    return dy[i] * inverse_power(s[i], beta) - T(2) * alpha * beta * x[i] * total;
}

// LocalResponseNorm2d: the same sums over the places of a square in the image, of one channel.
// `each` gets the index of every place of the square around number i.
template <class F>
__device__ void square(Index i, int H, int W, int C, int half, F each) {
    const Index place = i / C;
    const int w = place % W, h = place / W % H;
    for (int a = max(-half, -h); a <= half && h + a < H; a++)
        for (int b = max(-half, -w); b <= half && w + b < W; b++) each(i + (a * W + b) * C);
}

template <class T, class X>
__device__ void lrn_2d_forward(const X& x, Index i, int H, int W, int C, int half, T alpha, T beta,
                               T k, T& s, T& y) {
    T sum = 0;
    square(i, H, W, C, half, [&](Index j) { sum += x[j] * x[j]; });
    s = k + alpha * sum;
    y = inverse_power(s, beta) * x[i];
}

template <class T, class DY, class X, class S>
__device__ T lrn_2d_backward(const DY& dy, const X& x, const S& s, Index i, int H, int W, int C,
                             int half, T alpha, T beta) {
    T total = 0;
    square(i, H, W, C, half,
           [&](Index j) { total += dy[j] * inverse_power(s[j], beta) * x[j] / s[j]; });
    return dy[i] * inverse_power(s[i], beta) - T(2) * alpha * beta * x[i] * total;
}
