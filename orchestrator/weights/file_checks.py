"""Check a weight file against its manifest: size, format, dtype, tensor shapes and checksum.

Only headers and bytes are read; pickles are never loaded.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.catalog import WeightFile
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.tensors import SafetensorsHeader, parse_safetensors_header
from orchestrator.weights.errors import BadWeightFile
from orchestrator.weights.quantized_checks import (
    find_number_problems,
    find_quantized_layers,
    logical_shape,
)

#: Relative tolerance for sizes of files without SHA-256, which manifests may round.
SIZE_TOLERANCE = 0.02
_CHUNK_BYTES = 4 * 2**20

#: Manifest dtypes by the dominant dtype of the file. Four-bit numbers are packed in bytes.
_MANIFEST_DTYPES = {
    "F32": ("fp32",),
    "F16": ("fp16",),
    "BF16": ("bf16",),
    "F8_E4M3": ("fp8", "mxfp8"),
    "F8_E5M2": ("fp8", "mxfp8"),
    "I8": ("int8",),
    "U8": ("nvfp4",),
    "F4": ("nvfp4",),
}

ProgressCallback = Callable[[int], None]


def inspect_weight_file(weight: WeightFile, file: Path) -> list[str]:
    """Return the problems that the size and header of the file show. Raises OSError."""
    problem = None if weight.made_by else find_size_problem(weight, file.stat().st_size)
    # For a truncated file, the message of the format check is the more precise one.
    try:
        return [*_find_content_problems(weight, file), *([problem] if problem else [])]
    except BadWeightFile as error:
        return [str(error)]


def inspect_numbers(file: Path) -> list[str]:
    """Return what is wrong with the numbers of a file's quantized layers. Raises OSError.

    The header must be right, as `inspect_weight_file` says.
    """
    if file.suffix.lower() not in (".safetensors", ".sft"):
        return []
    return find_number_problems(read_safetensors_header(file), file)


def find_size_problem(weight: WeightFile, size: int) -> str | None:
    """Return the problem with a file of `size` bytes, or None if it has the size in the manifest."""
    tolerance = 0 if weight.sha256 else int(weight.bytes * SIZE_TOLERANCE)
    if weight.bytes and abs(size - weight.bytes) > tolerance:
        return f"it has {size} bytes, not {weight.bytes}"
    return None


def compute_sha256(file: Path, on_progress: ProgressCallback = lambda count: None) -> str:
    """Return the hexadecimal SHA-256 of a file; `on_progress` receives the number of bytes of each read."""
    sha = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_CHUNK_BYTES):
            sha.update(piece)
            on_progress(len(piece))
    return sha.hexdigest()


def read_safetensors_header(file: Path) -> SafetensorsHeader:
    """Read and check the header of a file.

    Raises BadWeightFile, whose message says what is wrong or which format it has instead; OSError.
    """
    with file.open("rb") as opened:
        try:
            return parse_safetensors_header(opened, file.stat().st_size)
        except CorruptMedia as error:
            raise BadWeightFile(str(error)) from error


def _find_content_problems(weight: WeightFile, file: Path) -> Iterator[str]:
    suffix = Path(weight.path).suffix.lower()
    if suffix in (".safetensors", ".sft"):
        yield from _find_tensor_problems(weight, read_safetensors_header(file), file)
    elif suffix == ".gguf":
        if _read_magic(file) != b"GGUF":
            raise BadWeightFile("it is not a GGUF file")
    elif _read_magic(file) == b"PK\x03\x04":
        # The directory of an archive is at its end.
        if not zipfile.is_zipfile(file):
            raise BadWeightFile("it is truncated: the archive has no directory at its end")
    elif _read_magic(file)[:1] != b"\x80":
        raise BadWeightFile("it is not a PyTorch file")


def _find_tensor_problems(weight: WeightFile, header: SafetensorsHeader, file: Path) -> Iterator[str]:
    layers = find_quantized_layers(header, file)
    labels = (layers.dtype,) if layers.dtype else _MANIFEST_DTYPES.get(header.dominant_dtype, ())
    # If the loader converts, the manifest declares the dtype in memory, not that in the file.
    if weight.dtype not in labels and weight.load_as == "default":
        yield f"its dtype is {layers.dtype or header.dominant_dtype or 'missing'}, not {weight.dtype}"
    for name, shape in weight.tensors.items():
        found = logical_shape(header, layers.formats, name)
        if found is None:
            yield f"it has no tensor {name}: it belongs to another network"
        elif found != shape:
            yield f"its tensor {name} has the shape {list(found)}, not {list(shape)}"
    yield from layers.problems


def _read_magic(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(4)
