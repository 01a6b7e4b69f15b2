"""Softmax cross-entropy -- how surprised the network is by the right answer.

Training needs one number to make smaller.  The share of wrong answers will not do, since a small
change of the weights rarely changes it.  So the softmax turns scores (logits) z into probabilities,
and the loss is the mean over the batch of the surprise, -log(probability of the label):

    p[n,c] = exp(z[n,c]) / sum over k of exp(z[n,k])
    L = -1/N sum over n, c of t[n,c] log p[n,c]

where t is 1 at the label and 0 elsewhere.  Then no finite score is ever good enough, and the
network grows surer and surer.  Label smoothing e takes (1-e) at the label plus e/C everywhere: now
there are best scores, and they are finite.

Soft targets.  Where an image is part cat, part dog (two photos mixed, or the answer of another
network), t can be given itself: rows of probabilities.

Class weights w[c] make the surprise of rare classes count more.  Each term is multiplied by the
weight of its class, t[n,c] becomes w[c] t[n,c]; and for labels the sum is divided by the weights of
the labels in the batch, not by N, so that it is still a mean.  (Both as in PyTorch.)

Shapes     N images | C classes | z, p, t (N, C) | labels (N,), integers, or t | w (C,)

Why the logarithm is taken inside.  log p[c] = z[c] - log sum over k of exp(z[k]); computed in two
steps, a small p would become 0 in float32 and its logarithm minus infinity.  Adding a constant to
all scores of an image changes nothing, so we subtract the largest: exp cannot overflow.

Backward.  The log-sum-exp has the softmax for its derivative:

    d/dz[c] log sum over k of exp(z[k])  =  exp(z[c]) / sum over k of exp(z[k])  =  p[c]

so dL/dz[c] = -1/N (t[c] - p[c] * sum over k of t[k]), and where each row of t sums to 1, as it
does without class weights,

    dL/dz = (p - t) / N

For z = (2, 1, 0) and the first label: p = (0.665, 0.245, 0.090), dL/dz = (-0.335, 0.245, 0.090).

Reference: Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision",
section 7: label smoothing.
"""

from minialex.errors import check_labels, is_number
from minialex.xp import get_xp, where_is


def log_softmax(logits):
    """log p, shape (N, C), of logits (N, C)."""
    z = logits - logits.max(axis=1, keepdims=True)
    return z - get_xp(z).log(get_xp(z).exp(z).sum(axis=1, keepdims=True))


def softmax_cross_entropy(logits, labels, label_smoothing=0.0, weight=None):
    """The mean loss L (an array without axes) and dL/dz (N, C), for logits z (N, C).

    labels (N,) are integers 0..C-1, or probabilities t (N, C); `weight` (C,) is that of the
    classes.  Raises ValueError for shapes that do not fit and for a label out of range, TypeError
    for other dtypes.  (On a GPU the labels are not checked, since that would have to wait for
    the device; one that is out of range counts as no class.  Training checks them before they go
    there.)
    """
    check(logits, labels, label_smoothing, weight)
    xp, e, (N, C) = get_xp(logits), float(label_smoothing), logits.shape
    log_p = log_softmax(logits)
    one_hot = labels if labels.ndim == 2 else labels[:, None] == xp.arange(C)  # 1 at the label
    one_hot = one_hot.astype(logits.dtype)
    t = one_hot * (1 - e) + e / C
    if weight is not None:
        w = xp.asarray(weight, dtype=t.dtype)
        t = t * (w if labels.ndim == 2 else w / (one_hot * w).sum(axis=1).mean())
    surprise = -(t * xp.where(t > 0, log_p, 0)).sum(axis=1)  # 0 times log 0 is to be 0
    whole = 1 if weight is None and labels.ndim == 1 else t.sum(axis=1, keepdims=True)
    return surprise.mean(), (xp.exp(log_p) * whole - t) * (1 / N)


def check(logits, labels, label_smoothing, weight=None):
    """Raise TypeError or ValueError where `softmax_cross_entropy` cannot compute with these."""
    name = "softmax_cross_entropy"
    for what, array in (("logits", logits), ("labels", labels)):
        if not hasattr(array, "dtype"):
            raise TypeError(f"{name}: expected {what} in an array, got {type(array).__name__}")
    if get_xp(logits) is not get_xp(labels):
        raise TypeError(f"{name}: logits and labels are on two devices; move one by to_device")
    if logits.ndim != 2 or labels.shape not in (logits.shape[:1], logits.shape):
        found = f"got {logits.shape} and {labels.shape}"
        raise ValueError(f"{name}: expected logits (N, C) and labels (N,) or (N, C), {found}")
    if not logits.size:
        raise ValueError(f"{name}: there is nothing to score, got logits of {logits.shape}")
    if logits.dtype.kind != "f" or labels.dtype.kind not in ("iu" if labels.ndim == 1 else "f"):
        what = "float logits, and labels that are integers (N,) or floats (N, C)"
        raise TypeError(f"{name}: expected {what}, got {logits.dtype} and {labels.dtype}")
    if weight is not None and getattr(weight, "shape", None) != logits.shape[1:]:
        raise ValueError(f"{name}: expected a weight per class in an array (C,), got {weight!r}")
    if not is_number(label_smoothing, 0, 1):
        raise ValueError(f"{name}: label_smoothing must be in [0, 1), got {label_smoothing}")
    if where_is(labels) == "cpu":
        check_labels(labels, logits.shape[1], weight)
