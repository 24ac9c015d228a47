"""Parse and check safetensors files: the header, the layout of the tensors, and that numbers are finite.

The format:

    8 bytes, little-endian: length N of the header
    N bytes of JSON: {"NAME": {"dtype": "BF16", "shape": [3072, 768], "data_offsets": [0, 4718592]}, ...}
    the data of all tensors, without gaps
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

from orchestrator.media.errors import CorruptMedia

#: The limit of the reference implementation.
MAX_HEADER_BYTES = 100_000_000

# fmt: off
_BITS_BY_DTYPE = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
}
# fmt: on
#: NumPy type and exponent bits by dtype; all exponent bits are set in an infinity or NaN.
_EXPONENT_MASKS = {
    "F64": ("<u8", 0x7FF << 52),
    "F32": ("<u4", 0xFF << 23),
    "F16": ("<u2", 0x1F << 10),
    "BF16": ("<u2", 0xFF << 7),
}
#: Names of other formats by their leading bytes, for error messages.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a pickle archive of PyTorch",
    b"\x80": "a pickle",
    b"version https://git-lfs": "a Git LFS pointer, not the file that it points to",
    b"GGUF": "a GGUF file",
    b"<": "an HTML or XML page",
    b"{": "a JSON file",
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One entry of the header. Its data is the bytes `start` to `end` of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def element_count(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """The parsed header of a file."""

    #: By name, in the order of their data.
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    @property
    def dominant_dtype(self) -> str:
        """The dtype of most elements in the file; empty if there are none."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors.values():
            counts[tensor.dtype] += tensor.element_count
        return counts.most_common(1)[0][0] if counts else ""


def parse_safetensors_header(file: BinaryIO, size: int) -> SafetensorsHeader:
    """Parse the header of a file of `size` bytes that is open at its start.

    Raises CorruptMedia, whose message says what is wrong with the file or which format it has instead;
    OSError.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
        raise CorruptMedia(_explain_not_safetensors(start + file.read(32), size))
    text = file.read(length)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptMedia("its header is not valid JSON") from error
    if not isinstance(data, dict):
        raise CorruptMedia("its header is not a JSON object")
    metadata = data.pop("__metadata__", {})
    tensors = {name: _parse_tensor(name, entry, 8 + length) for name, entry in data.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    _check_layout(ordered, 8 + length, size)
    return SafetensorsHeader(ordered, metadata if isinstance(metadata, dict) else {})


def check_finite(data: bytes, header: SafetensorsHeader) -> None:
    """Raise CorruptMedia if a tensor contains infinity or NaN, as after a diverged training.

    Types of 8 bits and less are not checked.
    """
    import numpy as np  # takes 14 MB, and is needed for trained LoRAs only

    for name, tensor in header.tensors.items():
        if tensor.dtype in _EXPONENT_MASKS:
            kind, exponent = _EXPONENT_MASKS[tensor.dtype]
            bits = np.frombuffer(data, kind, tensor.element_count, tensor.start)
            if np.any(bits & exponent == exponent):
                raise CorruptMedia(f"tensor {name[:100]!r} contains infinity or NaN")


def _parse_tensor(name: str, entry: Any, offset: int) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = [*shape, start, end]
        if dtype not in _BITS_BY_DTYPE or any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("unknown dtype, or a shape or offset that is not a natural number")
    except (LookupError, TypeError, ValueError) as error:
        raise CorruptMedia(f"its header has an invalid entry for {name[:100]!r}") from error
    if prod(shape) * _BITS_BY_DTYPE[dtype] != (end - start) * 8:
        raise CorruptMedia(f"tensor {name[:100]!r} has {end - start} bytes, which do not match its shape")
    return TensorInfo(dtype, shape, offset + start, offset + end)


def _check_layout(tensors: Mapping[str, TensorInfo], data_start: int, size: int) -> None:
    """Raise CorruptMedia unless the tensors fill the file exactly."""
    at = data_start
    for name, tensor in tensors.items():
        if tensor.start != at:
            raise CorruptMedia(f"tensor {name[:100]!r} overlaps another one or leaves a gap")
        at = tensor.end
    if at > size:
        raise CorruptMedia(f"it is truncated: {at - size} of {at} bytes are missing")
    if at < size:
        raise CorruptMedia(f"it has {size - at} extra bytes after its last tensor")


def _explain_not_safetensors(leading_bytes: bytes, size: int) -> str:
    if size == 0:
        return "it is empty"
    for magic, name in _OTHER_FORMATS.items():
        if leading_bytes.startswith(magic):
            return f"it is not a safetensors file but {name}"
    return "it is not a safetensors file, or truncated within its header"
