"""Whether a file is what a manifest says it is. Reads headers and bytes, never runs what is in them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.catalog import WeightFile
from orchestrator.weights.errors import BadWeightFile
from orchestrator.weights.header import SafetensorsHeader, read_safetensors_header

#: Share by which a size that a manifest has only rounded may be off.
SIZE_TOLERANCE = 0.02
_CHUNK_BYTES = 4 * 2**20

#: What a manifest calls a file whose numbers are mostly of that type. Four-bit numbers come packed in bytes.
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
    """What is wrong with the file as far as its size and its beginning tell. Raises OSError."""
    problem = find_size_problem(weight, file.stat().st_size)
    # Of a file that is cut off, its own words are the better ones.
    try:
        return [*_find_content_problems(weight, file), *([problem] if problem else [])]
    except BadWeightFile as error:
        return [str(error)]


def find_size_problem(weight: WeightFile, size: int) -> str | None:
    """What is wrong with a file of `size` bytes."""
    slack = 0 if weight.sha256 else int(weight.bytes * SIZE_TOLERANCE)
    if weight.bytes and abs(size - weight.bytes) > slack:
        return f"it has {size} bytes, not {weight.bytes}"
    return None


def compute_sha256(file: Path, on_progress: ProgressCallback = lambda count: None) -> str:
    """SHA-256 of a file, hexadecimal; `hear` is told the bytes of each piece."""
    sha = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_CHUNK_BYTES):
            sha.update(piece)
            on_progress(len(piece))
    return sha.hexdigest()


def _find_content_problems(weight: WeightFile, file: Path) -> Iterator[str]:
    suffix = Path(weight.path).suffix.lower()
    if suffix in (".safetensors", ".sft"):
        yield from _find_tensor_problems(weight, read_safetensors_header(file))
    elif suffix == ".gguf":
        if _read_magic(file) != b"GGUF":
            raise BadWeightFile("it is no GGUF file")
    elif _read_magic(file) == b"PK\x03\x04":
        # The list of what an archive holds is at its end.
        if not zipfile.is_zipfile(file):
            raise BadWeightFile("it is cut off: the archive has no end")
    elif _read_magic(file)[:1] != b"\x80":
        raise BadWeightFile("it is no PyTorch file")


def _find_tensor_problems(weight: WeightFile, header: SafetensorsHeader) -> Iterator[str]:
    labels = _MANIFEST_DTYPES.get(header.dominant_dtype, ())
    # Where the loader converts, the manifest's type is that in memory.
    if weight.dtype not in labels and weight.load_as == "default":
        yield f"its numbers are {header.dominant_dtype or 'missing'}, not {weight.dtype}"
    for name, shape in weight.tensors.items():
        tensor = header.tensors.get(name)
        if tensor is None:
            yield f"it has no tensor {name}: it is another network's"
        elif tensor.shape != shape:
            yield f"its tensor {name} has the shape {list(tensor.shape)}, not {list(shape)}"


def _read_magic(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(4)
