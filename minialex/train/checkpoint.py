"""Checkpoints -- safetensors files, written whole or not at all.

You should be able to open your weights elsewhere.  So a file holds them under PyTorch's names
(`features.0.weight`) and in PyTorch's axis order, and

    torch_model.load_state_dict(safetensors.torch.load_file("best.safetensors"))

works as it is.  Beside them stands a JSON header: the model's settings, its class names, its
preprocessing.  `last.safetensors` holds the optimizer's vectors (`optimizer.m` ...) and the
progress of the run as well.  It needs no random state: all random draws are functions of (seed,
epoch, step), so the numbers of the epoch and the step ARE the random state.

A file is written whole or not at all (`files.py`), and its header carries a checksum of itself and
of all tensors, which loading verifies.
"""

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors import SafetensorError

from minialex.errors import CheckpointError
from minialex.fast.scratch import batch_slices
from minialex.files import reason, write_whole
from minialex.layers import Conv2d, Layer, Linear
from minialex.params import Params, named_arrays, own_arrays
from minialex.train.torch_file import read_pth
from minialex.xp import Array, to_cpu

FORMAT = 1
DTYPES = {"BOOL": "?", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
DTYPES |= {f"{kind}{8 * n}": f"<{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def torch_axes(layer: Layer, key: str, array: Array) -> tuple[int, ...]:
    """PyTorch's axis order of a parameter, as a permutation of ours."""
    if key == "weight" and isinstance(layer, Conv2d):
        return 3, 2, 0, 1  # ours (K, K, C, F), PyTorch's (F, C, K, K)
    if key == "weight" and isinstance(layer, Linear):
        return 1, 0
    return tuple(range(array.ndim))


def named_state(layer: Layer) -> list[tuple[str, Any, Params, str]]:
    """(dotted name, layer, dictionary, key) of all params and buffers of a layer and those inside.

    Raises ValueError for parameters that belong to no layer found in `children()`.
    """
    found = [(key, layer, own, key) for own, key in own_arrays(layer)]
    for name, child in layer.children().items():
        found += [(f"{name}.{inner}", *rest) for inner, *rest in named_state(child)]
    if lost := {name for _, _, name in named_arrays(layer.params)} - {name for name, *_ in found}:
        kind = type(layer).__name__
        raise ValueError(f"{kind}: children() must name the layer that {min(lost)!r} belongs to")
    return found


def state_dict(model: Layer) -> dict[str, np.ndarray]:
    """Copies of params and buffers by dotted name: NumPy arrays in PyTorch's axis order."""
    return {name: np.array(view, order="C") for name, view in state_views(model).items()}


def state_views(model: Layer) -> dict[str, np.ndarray]:
    """As `state_dict`, but on a CPU no copies, which takes no memory."""
    return {name: np.asarray(to_cpu(own[key])).transpose(torch_axes(layer, key, own[key]))
            for name, layer, own, key in named_state(model)}  # fmt: skip


def load_state_dict(model: Layer, tensors: dict[str, np.ndarray]) -> None:
    """Copy tensors named and ordered as by `state_dict` into the params and buffers of `model`.

    Raises CheckpointError, and changes nothing, where a name is missing or unknown or a shape does
    not fit.
    """
    line = "the checkpoint does not fit this model:"
    # In PyTorch's axis order, without copying any array.
    shapes = {name: tuple(own[key].shape[axis] for axis in torch_axes(layer, key, own[key]))
              for name, layer, own, key in named_state(model)}  # fmt: skip
    if lacking := shapes.keys() - tensors.keys():
        raise CheckpointError(f"{line} it lacks {min(lacking)}")
    if unknown := tensors.keys() - shapes.keys():
        raise CheckpointError(f"{line} it has unknown {min(unknown)}")
    for name, shape in shapes.items():
        if (found := tensors[name].shape) != shape:
            raise CheckpointError(f"{line} {name} is {found}, expected {shape}")
    for name, layer, own, key in named_state(model):
        array, axes = own[key], torch_axes(layer, key, own[key])
        ours = tensors[name].transpose(np.argsort(axes))
        if isinstance(array, np.ndarray):
            array[...] = ours
        elif isinstance(array, np.generic):  # a count, to which a layer added 1
            own[key] = ours.astype(array.dtype)
        else:  # CuPy: one copy up
            array.set(np.asarray(ours, array.dtype, order="C"))


def save_checkpoint(path: str | os.PathLike[str], tensors: dict[str, np.ndarray],
                    header: dict[str, Any], keep: Path | None = None) -> None:  # fmt: skip
    """Write tensors and a JSON header to `path`, atomically; the old file is `keep` afterwards.

    Raises CheckpointError where the disk refuses, and for tensors that are not of real numbers.
    """
    for name, array in tensors.items():
        if array.dtype.newbyteorder("<") not in NAMES:
            raise CheckpointError(f"{name} is of {array.dtype}, which no checkpoint holds")
    header = {"format": FORMAT, **header}
    header["checksum"] = _checksum(tensors, header)
    text = json.dumps(header, default=plain_number)
    write_whole(path, _pieces(tensors, {"minialex": text}), keep)


def load_checkpoint(path: str | os.PathLike[str], ours: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:  # fmt: skip
    """The tensors and the header of a file written by `save_checkpoint`.

    A file of another program, such as a .pth of PyTorch, has no header; without `ours`, it may be
    one.  Raises CheckpointError where the file is missing, damaged, cut short, or not one of
    minialex's.
    """
    name, advice = repr(str(path)), "give a run, or a file of its weights"
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
        raise CheckpointError(f"checkpoint {name} is no regular file; {advice}")
    try:
        tensors, metadata = _read(path)
        header = json.loads(metadata.get("minialex", "null"))
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {name} does not exist; {advice}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {name}: {reason(error)}") from None
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{name} is damaged or no checkpoint ({reason(error)})") from None
    if header is None and not ours:
        return tensors, dict.fromkeys(("model", "classes", "transform"))
    if header is None:
        raise CheckpointError(f"{name} was not written by minialex; it has no minialex header")
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{name} has another format than this version of minialex reads")
    if header.pop("checksum", None) != _checksum(tensors, header):
        raise CheckpointError(f"{name} is damaged: its checksum does not match; use another one")
    return tensors, header


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, or the tensors of a .pth file.

    Raises ValueError where it is none, or what Python raises for keys and types that lack.
    """
    with open(path, "rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        return read_pth(path), {}
    if start.startswith(b"\x80\x02"):
        how = "load it there, and write it again by torch.save(model.state_dict(), path)"
        raise ValueError(f"it is of PyTorch before version 1.6: {how}")
    with safetensors.safe_open(path, "np") as opened:
        names = opened.keys()
        return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}


def _pieces(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Iterator[Any]:
    """The bytes of a safetensors file: the length of its header, the header, and the numbers.

    Piece by piece, since the library safetensors would hold all numbers in memory once more.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    names, end = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)), 0
    for name in names:  # the widest first, so that each is aligned
        array, start = tensors[name], end
        end += array.nbytes
        dtype = NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield from _blocks(tensors[name])


def plain_number(value: Any) -> Any:
    """A number or array of NumPy as JSON writes it.  Raises TypeError for anything else."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"JSON cannot hold {type(value).__name__}")


def _checksum(tensors: dict[str, np.ndarray], header: dict[str, Any]) -> str:
    """CRC-32 over the header and the names, shapes and bytes of the tensors, in order of names."""
    crc = zlib.crc32(json.dumps(header, default=plain_number).encode())
    for name in sorted(tensors):
        array = np.atleast_1d(tensors[name])
        crc = zlib.crc32(f"{name}{array.shape}{array.dtype.newbyteorder('<')}".encode(), crc)
        for block in _blocks(array):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}"


def _blocks(array: np.ndarray) -> Iterator[Any]:
    """The bytes of an array, the lowest of each number first, in blocks that take little memory."""
    rows = np.atleast_1d(array)
    for some in batch_slices(rows):
        block = np.ascontiguousarray(rows[some], array.dtype.newbyteorder("<"))
        yield block.reshape(-1).view(np.uint8).data
