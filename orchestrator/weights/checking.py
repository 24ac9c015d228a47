"""Whether a file is what a manifest says it is. Reads headers and bytes, never runs what is in them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.catalog import Weight
from orchestrator.weights.errors import BadFile
from orchestrator.weights.header import Header, read_header

#: Share by which a size that a manifest has only rounded may be off.
ROUNDED = 0.02
_CHUNK = 4 * 2**20

#: What a manifest calls a file whose numbers are mostly of that type. Four-bit numbers come packed in bytes.
_LABELS = {
    "F32": ("fp32",),
    "F16": ("fp16",),
    "BF16": ("bf16",),
    "F8_E4M3": ("fp8", "mxfp8"),
    "F8_E5M2": ("fp8", "mxfp8"),
    "I8": ("int8",),
    "U8": ("nvfp4",),
    "F4": ("nvfp4",),
}

Hear = Callable[[int], None]


def look(weight: Weight, file: Path) -> list[str]:
    """What is wrong with the file as far as its size and its beginning tell. Raises OSError."""
    problem = wrong_size(weight, file.stat().st_size)
    # Of a file that is cut off, its own words are the better ones.
    try:
        return [*_contents(weight, file), *([problem] if problem else [])]
    except BadFile as error:
        return [str(error)]


def wrong_size(weight: Weight, size: int) -> str | None:
    """What is wrong with a file of `size` bytes."""
    slack = 0 if weight.sha256 else int(weight.bytes * ROUNDED)
    if weight.bytes and abs(size - weight.bytes) > slack:
        return f"it has {size} bytes, not {weight.bytes}"
    return None


def digest(file: Path, hear: Hear = lambda count: None) -> str:
    """SHA-256 of a file, hexadecimal; `hear` is told the bytes of each piece."""
    sha = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_CHUNK):
            sha.update(piece)
            hear(len(piece))
    return sha.hexdigest()


def _contents(weight: Weight, file: Path) -> Iterator[str]:
    suffix = Path(weight.path).suffix.lower()
    if suffix in (".safetensors", ".sft"):
        yield from _tensors(weight, read_header(file))
    elif suffix == ".gguf":
        if _start(file) != b"GGUF":
            raise BadFile("it is no GGUF file")
    elif _start(file) == b"PK\x03\x04":
        # The list of what an archive holds is at its end.
        if not zipfile.is_zipfile(file):
            raise BadFile("it is cut off: the archive has no end")
    elif _start(file)[:1] != b"\x80":
        raise BadFile("it is no PyTorch file")


def _tensors(weight: Weight, header: Header) -> Iterator[str]:
    labels = _LABELS.get(header.dtype, ())
    # Where the loader converts, the manifest's type is that in memory.
    if weight.dtype not in labels and weight.load_as == "default":
        yield f"its numbers are {header.dtype or 'missing'}, not {weight.dtype}"
    for name, shape in weight.tensors.items():
        tensor = header.tensors.get(name)
        if tensor is None:
            yield f"it has no tensor {name}: it is another network's"
        elif tensor.shape != shape:
            yield f"its tensor {name} has the shape {list(tensor.shape)}, not {list(shape)}"


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(4)
