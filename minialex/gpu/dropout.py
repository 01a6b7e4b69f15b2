"""Dropout's twin on a GPU -- draw the numbers, drop, and scale, in one kernel (dropout.cu)."""

from minialex.gpu.kernel import Kernel
from minialex.layers import dropout as page
from minialex.philox import LOW
from minialex.twin import Twin
from minialex.xp import get_xp

PLACE = "int64 first, uint32 step0, uint32 step1, uint32 stream, uint32 key0, uint32 key1"
DROPOUT = Kernel("dropout.cu", "dropout", f"T x, {PLACE}, uint32 threshold, T keep", "T y, T m",
    "m = philox(first + i, step0, step1, stream, key0, key1) >= threshold ? T(T(1) / keep) : T(0);"
    " y = x * m")  # fmt: skip


class Dropout(Twin, page.Dropout, device="gpu"):
    form = "gpu: one kernel"

    def forward(self, x):
        if not self.training or self.p == 0:
            return page.Dropout.forward(self, x)
        y, m = (get_xp(x).empty(x.shape, dtype=x.dtype) for _ in range(2))
        step, seed, first = self.step, self.seed, self.first * x[:1].size
        counter = first, step & LOW, step >> 32 & LOW, self.stream & LOW
        threshold = round(65536 * self.p)
        DROPOUT(x, *counter, seed & LOW, seed >> 32 & LOW, threshold, 1 - self.p, y, m)
        self.step, self.first = self.step + 1, 0
        return y, m
