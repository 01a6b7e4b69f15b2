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
