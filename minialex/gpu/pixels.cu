// One number of a pixel: p / 255 + colour, less its channel's mean, over its channel's deviation.
__device__ float finish(unsigned char p, float colour, int channel, float mean0, float mean1,
                        float mean2, float std0, float std1, float std2) {
    const float mean = channel == 0 ? mean0 : channel == 1 ? mean1 : mean2;
    const float std = channel == 0 ? std0 : channel == 1 ? std1 : std2;
    return (p / 255.0f + colour - mean) / std;
}
