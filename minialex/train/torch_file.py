"""PyTorch's .pth files -- a state dict, read without running anything, and written.

`torch.save(model.state_dict(), "x.pth")` writes a zip archive whose parts are not compressed:

    x/data.pkl          a pickle of the dictionary: names, and of each tensor its storage and shape
    x/data/0, 1 ...     the storages: the tensors' numbers as they lie in memory
    x/byteorder         "little" or "big"

A pickle is a program for a machine with a stack.  Most of its opcodes push a number, a text or a
tuple; but GLOBAL names any function there is, and REDUCE calls it.  So whoever loads a stranger's
pickle as Python does, runs a stranger's program.  `unpickle` below is another such machine.  It
knows the few opcodes that a state dict needs, and for GLOBAL the names in CALLS and STORAGES, which
stand for functions and number types of this file.  It refuses all others by name.

How much memory a file may take is known before it is taken: a part is as long as its storage says,
all parts together are no longer than the file, and a tensor stays within its storage.
"""

import io
import math
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from minialex.errors import CheckpointError

MOST_LISTED = 1 << 22  # bytes of the archive's list of its parts
MOST_PICKLED = 1 << 21  # bytes of the pickle, which needs about 200 for a tensor
BLOCK = 1 << 20  # bytes read at a time
KINDS = {"Double": "f8", "Float": "f4", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2",
         "Char": "i1", "Byte": "u1", "Bool": "?"}  # fmt: skip
STORAGES = {f"torch {name}Storage": np.dtype(kind) for name, kind in KINDS.items()}
NAMES = {dtype: name for name, dtype in STORAGES.items()}
FAULTS = (zipfile.BadZipFile, EOFError, IndexError, RuntimeError, OverflowError, struct.error)


def read_pth(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name.

    Raises ValueError or TypeError where the file is damaged, or holds anything but a state dict.
    """
    try:
        with Careful(path) as file, zipfile.ZipFile(file) as archive:
            parts = Parts(archive, os.path.getsize(path))
            found = unpickle(parts.read("data.pkl", most=MOST_PICKLED).tobytes(), parts.storage)
    except FAULTS as error:
        raise ValueError(str(error) or "it was cut short") from None
    values = found if isinstance(found, dict) else {"": found}
    if others := [name for name, value in values.items() if not isinstance(value, np.ndarray)]:
        how = "write the state dict alone, by torch.save(model.state_dict(), path)"
        raise ValueError(f"its {others[0][:40]!r} is no tensor; {how}")
    return values


class Careful(io.FileIO):
    """A file of which one call reads no more than the list of a state dict's parts may need."""

    def read(self, size: int | None = -1, /) -> Any:
        """At most `size` bytes, and at most MOST_LISTED."""
        return super().read(MOST_LISTED if size is None or size < 0 else min(size, MOST_LISTED))


class Parts:
    """The parts of the archive, of `size` bytes in all; each storage is read once.

    Raises ValueError where the parts cannot be those of a state dict.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        self.archive, self.storages, infos = archive, dict[str, np.ndarray](), archive.infolist()
        self.infos = {info.filename.partition("/")[2]: info for info in infos}
        if len(self.infos) < len(infos):
            raise ValueError("it has two parts of one name")
        if any(info.compress_type for info in infos) or sum(i.file_size for i in infos) > size:
            raise ValueError("its parts are compressed, or larger than the file")
        order = self.read("byteorder", most=6).tobytes() if "byteorder" in self.infos else b""
        self.order = ">" if order == b"big" else "<"

    def read(self, name: str, size: int | None = None, most: int = 0) -> np.ndarray:
        """The bytes of a part, which has to have `size` of them, or at most `most`."""
        if (info := self.infos.get(name)) is None:
            raise ValueError(f"it has no part {name[:40]!r}")
        if info.file_size != size if size is not None else info.file_size > most:
            raise ValueError(f"its part {name[:40]!r} has {info.file_size:,} bytes, which is wrong")
        data = np.empty(info.file_size, np.uint8)
        file: Any
        with self.archive.open(info) as file:
            for start in range(0, len(data) + 1, BLOCK):  # at the end, it checks the sum
                block = data[start : start + BLOCK]
                if file.readinto(block.data) != len(block):
                    raise ValueError("it was cut short")
        return data

    def storage(self, about: Any) -> np.ndarray:
        """The numbers of a storage; `about` is how a pickle says which."""
        kinds = [type(x) for x in about if not isinstance(x, np.dtype)]
        if kinds != [str, str, str, int] or not isinstance(about[1], np.dtype):
            raise ValueError("it describes a storage in another way than PyTorch does")
        _, dtype, key, _, count = about
        dtype = dtype.newbyteorder(self.order)
        if key not in self.storages:
            self.storages[key] = self.read(f"data/{key}", count * dtype.itemsize).view(dtype)
        if self.storages[key].dtype != dtype or len(self.storages[key]) != count:
            raise ValueError(f"its storage {key[:40]!r} is of two types or sizes")
        return self.storages[key]


def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A tensor is a view of its storage.  Raises ValueError where it reaches beyond."""
    count, size = math.prod(shape), storage.itemsize
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    beyond = count > len(storage) or (count and last >= len(storage))  # NumPy's sums may overflow
    if beyond or min(offset, *shape, *strides, 0) < 0:
        raise ValueError("it has a tensor that reaches beyond its storage")
    return np.ndarray(shape, storage.dtype, storage, offset * size, [n * size for n in strides])


CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": lambda: {},
    "torch._utils _rebuild_tensor_v2": tensor,
    "torch._utils _rebuild_parameter": lambda data, *_: data,
}
KNOWN = {**STORAGES, **CALLS}
NEEDLESS = "which no state dict needs and could run code"
# Opcodes, by the names that Python's pickletools gives them: those that push what they hold, those
# that push something new, and how much others take off the stack (None: all since the last mark).
VALUES = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
MAKES: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "NEWFALSE": bool,
                                       "NEWTRUE": lambda: True}  # fmt: skip
