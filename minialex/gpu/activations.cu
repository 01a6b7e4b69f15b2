template <class T>
__device__ T relu_backward(T y, T dy) {
    return y <= T(0) ? T(0) : dy;
}
