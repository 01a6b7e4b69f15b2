"""Parameters as nested dictionaries, {"0": {"weight": ..., "bias": ...}, ...}, and as one vector.

All parameters of a model can be moved into ONE flat vector theta, of which the arrays in `params`
are then views: they are shaped pieces of the same memory, so to change one is to change the other.

    theta    | 0.weight .......... | 0.bias .. | 3.weight ............... | 3.bias .. |
    grad     | the same pieces in the same order, in another vector                   |

Why.  The optimizer is then the formula on its page, applied to one vector; a checkpoint of its
state is one array; and a sum over machines is one sum.
"""

from typing import Any

from minialex.xp import get_xp, where_is

Shape = tuple[int, ...]
Params = dict[str, Any]  # name -> array, or name -> Params of a layer inside


def family(layer):
    """Yield a layer and all layers inside it."""
    yield layer
    for child in layer.children().values():
        yield from family(child)


def own_arrays(layer):
    """(dictionary, key) of each parameter and buffer of `layer` itself, not of layers inside."""
    both = layer.params, layer.buffers
    return [(own, key) for own in both for key in own if not isinstance(own[key], dict)]


def named_arrays(params, prefix=""):
    """Yield (dictionary, key, dotted name) of every array in a nested dictionary, in order."""
    for key, value in params.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict):
            yield from named_arrays(value, name)
        else:
            yield params, key, name


def of_each(f, params):
    """A nested dictionary of f(array) for each array in `params`, in order."""
    return {k: of_each(f, v) if isinstance(v, dict) else f(v) for k, v in params.items()}


def dict_like(params, vector):
    """A nested dictionary like `params` whose arrays are consecutive views of the flat `vector`."""
    end = 0

    def view(array):
        nonlocal end
        end += array.size
        return vector[end - array.size : end].reshape(array.shape)

    return of_each(view, params)


def zeros_like(params):
    """A nested dictionary of zeros like `params`: a `grad` for `backward` to write into."""
    return of_each(lambda array: get_xp(array).zeros(array.shape, dtype=array.dtype), params)


def count_parameters(params):
    """How many numbers are in `params`."""
    return sum(owner[key].size for owner, key, _ in named_arrays(params))


def flatten(model):
    """Move all parameters of `model` into one vector theta (P,); `params` become its views.

    Where they are such views already, theta is the vector that they are views of.
    Raises ValueError where there are no parameters, where one is no array or stands at two places,
    or where their dtypes differ.
    """
    arrays = [(owner, key) for owner, key, _ in named_arrays(model.params)]
    if not arrays:
        raise ValueError(f"{type(model).__name__} has no parameters to flatten")
    check_arrays(model.params)
    owner, key = arrays[0]
    size, theta = count_parameters(model.params), owner[key].base
    if theta is not None and theta.shape == (size,) and theta.dtype == owner[key].dtype:
        views = named_arrays(dict_like(model.params, theta))
        if all(same_memory(o[k], v[n]) for (o, k), (v, n, _) in zip(arrays, views, strict=True)):
            return theta
    theta = get_xp(owner[key]).empty(size, dtype=owner[key].dtype)
    views = named_arrays(dict_like(model.params, theta))
    for (owner, key), (view, name, _) in zip(arrays, views, strict=True):
        view[name][...] = owner[key]
        owner[key] = view[name]
    return theta


def check_arrays(params):
    """Raise ValueError where `params` are not different arrays of one dtype."""
    names, dtypes = dict[int, str](), set[str]()
    for owner, key, name in named_arrays(params):
        array, found = owner[key], type(owner[key]).__name__
        if not hasattr(array, "dtype"):
            raise ValueError(f"the parameter {name} is no array, but {found}")
        if id(array) in names:  # only one of the two would be moved, by its own gradient alone
            both = f"{name} and {names[id(array)]} are one array"
            raise ValueError(f"the parameters {both}; give each layer its own")
        names[id(array)] = name
        dtypes.add(str(array.dtype))
    if len(dtypes) > 1:
        found = " and ".join(sorted(dtypes))
        raise ValueError(f"the parameters are of {found}; use model.to(dtype=...)")


def same_memory(a, b):
    """Whether two arrays are the same view: of one memory, with the same shape and strides."""
    places = [x.ctypes.data if where_is(x) == "cpu" else x.data.ptr for x in (a, b)]
    return places[0] == places[1] and (a.shape, a.strides) == (b.shape, b.strides)
