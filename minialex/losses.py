"""Softmax cross-entropy -- how surprised the network is by the right answer.

The softmax turns scores (logits) z into probabilities; the loss is the mean over the batch of the surprise
-log(probability of the label):

    p[n,c] = exp(z[n,c]) / sum over k of exp(z[n,k])
    L = -1/N sum over n, c of t[n,c] log p[n,c]

where t is 1 at the label and 0 elsewhere, or, with label smoothing e, (1-e) at the label plus e/C everywhere.
Adding a constant to all scores of an image changes nothing, so we subtract the largest: exp cannot overflow.

Backward.  With log p[c] = z[c] - log sum exp(z), and since each row of t sums to 1, all of it collapses to

    dL/dz = (p - t) / N

Reference: Szegedy et al. (2016), "Rethinking the Inception Architecture", section 7: label smoothing.
"""

from minialex.backend import Array, Kernel, get_xp, plain_form


def log_softmax(logits: Array) -> Array:
    """log p, shape (N, C), of logits (N, C)."""
    xp = get_xp(logits)
    z = logits - logits.max(axis=1, keepdims=True)
    return z - xp.log(xp.exp(z).sum(axis=1, keepdims=True))


def softmax_cross_entropy(logits: Array, labels: Array, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    """The mean loss (an array without axes) and dL/dlogits (N, C), for logits (N, C) and integer labels (N,).

    Labels must lie in 0..C-1; on a GPU nobody checks (that would wait for the device), and a label outside
    counts as no class.  Raises ValueError for shapes that do not fit, and for a bad label on the CPU;
    TypeError for logits that are not floats or labels that are not integers.
    """
    xp = get_xp(logits)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"softmax_cross_entropy: expected logits (N, C) and labels (N,), got {logits.shape} and {labels.shape}"
        )
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise TypeError(
            f"softmax_cross_entropy: expected float logits and integer labels, "
            f"got {logits.dtype} and {labels.dtype}"
        )
    N, C = logits.shape
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"softmax_cross_entropy: label_smoothing must be in [0, 1), got {label_smoothing}")
    if xp.__name__ == "numpy" and N and not (labels.min() >= 0 and labels.max() < C):
        raise ValueError(
            f"softmax_cross_entropy: labels must lie in 0..{C - 1}, got {labels.min()}..{labels.max()}"
        )
    return loss_and_gradient(logits, labels, label_smoothing)


@plain_form
def loss_and_gradient(logits: Array, labels: Array, e: float) -> tuple[Array, Array]:
    """L and dL/dlogits for label smoothing e."""
    xp, (N, C) = get_xp(logits), logits.shape
    log_p = log_softmax(logits)
    t = (labels[:, None] == xp.arange(C)).astype(logits.dtype)  # one-hot (N, C)
    t *= 1 - e
    t += e / C
    loss = -(t * log_p).sum() / N
    return loss, (xp.exp(log_p) - t) / N


CROSS_ENTROPY = Kernel(
    "cross_entropy", "raw T z, L label, int32 C, T right, T wrong, T N", "T surprise, raw T dz",
    """
    const Index row = (Index)i * C;
    T most = z[row], sum = 0;
    for (int c = 1; c < C; c++) if (z[row + c] > most || z[row + c] != z[row + c]) most = z[row + c];
    for (int c = 0; c < C; c++) sum += exp(z[row + c] - most);
    const T log_sum = log(sum);
    T total = 0;
    for (int c = 0; c < C; c++) {
        const T log_p = z[row + c] - most - log_sum, t = c == label ? right : wrong;
        total -= t * log_p;
        dz[row + c] = (exp(log_p) - t) / N;
    }
    surprise = total / N
    """,
)  # fmt: skip


@loss_and_gradient.on_gpu
def _loss_and_gradient_on_gpu(logits: Array, labels: Array, e: float) -> tuple[Array, Array]:
    xp, (N, C) = get_xp(logits), logits.shape
    surprise, dlogits = xp.empty(N, dtype=logits.dtype), xp.empty((N, C), dtype=logits.dtype)
    CROSS_ENTROPY(logits, labels, C, 1 - e + e / C, e / C, N, surprise, dlogits)
    return surprise.sum(), dlogits
