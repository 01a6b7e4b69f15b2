// A view (ToBytes.view in data/pixels.py) becomes an image: each thread makes one byte of it.

struct View { int photo, first, width, height, left, top, right, bottom, mirrored; };

// A sum of bytes, each times a weight in units of 2^-22, begins with a half and is rounded down.
const int HALF = 1 << 21, BITS = 22;

// Byte number k of all images, which have w x h pixels.  `across` and `down` hold the taps (taps.cu)
// of each column and row of each image, `width` numbers each.
template <class A, class V, class T>
__device__ unsigned char cut(const A& addresses, const V& views, const T& across, const T& down,
                             Index k, int w, int h, int width) {
    const int c = k % 3; k /= 3;
    int x = k % w; k /= w;
    const int y = k % h;
    const Index n = k / h;
    const View view = ((const View*)&views[0])[n];
    if (view.mirrored) x = w - 1 - x;
    const unsigned char* photo = (const unsigned char*)addresses[view.photo];
    photo += ((long long)view.first * view.width) * 3 + c;

    if (view.right - view.left == w && view.bottom - view.top == h) {  // nothing to scale
        const int p = view.top + y, q = view.left + x;
        const bool inside = p >= 0 && p < view.height && q >= 0 && q < view.width;
        return inside ? photo[((long long)p * view.width + q) * 3] : 0;
    }

    // Along the rows first, then along the columns; between the two, a byte.
    const int* rows = &down[(n * h + y) * width];
    const int* columns = &across[(n * w + x) * width];
    int sum = HALF;
    for (int p = 0; p < rows[1]; p++) {
        const unsigned char* line = photo + ((long long)(rows[0] + p) * view.width + columns[0]) * 3;
        int part = HALF;
        for (int q = 0; q < columns[1]; q++) part += line[3 * q] * columns[2 + q];
        sum += (part >> BITS) * rows[2 + p];
    }
    return sum >> BITS;
}
