"""Twins -- fast forms of pages, attached by telling a layer that it is one.

A page (minialex/layers) says what is computed, its twin (minialex/fast, minialex/gpu) says how
fast: a subclass of the page with another `forward` and `backward`, without parameters or `__init__`
of its own.  So nothing about a layer changes but its class, and all that is said of the layer stays
true:

    layer.__class__ = fast.conv.Conv2d     the same object, params, names, flags, checkpoints

`attach.py` does that for a whole model.  The base below gives each twin what all of them need:
it registers the twin, checks what forward and backward get, and keeps a cache from being read by
another form of the layer than the one that made it.
"""

import functools

from minialex.layers.layer import Layer, check_gradient, check_input
from minialex.optimizer import Optimizer
from minialex.xp import where_is

TWINS: dict[tuple[type, str], type] = {}  # (page, device) -> twin
OPTIMIZER_TWINS: dict[tuple[type, str], type] = {}


class Sealed:
    """The cache of a twin: only the form of the layer that made it can open it."""

    def __init__(self, layer, x_shape, cache):
        self._form, self._x_shape, self._cache = type(layer), x_shape, cache

    def _refuse(self, *_):
        refuse_cache(self._form)

    __iter__ = __getitem__ = __len__ = _refuse

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refuse()


class Twin(Layer):
    """Base of all twins: `class Conv2d(Twin, page.Conv2d, device="cpu")`."""

    form = "fast"  # what `repr` says; where that depends on settings, a property
    inplace = False  # what `accelerate` tells a ReLU, see fast/activations.py
    input_grad = True  # False: backward returns None, in a first layer with nobody to pass dx to
    page: type
    device: str

    def __init_subclass__(cls, device, **options):
        super().__init_subclass__(**options)
        cls.page, cls.device, cls.__doc__ = cls.__bases__[1], device, cls.__bases__[1].__doc__
        TWINS[cls.page, device] = cls
        cls.forward, cls.backward = _seal(cls.forward), _open(cls.backward)  # type: ignore[method-assign]

    def to(self, device=None, dtype=None):
        """As the page's; on another device, the layer becomes the twin that runs there."""
        super().to(device, dtype)
        if device is not None:
            self.__class__ = TWINS.get((self.page, device), self.page)
        return self

    def __repr__(self):
        first, _, rest = super().__repr__().partition("\n")
        form = self.form + ", in place" * self.inplace
        return f"{first}  # {form}" + (f"\n{rest}" if rest else "")


class OptimizerTwin(Optimizer):
    """Base of the optimizers' twins: `class Adam(OptimizerTwin, page.Adam, device="cpu")`."""

    page: type

    def __init_subclass__(cls, device, **options):
        super().__init_subclass__(**options)
        cls.page, cls.__doc__ = cls.__bases__[-1], cls.__bases__[-1].__doc__
        OPTIMIZER_TWINS[cls.page, device] = cls

    def follow(self):
        """As the page's; on another device it becomes the twin that runs there."""
        super().follow()
        self.__class__ = OPTIMIZER_TWINS.get((self.page, where_is(self.theta)), self.page)


def is_square(layer):
    """Whether a window has one kernel size, stride and padding for both axes of the image."""
    sizes = layer.kernel_size, layer.stride, layer.padding
    return not any(isinstance(size, tuple) for size in sizes)


def refuse_cache(form):
    """Raise ValueError: `form` and the form of the layer that made a cache are two."""
    what = f"{form.__name__}: this cache was made by another form of the layer"
    raise ValueError(f"{what}; call forward again after accelerate(), plain() or to()")


def page_of(layer):
    """The class of the page of a layer or optimizer, accelerated or not."""
    return getattr(type(layer), "page", type(layer))


def _check_device(layer, name, x):
    if where_is(x) != layer.device:
        what = f"this form is for the {layer.device}, where {name} is not"
        raise TypeError(f"{type(layer).__name__}: {what}; use model.to(...)")


def _seal(forward):
    @functools.wraps(forward)
    def sealed(self, x, **how):
        check_input(self, x)
        _check_device(self, "x", x)
        y, cache = forward(self, x, **how)
        return y, Sealed(self, x.shape, cache)

    sealed.__doc__ = Layer.forward.__doc__
    return sealed


def _open(backward):
    @functools.wraps(backward)
    def opened(self, dy, cache, grad, **how):
        if type(cache) is not Sealed or cache._form is not type(self):
            refuse_cache(type(self))
        check_gradient(self, dy, cache._x_shape, grad)
        _check_device(self, "dy", dy)
        return backward(self, dy, cache._cache, grad, **how)

    opened.__doc__ = Layer.backward.__doc__
    return opened
