"""What forward and backward promise beside right numbers, for gradcheck to hold them to it."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from minialex.layers.layer import Layer
from minialex.params import family, named_arrays, zeros_like
from minialex.xp import Array, get_xp, to_cpu, to_device

ROUNDING = 1e-9  # two ways to the same sum may differ so much, of the largest number
SMALLEST = 1e-3  # gradients and slopes are measured against at least this


def copied(layer: Layer, dtype: Any) -> Layer:
    """A copy of a layer with its parameters in `dtype`."""
    layer = copy.deepcopy(layer)
    for owner, key, _ in named_arrays(layer.params):
        owner[key] = owner[key].astype(dtype)
    return layer


def not_finite(arrays: Iterable[tuple[str, Array]]) -> list[str]:
    """A line for the first number that is none."""
    for name, array in arrays:
        bad = np.argwhere(~np.isfinite(to_cpu(array)))
        if len(bad):
            index = tuple(int(i) for i in bad[0])
            place = f"{name}[{', '.join(map(str, index))}]" if index else name
            return [f"{place} is {float(array[index])}; a gradient needs finite numbers to check"]
    return []


def wrong_form(layer: Layer, name: str, array: Array, analytic: Any) -> list[str]:
    """A line where `analytic` cannot be the gradient of `array`."""
    if analytic is None:
        meant = not getattr(ends(layer)[0], "input_grad", True)
        return [] if meant else ["backward returned no gradient of x"]
    if isinstance(analytic, str):
        return [analytic]
    shape, text = analytic.shape, f"the gradient of {name} is"
    if shape != array.shape or analytic.dtype != array.dtype:
        left_out = [i for i in range(len(shape)) if shape[:i] + shape[i + 1 :] == array.shape]
        why = f" (is a sum over axis {left_out[-1]} left out?)" if left_out else ""
        wanted = f"expected {array.shape} of {array.dtype}{why}"
        return [f"{text} {shape} of {analytic.dtype}; {wanted}"]
    bad = np.argwhere(~np.isfinite(analytic)).tolist()
    if len(bad) == array.size > 0 and name != "x":
        return [f"{text} not finite anywhere, or was not written"]
    return [f"{text} not finite at {place}" for place in bad[:1]]


def halves(check: Any, gradients: dict[str, Any]) -> list[str]:
    """What two halves of the batch give otherwise than all of it, of a layer with per_image."""
    N = len(check.x) if check.x.ndim and check.layer.per_image else 0
    if N < 2:
        return []
    if check.y.shape[:1] != (N,):
        return ["per_image is True, but y does not have one entry for each image"]
    parts = [slice(0, N // 2), slice(N // 2, N)]
    found = [{"y": check.forward(part), **check.backward(check.dy[part], part)} for part in parts]
    others = []
    for name, whole in {"y": check.y, **gradients}.items():
        both = [half[name] for half in found]
        if all(isinstance(array, np.ndarray) for array in (whole, *both)):
            total: Any = np.concatenate(both) if name in ("x", "y") else sum(both)
            if not alike(total, whole):
                others.append(name if name == "y" else f"gradient of {name}")
    return [f"per_image is True, but halves of the batch give another {what}" for what in others]


def behaviour(check: Any, gradients: dict[str, Any]) -> list[str]:
    """What forward and backward do that they should not."""
    before = other_mode(check)
    problems = calls(check, gradients)
    if not alike(other_mode(check), before):
        problems.append("forward changes what later calls give: what it keeps belongs in buffers")
    return problems + promoted(check) + halves(check, gradients)


def calls(check: Any, gradients: dict[str, Any]) -> list[str]:
    """What two forward and three backward calls do to their arguments, their results, each other.

    What is no fault, but good to know, is added to `check.notes`.

    The second forward is of another input, though one that a logarithm would take as well.
    """
    xp, inplace = get_xp(check.x), [getattr(end, "inplace", False) for end in ends(check.layer)]
    x, dy = check.x.copy(), to_device(check.dy.copy(), check.device)
    params = [(name, array, array.copy()) for name, array in check.arrays() if name != "x"]
    y, cache = check.run_forward(x)
    y_found = y.copy()
    _, other = check.run_forward(0.75 * check.x)
    y_kept = xp.array_equal(y, y_found)
    dx, first = check.backward_from(cache, dy)
    problems = {
        f"forward returned {y.dtype} for float64": y.dtype != np.float64,
        "forward gave two results for the same x": not np.array_equal(to_cpu(y_found), check.y),
        "forward overwrote the y of an earlier call": not y_kept,
        "forward or backward overwrote x": not (xp.array_equal(x, check.x) or inplace[0]),
        "backward overwrote y": y_kept and not (xp.array_equal(y, y_found) or inplace[0]),
        "backward overwrote dy": not (np.array_equal(to_cpu(dy), check.dy) or inplace[1]),
        **{f"{name} was changed": not xp.array_equal(a, b) for name, a, b in params}}  # fmt: skip
    for name, array, others in (("forward", y, {"x": x}), ("backward", dx, {"x": x, "dy": dy})):
        elsewhere = array is not None and get_xp(array) is not xp
        problems[f"{name} returned an array on another device than x"] = elsewhere
        if array is not None and not elsewhere and not any(inplace):
            check.notes += [f"{name} returned {of} itself or a view of it"
                for of, other in others.items() if xp.may_share_memory(array, other)]  # fmt: skip
    _, second = check.backward_from(cache, to_device(check.dy.copy(), check.device))
    check.backward_from(other, to_device(0.5 * check.dy, check.device))
    used = all(alike(first[name], gradients[name]) for name in gradients)
    again = all(alike(first[name], second[name]) for name in gradients)
    problems["backward uses what the last forward left on self, not its cache"] = not used
    problems["backward overwrote its cache: a second call gives other gradients"] = not again
    kept = dx is None or alike(to_cpu(dx), first["x"])
    problems["backward overwrote the dx of an earlier call"] = again and not kept
    return [text for text, is_so in problems.items() if is_so]


def promoted(check: Any) -> list[str]:
    """Whether float32 stays float32."""
    layer = copied(check.original, np.float32)
    try:
        result, cache = check.run_forward(check.x.astype(np.float32), layer=layer)
        name, dy = "forward", to_device(check.dy.astype(np.float32), check.device)
        if result.dtype == np.float32:
            name, grad = "backward", zeros_like(layer.params)
            result = layer.backward(dy, cache, grad)
    except Exception as error:  # of a layer that is right in float64
        return [f"in float32 there is an error: {str(error) or type(error).__name__}"]
    stays = result is None or result.dtype == np.float32
    return [] if stays else [f"{name} makes {result.dtype} of float32"]


def other_mode(check: Any) -> np.ndarray | None:
    """y in evaluation for a layer in training, and the reverse; None where it cannot be had.

    Of the layer as it is now, but with the buffers that it had at first.
    """
    layer = copy.deepcopy(check.layer)
    for part, first in zip(family(layer), family(check.original), strict=True):
        part.buffers.update(copy.deepcopy(first.buffers))
    try:
        layer.train(not layer.training)
        return to_cpu(check.run_forward(check.x.copy(), layer=layer)[0])
    except Exception:  # such as "train me first"
        return None


def alike(a: Any, b: Any) -> bool:
    """Whether two results are the same but for the order of sums."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape):
        return type(a) is type(b) and getattr(a, "shape", None) == getattr(b, "shape", None)
    near = abs(a - b) <= ROUNDING * max(abs(b).max(initial=0), SMALLEST)
    return bool((near | (a == b) | (np.isnan(a) & np.isnan(b))).all())


def ends(layer: Layer) -> tuple[Layer, Layer]:
    """The layers that see x and y, through all that contains them."""
    leaves: list[Any] = [leaf for _, leaf in layer.leaves()]
    first, last = leaves[0], leaves[-1]
    first = ends(first.layer)[0] if hasattr(first, "layer") else first  # a wrapper
    last = ends(last.layer)[1] if hasattr(last, "layer") else last
    return first, last