TAKES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None, "SETITEM": 2, "SETITEMS": None,
         "BUILD": 1, "REDUCE": 2, "BINPERSID": 1}  # fmt: skip


def unpickle(data: bytes, storage: Callable[[Any], Any]) -> Any:
    """What a pickle describes; `storage` makes the storages that it names.

    Raises ValueError where it has an opcode or names a class that no state dict needs, IndexError
    or TypeError where it makes no sense.
    """
    stack, marks, memo = list[Any](), list[int](), dict[int, Any]()
    value: Any
    for opcode, value, _ in pickletools.genops(data):  # which reads it, and runs nothing
        name = opcode.name
        if name == "STOP":
            (result,) = stack
            return result
        if name == "MARK":
            marks.append(len(stack))
        elif name in VALUES:
            stack.append(value)
        elif name in MAKES:
            stack.append(MAKES[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo.get(value))
        elif name in TAKES:
            count = TAKES[name]
            first = len(stack) - count if count else marks.pop()
            taken, stack[first:] = stack[first:], []
            act(name, stack, taken, storage)
        elif name == "GLOBAL" and value in KNOWN:
            stack.append(KNOWN[value])
        elif name == "GLOBAL":
            raise ValueError(f"its pickle names {value.replace(' ', '.')[:80]!r}, {NEEDLESS}")
        elif name != "PROTO":
            raise ValueError(f"its pickle has opcode {name}, {NEEDLESS}")


def act(name: str, stack: list[Any], taken: list[Any], storage: Callable[[Any], Any]) -> None:
    """An opcode that has taken something off the stack."""
    if name.startswith("TUPLE"):
        stack.append(tuple(taken))
    elif name == "BINPERSID":
        stack.append(storage(*taken))
    elif name == "REDUCE":
        function, arguments = taken  # of all that can lie there, CALLS alone can be called
        stack.append(function(*arguments))
    elif name != "BUILD":  # which gives a state dict its `_metadata`, of no use here
        if not isinstance(stack[-1], dict) or not all(isinstance(key, str) for key in taken[::2]):
            raise ValueError("it holds a dictionary whose keys are not names")
        stack[-1].update(zip(taken[::2], taken[1::2], strict=True))


def pth_bytes(tensors: dict[str, np.ndarray]) -> memoryview:
    """A .pth file that torch.load reads.

    Raises CheckpointError for numbers of a type that PyTorch's storages do not hold.
    """
    file, parts = io.BytesIO(), dict[str, Any]({"data.pkl": pickled(tensors), "version": b"3\n"})
    for key, array in enumerate(tensors.values()):
        numbers = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        parts[f"data/{key}"] = numbers.reshape(-1).view(np.uint8)
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), part)
    return file.getbuffer()


def pickled(tensors: dict[str, np.ndarray]) -> bytes:
    """The pickle of a state dict, as torch.save writes it.  Raises as `pth_bytes` does."""

    def text(value: str) -> bytes:  # BINUNICODE
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    def named(value: str) -> bytes:  # GLOBAL
        return b"c" + value.replace(" ", "\n").encode() + b"\n"

    def numbers(*values: int) -> bytes:  # MARK, LONG1 of eight bytes each, TUPLE
        return b"(" + b"".join(b"\x8a\x08" + n.to_bytes(8, "little") for n in values) + b"t"

    ordered = named("collections OrderedDict") + b")R"  # EMPTY_TUPLE, REDUCE
    result = b"\x80\x02" + ordered + b"("  # PROTO 2, MARK
    for key, (name, array) in enumerate(tensors.items()):
        if (kind := NAMES.get(array.dtype.newbyteorder("="))) is None:
            raise CheckpointError(f"{name} is of {array.dtype}, which no .pth holds")
        storage = text("storage") + named(kind) + text(str(key)) + text("cpu")
        strides = [math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
        result += text(name) + named("torch._utils _rebuild_tensor_v2") + b"(("
        result += storage + numbers(array.size)[1:] + b"QK\x00"  # BINPERSID; from number 0 on
        result += numbers(*array.shape) + numbers(*strides)
        result += b"\x89" + ordered + b"tR"  # requires_grad, hooks: NEWFALSE, OrderedDict()
    return result + b"u."  # SETITEMS, STOP
