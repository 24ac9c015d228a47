"""Write the two checkpoint file formats without torch.

Both take tensors by name, as numpy arrays. An array that repeats one number (`repeated_zeros`) uses almost
no disk space, whatever its shape.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Tensors = Mapping[str, Array]

_SAFETENSORS_NAMES = {"float16": "F16", "float32": "F32"}
_TORCH_STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage"}


def repeated_zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """Return an array of zeros that stores a single element in memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def is_repeated(array: Array) -> bool:
    """Return whether all elements of the array share one element in memory."""
    return array.ndim > 0 and not any(array.strides)


def write_safetensors(file: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file. Zeros become holes, which use no disk blocks."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, array in tensors.items():
        begin, end = end, end + array.nbytes
        kind = _SAFETENSORS_NAMES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            if is_repeated(array) and not array.flat[0]:
                out.seek(array.nbytes, 1)
            else:
                out.write(array.tobytes())
        out.truncate(out.tell())


def write_torch_checkpoint(file: Path, tensors: Tensors) -> None:
    """Write a state dict as `torch.save` does: a ZIP archive of a pickle and the tensor data."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def write_entry(name: str, data: bytes) -> None:
            # Without a timestamp, the file is reproducible.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)

        write_entry("data.pkl", _pickle_tensors(tensors))
        write_entry("byteorder", b"little")
        for number, array in enumerate(tensors.values()):
            write_entry(f"data/{number}", _stored_values(array).tobytes())
        write_entry("version", b"3\n")


def _stored_values(array: Array) -> Array:
    return array.reshape(-1)[:1] if is_repeated(array) else array


def _pickle_tensors(tensors: Tensors) -> bytes:
    """Pickle `{name: torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())}`.

    The opcodes are assembled by hand, because pickle would import torch to write these names.
    """
    parts = [pickle.PROTO, b"\x02", pickle.EMPTY_DICT, pickle.MARK]
    for number, (name, array) in enumerate(tensors.items()):
        storage = (
            pickle.MARK
            + _pickle_value("storage")
            + _pickle_global("torch", _TORCH_STORAGES[array.dtype.name])
        )
        storage += (
            _pickle_value(str(number)) + _pickle_value("cpu") + _pickle_value(_stored_values(array).size)
        )
        strides = tuple(step // array.itemsize for step in array.strides)
        parts += [_pickle_value(name), _pickle_global("torch._utils", "_rebuild_tensor_v2"), pickle.MARK]
        parts += [
            storage,
            pickle.TUPLE,
            pickle.BINPERSID,
            _pickle_value(0),
            _pickle_value(array.shape),
            _pickle_value(strides),
        ]
        parts += [
            _pickle_value(False),
            _pickle_global("collections", "OrderedDict"),
            pickle.EMPTY_TUPLE,
            pickle.REDUCE,
        ]
        parts += [pickle.TUPLE, pickle.REDUCE]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])


def _pickle_global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _pickle_value(value: str | bool | int | tuple[int, ...]) -> bytes:
    """Return the opcodes that push `value` on the stack: its pickle without header and end."""
    return pickle.dumps(value, protocol=2)[2:-1]
