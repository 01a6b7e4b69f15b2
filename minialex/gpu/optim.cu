// One number of theta, its gradient g, and the optimizer's own.

template <class T>
__device__ void sgd(T g, T lr, T mu, T decay, bool nesterov, T& theta, T& v) {
    v = mu * v + g + decay * theta;
    theta -= lr * (nesterov ? g + decay * theta + mu * v : v);
}

template <class T>
__device__ void adam(T g, T rate, T b1, T rest1, T b2, T rest2, T eps, T decay, T shrink, T& theta,
                     T& m, T& v) {
    const T own = g + decay * theta;
    m = b1 * m + rest1 * own;
    v = b2 * v + rest2 * own * own;
    theta = shrink * theta - rate * m / (sqrt(v) + eps);
}
