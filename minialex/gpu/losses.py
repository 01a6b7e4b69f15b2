"""softmax_cross_entropy's twin on a GPU -- one thread an image, see losses.cu.

Soft targets and class weights go the page's way.
"""

from minialex import losses as page
from minialex.gpu.kernel import Kernel
from minialex.losses import check
from minialex.xp import get_xp

CROSS_ENTROPY = Kernel("losses.cu", "cross_entropy",
    "raw T z, L label, int32 C, T right, T wrong, T share", "T surprise, raw T dz",
    "surprise = cross_entropy(z, label, Index(i) * C, C, right, wrong, share, dz)")  # fmt: skip


def softmax_cross_entropy(logits, labels, label_smoothing=0.0, weight=None):
    """As losses.softmax_cross_entropy: the mean loss and dL/dlogits (N, C)."""
    check(logits, labels, label_smoothing, weight)
    if labels.ndim == 2 or weight is not None:
        return page.softmax_cross_entropy(logits, labels, label_smoothing, weight)
    if logits.dtype.itemsize < 4:  # the sum over many classes needs more digits than float16 has
        results = softmax_cross_entropy(logits.astype("f4"), labels, label_smoothing)
        return results[0].astype(logits.dtype), results[1].astype(logits.dtype)
    xp, (N, C), e = get_xp(logits), logits.shape, label_smoothing
    surprise = xp.empty(N, dtype=logits.dtype)
    dlogits = xp.empty((N, C), dtype=logits.dtype)
    CROSS_ENTROPY(logits, labels, C, 1 - e + e / C, e / C, 1 / N, surprise, dlogits)
    return surprise.mean(), dlogits
