// One image: its C scores z, from index `row` on, and its label; fills its row of dz and returns
// its surprise.  `right` and `wrong` are t at the label and elsewhere, `share` is 1/N.
template <class T, class Z, class L, class DZ>
__device__ T cross_entropy(const Z& z, L label, Index row, int C, T right, T wrong, T share,
                           DZ& dz) {
    T most = z[row], sum = 0;
    for (int c = 1; c < C; c++) {
        const T v = z[row + c];
        if (v > most || v != v) most = v;
    }
    for (int c = 0; c < C; c++) sum += exp(z[row + c] - most);
    const T log_sum = log(sum);
    T total = 0;
    for (int c = 0; c < C; c++) {
        const T log_p = z[row + c] - most - log_sum, t = c == label ? right : wrong;
        if (t != T(0)) total -= t * log_p;  // 0 times log 0 is to be 0
        dz[row + c] = (exp(log_p) - t) * share;
    }
    return total;
}
