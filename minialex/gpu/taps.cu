// Which of the pixels in a line weigh how much in pixel `at` of `size`, to which those from `start`
// to `stop` of the line are scaled; the line has `end` pixels.
//
// `taps` gets the first such pixel, how many they are, and their weights in units of 2^-22.  When a
// photo shrinks, a weight falls off over as many of its pixels as make one of the image's.
//
// The operations are those of Pillow in Pillow's order, in float64, since the weights are to be the
// same to the bit.  A product is rounded before it is added to anything: by itself the compiler
// would round both at once.

__device__ double tap_weight(int x, double centre, double reach) {
    const double distance = fabs(__dmul_rn(x - centre + 0.5, 1.0 / reach));
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

__device__ void find_taps(int start, int stop, int end, int at, int size, int* taps) {
    const double scale = double(stop - start) / size, reach = scale < 1.0 ? 1.0 : scale;
    const double centre = __dadd_rn(start, __dmul_rn(at + 0.5, scale));
    const int first = max(0, int(centre - reach + 0.5));
    const int count = min(end, int(centre + reach + 0.5)) - first;
    double sum = 0.0;
    for (int x = 0; x < count; x++) sum += tap_weight(first + x, centre, reach);
    taps[0] = first;
    taps[1] = count;
    for (int x = 0; x < count; x++)
        taps[2 + x] = int(0.5 + tap_weight(first + x, centre, reach) / sum * (1 << 22));
}
