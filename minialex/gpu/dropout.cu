// Number `position` of the stream: what philox.py computes array by array.
__device__ unsigned int philox(unsigned long long position, unsigned int step0, unsigned int step1,
                               unsigned int stream, unsigned int key0, unsigned int key1) {
    unsigned int c0 = position / 8, c1 = step0, c2 = step1, c3 = stream, k0 = key0, k1 = key1;
    for (int round = 0; round < 10; round++) {
        const unsigned long long p = 0xD2511F53ull * c0, q = 0xCD9E8D57ull * c2;
        c0 = (unsigned int)(q >> 32) ^ c1 ^ k0; c1 = (unsigned int)q;
        c2 = (unsigned int)(p >> 32) ^ c3 ^ k1; c3 = (unsigned int)p;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
    const int half = position % 8;
    const unsigned int word = half < 2 ? c0 : half < 4 ? c1 : half < 6 ? c2 : c3;
    return half % 2 ? word >> 16 : word & 0xFFFF;
}
