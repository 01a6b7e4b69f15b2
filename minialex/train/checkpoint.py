"""Checkpoints -- safetensors files, written whole or not at all.

You should be able to open your weights elsewhere.  So a file holds them under PyTorch's names
(`features.0.weight`) and in PyTorch's axis order, and

    torch_model.load_state_dict(safetensors.torch.load_file("best.safetensors"))

works as it is.  Beside them stands a JSON header: the model's settings, its class names, its
preprocessing.  `last.safetensors` holds the optimizer's vectors (`optimizer.m` ...) and the
progress of the run as well.  It needs no random state: all random draws are functions of (seed,
epoch, step), so the numbers of the epoch and the step ARE the random state.

A crash in the middle of writing must not cost you the run.  So a file is written under a temporary
name, forced to the disk, and only then renamed: at any moment there is either the old file or the
new one.  The header carries a checksum of itself and of all tensors, which loading verifies.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from minialex.errors import CheckpointError
from minialex.layers import Conv2d, Layer, Linear
from minialex.params import Params, named_arrays, own_arrays
from minialex.xp import Array, to_cpu

FORMAT = 1


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
    lost = {name for _, _, name in named_arrays(layer.params)} - {name for name, *_ in found}
    if lost:
        kind = type(layer).__name__
        raise ValueError(f"{kind}: children() must name the layer that {min(lost)!r} belongs to")
    return found


def state_dict(model: Layer) -> dict[str, np.ndarray]:
    """Copies of params and buffers by dotted name: NumPy arrays in PyTorch's axis order."""
    result = {}
    for name, layer, own, key in named_state(model):
        axes = torch_axes(layer, key, own[key])
        result[name] = np.array(to_cpu(own[key]).transpose(axes), order="C")
    return result


def load_state_dict(model: Layer, tensors: dict[str, np.ndarray]) -> None:
    """Copy tensors named and ordered as by `state_dict` into the params and buffers of `model`.

    Raises CheckpointError, and changes nothing, where a name is missing or unknown or a shape does
    not fit.
    """
    shapes = state_dict_shapes(model)
    for problem, names in (
        ("lacks", shapes.keys() - tensors.keys()),
        ("has unknown", tensors.keys() - shapes.keys()),
    ):
        if names:
            raise CheckpointError(
                f"the checkpoint does not fit this model: it {problem} {min(names)}"
            )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise CheckpointError(
                "the checkpoint does not fit this model:"
                f" {name} is {tensors[name].shape}, expected {shape}"
            )
    for name, layer, own, key in named_state(model):
        array, axes = own[key], torch_axes(layer, key, own[key])
        ours = tensors[name].transpose(np.argsort(axes)).astype(array.dtype)
        if isinstance(array, np.ndarray):
            array[...] = ours
        elif isinstance(array, np.generic):  # a count, to which a layer added 1
            own[key] = ours
        else:  # CuPy: one copy up
            array.set(np.asarray(ours, order="C"))


def state_dict_shapes(model: Layer) -> dict[str, tuple[int, ...]]:
    """Name -> shape in PyTorch's axis order, without copying any array."""
    return {
        name: tuple(own[key].shape[axis] for axis in torch_axes(layer, key, own[key]))
        for name, layer, own, key in named_state(model)
    }


def save_checkpoint(
    path: str | os.PathLike[str], tensors: dict[str, np.ndarray], header: dict[str, Any]
) -> None:
    """Write tensors and a JSON header to `path`, atomically.

    Raises CheckpointError where the disk refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    header = {"format": FORMAT, **header}
    # One entry only: safetensors writes several in a random order, and equal runs should leave
    # equal files.
    header = {**header, "checksum": _checksum(tensors, header)}
    metadata = {"minialex": json.dumps(header, default=plain_number)}
    try:
        # A file of our own shows what the user's umask allows; safetensors allows the owner alone.
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, metadata)
        temporary.chmod(mode)
        replace_durably(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"cannot write {str(path)!r}: {_line(error)}; the old file is kept"
        ) from None


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and the header of a file written by `save_checkpoint`.

    Raises CheckpointError where the file is missing, damaged, cut short, or not one of minialex's.
    """
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise CheckpointError(
            f"checkpoint {str(path)!r} {what}; give a .safetensors file written by training"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "minialex" not in metadata:
                raise CheckpointError(
                    f"{str(path)!r} was not written by minialex; it has no minialex header"
                )
            header = json.loads(metadata["minialex"])
            names = file.keys()  # `file` is not a dict, and cannot be iterated over
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{str(path)!r} is damaged or no checkpoint ({_line(error)}); use another one"
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(
            f"{str(path)!r} has another format than this version of minialex reads"
        )
    checksum = header.pop("checksum", None)
    if checksum != _checksum(tensors, header):
        raise CheckpointError(
            f"{str(path)!r} is damaged: its checksum does not match; use another checkpoint"
        )
    return tensors, header


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a small text file atomically.  Raises CheckpointError where the disk refuses."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        replace_durably(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"cannot write {str(path)!r}: {_line(error)}; the old file is kept"
        ) from None


def replace_durably(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path` once its content is on the disk, then force the name there too.

    Without the first, a power cut could leave the new name with an empty file; without the second,
    the old file.
    """
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def plain_number(value: Any) -> Any:
    """A number or array of NumPy as JSON writes it.  Raises TypeError for anything else."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"JSON cannot hold {type(value).__name__}")


def _checksum(tensors: dict[str, np.ndarray], header: dict[str, Any]) -> str:
    """CRC-32 over the header and the names, shapes and bytes of the tensors, in order of names."""
    crc = zlib.crc32(json.dumps(header, default=plain_number).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        crc = zlib.crc32(f"{name}{array.shape}{array.dtype}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
