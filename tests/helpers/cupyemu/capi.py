"""CuPy's own tables of C functions, and how to put others in their place.

CuPy's compiled modules call each other through `module.__pyx_capi__`, a dictionary of name ->
capsule; a capsule holds a function pointer and is named by its C signature.  A module reads the
tables of others when it is imported, so entries can be replaced before that.
"""

import ctypes as C
import traceback

get_name = C.pythonapi.PyCapsule_GetName
get_name.restype, get_name.argtypes = C.c_char_p, [C.py_object]
new_capsule = C.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = C.py_object, [C.c_void_p, C.c_char_p, C.c_void_p]

TYPES = {
    "float": C.c_float,
    "double": C.c_double,
    "int": C.c_int,
    "unsigned int": C.c_uint,
    "size_t": C.c_size_t,
    "intptr_t": C.c_ssize_t,
    "PY_LONG_LONG": C.c_longlong,
}
alive: list = []  # what capsules point to but do not own


def replace(module, functions):
    """Put functions, in Python or given by their address in C, in the place of the module's of the
    same name."""
    for name, function in functions.items():
        capsule = module.__pyx_capi__.get(name)
        if capsule is not None:
            signature = get_name(capsule)
            prototype, added = _parse(signature.decode())
            if isinstance(function, int):
                pointer = prototype(function)
                function = _with_zeros(pointer, added)
            else:
                pointer = prototype(_loud(function, added))
            alive.extend((pointer, signature))
            module.__pyx_capi__[name] = new_capsule(C.cast(pointer, C.c_void_p), signature, None)
        setattr(module, name, function)


def _parse(signature):
    """The ctypes prototype of a signature, and how many arguments Cython added at its end for
    itself."""
    result, _, arguments = signature.removesuffix(")").partition("(")
    names = [] if arguments == "void" else [name.strip() for name in arguments.split(",")]
    added = sum("__pyx_skip_dispatch" in name or "__pyx_optional_args" in name for name in names)
    return C.PYFUNCTYPE(_ctype(result.strip()), *map(_ctype, names)), added


def _ctype(name):
    name = name.replace("__pyx_skip_dispatch", "").strip()
    if name.startswith(("struct __pyx_obj", "PyObject")):
        return C.py_object
    return TYPES.get(name, C.c_void_p if "*" in name else C.c_int)  # what is left are enumerations


def _loud(function, added):
    """`function` without the added arguments; what it raises is shown.

    ctypes cannot pass it on: CuPy then fails with a SystemError that does not say why.
    """

    def call(*values):
        try:
            return function(*values[: len(values) - added])
        except BaseException:
            traceback.print_exc()
            raise

    return call


def _with_zeros(pointer, added):
    """A C function as CuPy's Python files call it, by attribute and without the added arguments."""
    return lambda *values: pointer(*values, *(0,) * added)
