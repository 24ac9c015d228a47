"""fp8 out of 16 or 32 bits: the weights of the repeated blocks, each matrix with a scale of its own.

    LAYER.weight        F8_E4M3, the shape it had
    LAYER.weight_scale  F32, one number: the largest absolute value / 448
    LAYER.comfy_quant   U8, the JSON by which ComfyUI knows the layer's format

What lies outside of the blocks (embedders, final layers), vectors and small matrices stay as they are:
they weigh little, and pictures suffer most from them. Numbers are read, scaled and written in pieces of a
few megabytes, so that a file of 24 GB needs no 24 GB of memory.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.weights.errors import BadWeightFile, WeightError
from orchestrator.weights.header import SafetensorsHeader, TensorInfo, read_safetensors_header

#: The largest number that E4M3 has.
E4M3_MAX = 448.0
#: Matrices with a shorter side stay as they are, as do those that tensor cores can not multiply in fp8.
MIN_SIDE, SIDE_MULTIPLE = 128, 16
#: A layer within one of many like it: `double_blocks.0.img_attn.qkv`.
BLOCK_PATTERN = re.compile(r"(?:blocks?|layers?|refiner)\.\d+\.")
COMFY_QUANT_FORMAT = json.dumps({"format": "float8_e4m3fn"}).encode()
_CHUNK_BYTES = 8 * 2**20
_TORCH_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class QuantizationResult:
    """What was made. Sizes are bytes."""

    quantized: int
    kept: int
    source_bytes: int
    target_bytes: int


@dataclass(frozen=True, slots=True)
class _OutputTensor:
    """One tensor of the new file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def quantize_to_fp8(
    source: Path,
    target: Path,
    keep_pattern: str = "",
    on_progress: Callable[[int], None] = lambda count: None,
) -> QuantizationResult:
    """Writes the fp8 version of the safetensors file `source`; `hear` is told the bytes read so far.

    Layers whose name has a match of the regular expression `keep` stay as they are. `target` is there
    only when it is complete. Raises BadWeightFile, WeightError, OSError.
    """
    torch = _import_torch()
    header = read_safetensors_header(source)
    chosen = {name for name, tensor in header.tensors.items() if _is_quantizable(name, tensor, keep_pattern)}
    if any(name.endswith((".comfy_quant", ".scale_weight", ".weight_scale")) for name in header.tensors):
        raise BadWeightFile("it is quantized already")
    if not chosen:
        raise BadWeightFile(
            "it has no large matrices within blocks, of 16 or 32 bits: there is nothing to gain"
        )
    draft = target.with_name(f"{target.name}.part")
    scales = []
    with source.open("rb") as read, draft.open("wb") as written:
        written.write(_build_header(header, chosen))
        for name, tensor in header.tensors.items():
            if name in chosen:
                scales.append(_write_quantized(torch, read, written, tensor))
            else:
                written.writelines(_read_chunks(read, tensor))
            on_progress(tensor.end)
        written.writelines([*scales, *[COMFY_QUANT_FORMAT] * len(scales)])
    draft.replace(target)
    sizes = source.stat().st_size, target.stat().st_size
    return QuantizationResult(len(chosen), len(header.tensors) - len(chosen), *sizes)


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise WeightError("this needs PyTorch: pip install 'pixel-factory[torch]'") from error


def _is_quantizable(name: str, tensor: TensorInfo, keep_pattern: str) -> bool:
    return (
        name.endswith(".weight")
        and BLOCK_PATTERN.search(name) is not None
        and tensor.dtype in _TORCH_DTYPES
        and len(tensor.shape) == 2
        and min(tensor.shape) >= MIN_SIDE
        and all(side % SIDE_MULTIPLE == 0 for side in tensor.shape)
        and not (keep_pattern and re.search(keep_pattern, name))
    )


def _build_header(header: SafetensorsHeader, chosen: set[str]) -> bytes:
    """The new file up to its data."""
    entries: dict[str, Any] = {"__metadata__": dict(header.metadata)} if header.metadata else {}
    at = 0
    for entry in _output_tensors(header.tensors, chosen):
        offsets = [at, at + entry.bytes]
        entries[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": offsets}
        at += entry.bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    return len(text).to_bytes(8, "little") + text


def _output_tensors(tensors: Mapping[str, TensorInfo], chosen: set[str]) -> Iterator[_OutputTensor]:
    """In the order in which they are written: what is short comes last, so that all else stays aligned."""
    for name, tensor in tensors.items():
        if name in chosen:
            yield _OutputTensor(name, "F8_E4M3", tensor.shape, prod(tensor.shape))
        else:
            yield _OutputTensor(name, tensor.dtype, tensor.shape, tensor.end - tensor.start)
    layers = [name.removesuffix(".weight") for name in tensors if name in chosen]
    yield from (_OutputTensor(f"{layer}.weight_scale", "F32", (), 4) for layer in layers)
    yield from (
        _OutputTensor(f"{layer}.comfy_quant", "U8", (len(COMFY_QUANT_FORMAT),), len(COMFY_QUANT_FORMAT))
        for layer in layers
    )


def _write_quantized(torch: Any, source_file: BinaryIO, target_file: BinaryIO, tensor: TensorInfo) -> bytes:
    """Writes a matrix in fp8; the bytes of its scale. Reads it twice: the scale comes first."""
    dtype = getattr(torch, _TORCH_DTYPES[tensor.dtype])

    def float_chunks() -> Iterator[Any]:
        for piece in _read_chunks(source_file, tensor):
            yield torch.frombuffer(piece, dtype=dtype).to(torch.float32)

    largest = max(float(piece.abs().max()) for piece in float_chunks())
    if not largest < float("inf"):
        raise BadWeightFile("it holds numbers that are not finite")
    # A matrix of zeros has no scale of its own.
    scale = torch.tensor(largest / E4M3_MAX if largest else 1.0, dtype=torch.float32)
    for piece in float_chunks():
        scaled = (piece / scale).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
        target_file.write(scaled.view(torch.uint8).numpy().tobytes())
    return bytes(scale.numpy().tobytes())


def _read_chunks(source_file: BinaryIO, tensor: TensorInfo) -> Iterator[bytearray]:
    """The bytes of a tensor. Raises BadWeightFile where they end early."""
    for start in range(tensor.start, tensor.end, _CHUNK_BYTES):
        source_file.seek(start)
        piece = bytearray(source_file.read(min(_CHUNK_BYTES, tensor.end - start)))
        if len(piece) < min(_CHUNK_BYTES, tensor.end - start):
            raise BadWeightFile("it became shorter while it was read")
        yield piece
