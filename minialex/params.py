"""Parameters as nested dictionaries, {"0": {"weight": ..., "bias": ...}, ...}, and as one vector.

All parameters of a model can be moved into ONE flat vector theta, of which the arrays in `params`
are then views: they are shaped pieces of the same memory, so to change one is to change the other.

    theta    | 0.weight .......... | 0.bias .. | 3.weight ............... | 3.bias .. |
    grad     | the same pieces in the same order, in another vector                   |

Why.  The optimizer is then the formula on its page, applied to one vector; a checkpoint of its
state is one array; and a sum over machines is one sum.
"""

from collections.abc import Iterator
from typing import Any

from minialex.layers.layer import Layer
from minialex.xp import Array, get_xp

Shape = tuple[int, ...]
Params = dict[str, Any]  # name -> array, or name -> Params of a layer inside


def named_arrays(params: Params, prefix: str = "") -> Iterator[tuple[Params, str, str]]:
    """Yield (dictionary, key, dotted name) of every array in a nested dictionary, in order."""
    for key, value in params.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict):
            yield from named_arrays(value, name)
        else:
            yield params, key, name


def dict_like(params: Params, vector: Array) -> Params:
    """A nested dictionary like `params` whose arrays are consecutive views of the flat `vector`."""

    def build(params: Params, start: int) -> tuple[Params, int]:
        result: Params = {}
        for key, value in params.items():
            if isinstance(value, dict):
                result[key], start = build(value, start)
            else:
                result[key] = vector[start : start + value.size].reshape(value.shape)
                start += value.size
        return result, start

    return build(params, 0)[0]


def zeros_like(params: Params) -> Params:
    """A nested dictionary of zeros like `params`: a `grad` for `backward` to write into."""
    return {
        key: zeros_like(value)
        if isinstance(value, dict)
        else get_xp(value).zeros(value.shape, dtype=value.dtype)
        for key, value in params.items()
    }


def count_parameters(params: Params) -> int:
    """How many numbers are in `params`."""
    return sum(owner[key].size for owner, key, _ in named_arrays(params))


def flatten(model: Layer) -> Array:
    """Move all parameters of `model` into one vector theta (P,); `params` become its views.

    Raises ValueError where there are none.  Call it after `model.to`.
    """
    arrays = list(named_arrays(model.params))
    if not arrays:
        raise ValueError(f"{type(model).__name__} has no parameters to flatten")
    first = arrays[0][0][arrays[0][1]]
    size = count_parameters(model.params)
    theta = get_xp(first).empty(size, dtype=first.dtype)
    views = dict_like(model.params, theta)
    for (owner, key, _), (new, _, _) in zip(arrays, named_arrays(views), strict=True):
        new[key][...] = owner[key]
        owner[key] = new[key]
    return theta
