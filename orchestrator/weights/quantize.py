"""Quantize a safetensors file of 16 or 32 bits to fp8: the matrices of repeated blocks, one scale for each.

    LAYER.weight        F8_E4M3, the shape it had
    LAYER.weight_scale  F32, one number: the largest absolute value / 448
    LAYER.comfy_quant   U8, the JSON that tells ComfyUI the layer's format

Layers outside of the blocks (embedders, final layers), vectors and small matrices are copied unchanged: they
are small, and quantizing them costs the most image quality. Tensors are processed in chunks of a few
megabytes, so that a file of 24 GB does not need 24 GB of memory.
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

from orchestrator.atomic_files import write_atomically
from orchestrator.media.tensors import SafetensorsHeader, TensorInfo
from orchestrator.weights.errors import BadWeightFile, WeightError
from orchestrator.weights.file_checks import read_safetensors_header

#: The largest E4M3 number.
E4M3_MAX = 448.0
#: Matrices with a shorter side, or one that tensor cores cannot multiply in fp8, are copied unchanged.
MIN_SIDE, SIDE_MULTIPLE = 128, 16
#: Names of layers within a repeated block: `double_blocks.0.img_attn.qkv`.
BLOCK_PATTERN = re.compile(r"(?:blocks?|layers?|refiner)\.\d+\.")
COMFY_QUANT_FORMAT = json.dumps({"format": "float8_e4m3fn"}).encode()
_CHUNK_BYTES = 8 * 2**20
_TORCH_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class QuantizationResult:
    """Numbers of quantized and copied tensors, and the file sizes in bytes."""

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
    """Write the fp8 version of `source` to `target`; `on_progress` receives the number of bytes read so far.

    Layers whose names match the regular expression `keep_pattern` are copied unchanged. `target` exists only
    once it is complete. Raises BadWeightFile, WeightError, OSError.
    """
    torch = _import_torch()
    header = read_safetensors_header(source)
    chosen = {name for name, tensor in header.tensors.items() if _is_quantizable(name, tensor, keep_pattern)}
    if any(name.endswith((".comfy_quant", ".scale_weight", ".weight_scale")) for name in header.tensors):
        raise BadWeightFile(f"{source} is already quantized")
    if not chosen:
        raise BadWeightFile(
            f"{source} has nothing to quantize: no large matrix of 16 or 32 bits within a repeated block"
        )
    scales = []
    with source.open("rb") as read, write_atomically(target) as written:
        written.write(_build_header(header, chosen))
        for name, tensor in header.tensors.items():
            if name in chosen:
                scales.append(_write_quantized(torch, read, written, tensor))
            else:
                written.writelines(_read_chunks(read, tensor))
            on_progress(tensor.end)
        written.writelines([*scales, *[COMFY_QUANT_FORMAT] * len(scales)])
    sizes = source.stat().st_size, target.stat().st_size
    return QuantizationResult(len(chosen), len(header.tensors) - len(chosen), *sizes)


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise WeightError("quantizing needs PyTorch: pip install 'pixel-factory[torch]'") from error


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
    """Return the bytes of the new file before its tensor data."""
    entries: dict[str, Any] = {"__metadata__": dict(header.metadata)} if header.metadata else {}
    at = 0
    for entry in _output_tensors(header.tensors, chosen):
        offsets = [at, at + entry.bytes]
        entries[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": offsets}
        at += entry.bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the data
    return len(text).to_bytes(8, "little") + text


def _output_tensors(tensors: Mapping[str, TensorInfo], chosen: set[str]) -> Iterator[_OutputTensor]:
    """Yield the tensors in file order: scales and formats come last, to keep the others aligned."""
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
    """Write a matrix in fp8 and return the bytes of its scale.

    Reads the matrix twice, because the scale must be known before the first number is written.
    """
    dtype = getattr(torch, _TORCH_DTYPES[tensor.dtype])

    def float_chunks() -> Iterator[Any]:
        for piece in _read_chunks(source_file, tensor):
            yield torch.frombuffer(piece, dtype=dtype).to(torch.float32)

    largest = max(float(piece.abs().max()) for piece in float_chunks())
    if not largest < float("inf"):
        raise BadWeightFile("the file contains infinity or NaN")
    # A matrix of zeros would have the scale 0.
    scale = torch.tensor(largest / E4M3_MAX if largest else 1.0, dtype=torch.float32)
    for piece in float_chunks():
        scaled = (piece / scale).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
        target_file.write(scaled.view(torch.uint8).numpy().tobytes())
    return bytes(scale.numpy().tobytes())


def _read_chunks(source_file: BinaryIO, tensor: TensorInfo) -> Iterator[bytearray]:
    """Yield the bytes of a tensor in chunks. Raises BadWeightFile if the file ends early."""
    for start in range(tensor.start, tensor.end, _CHUNK_BYTES):
        source_file.seek(start)
        piece = bytearray(source_file.read(min(_CHUNK_BYTES, tensor.end - start)))
        if len(piece) < min(_CHUNK_BYTES, tensor.end - start):
            raise BadWeightFile("the file was truncated while it was read")
        yield piece
