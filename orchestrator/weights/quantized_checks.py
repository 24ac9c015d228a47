"""Check the quantized layers of a safetensors file: formats, shapes of their scales, and their numbers.

What ComfyUI's loader would take for another layer, or load and compute nonsense with, is a problem: a layer
whose `comfy_quant` is missing, scales of another shape, negative scales, NaN, and scales that are not those
that the file was made with (files of ours have digests of them in their header).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.media.tensors import SafetensorsHeader, TensorInfo
from orchestrator.weights.quantizing.formats import (
    COMFY_QUANT,
    DIGEST_DIGITS,
    FORMATS_BY_COMFY_NAME,
    INPUT_SCALE,
    NVFP4,
    OWN_METADATA,
    PRE_QUANT_SCALE,
    QUANTIZATION_METADATA,
    WEIGHT,
    WEIGHT_SCALE,
    WEIGHT_SCALE_2,
    QuantizedFormat,
    TensorSpec,
)

#: Formats that ComfyUI 0.33 knows besides ours: the manifest's dtype, and the tensors that they need.
_OTHER_FORMATS = {
    "float8_e5m2": ("fp8", (WEIGHT_SCALE,)),
    "int8_tensorwise": ("int8", (WEIGHT_SCALE,)),
    "convrot_w4a4": ("int8", (WEIGHT_SCALE,)),
    "asym_w4a8_int8": ("int8", (".weight_s_rel", ".weight_s_channel")),
}
#: The manifest's dtypes by bits: the dtype of a file is that of the narrowest of its layers.
_NARROWEST_FIRST = ("nvfp4", "int8", "mxfp8", "fp8")
#: Largest `comfy_quant` that is read.
_MAX_QUANT_BYTES = 4096
_CHUNK_BYTES = 8 * 2**20
#: Problems of one kind that are listed by layer; of more, the number.
_MAX_LISTED = 3
#: E4M3 without its sign; this value and no other is NaN. E8M0 has no sign, and its largest value is NaN.
_E4M3_NAN, _E8M0_NAN, _SIGN = 0x7F, 0xFF, 0x80


@dataclass(frozen=True, slots=True)
class QuantizedLayers:
    """The layers that a file says are quantized."""

    #: Name of the format, as in `comfy_quant`, by layer.
    formats: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def dtype(self) -> str:
        """The dtype in manifests; empty if no layer is quantized."""
        names = {
            FORMATS_BY_COMFY_NAME[name].name if name in FORMATS_BY_COMFY_NAME else _OTHER_FORMATS[name][0]
            for name in self.formats.values()
        }
        return next((name for name in _NARROWEST_FIRST if name in names), "")


def find_quantized_layers(header: SafetensorsHeader, file: Path) -> QuantizedLayers:
    """Return the quantized layers, and what is wrong with their headers. Raises OSError."""
    stated: dict[str, Any] = {}
    problems: list[str] = []
    with file.open("rb") as opened:
        for name, info in header.tensors.items():
            if name.endswith(COMFY_QUANT):
                layer = name.removesuffix(COMFY_QUANT)
                stated[layer] = _parse_json(_read(opened, info, _MAX_QUANT_BYTES))
    stated |= _metadata_layers(header.metadata)
    formats: dict[str, str] = {}
    for layer, value in stated.items():
        kind = value.get("format") if isinstance(value, dict) else None
        if kind not in FORMATS_BY_COMFY_NAME and kind not in _OTHER_FORMATS:
            problems.append(f"the layer {layer} has the unknown format {kind!r}")
            continue
        formats[layer] = str(kind)
        problems += _find_shape_problems(header, layer, str(kind))
    unstated = [
        name.removesuffix(WEIGHT_SCALE)
        for name in header.tensors
        if name.endswith(WEIGHT_SCALE) and name.removesuffix(WEIGHT_SCALE) not in stated
    ]
    problems += [f"the layer {layer} has scales, but no comfy_quant" for layer in unstated]
    return QuantizedLayers(formats, tuple(_shorten(problems)))


def find_number_problems(header: SafetensorsHeader, file: Path) -> list[str]:
    """Read all numbers of the quantized layers, and return what is wrong with them. Raises OSError.

    The headers of the layers must be right.
    """
    layers = find_quantized_layers(header, file).formats
    digests = _own_digests(header, layers)
    problems: list[str] = []
    with file.open("rb") as opened:
        for layer, name in layers.items():
            kind = FORMATS_BY_COMFY_NAME.get(name)
            if kind is None:
                continue
            problems += _find_layer_problems(opened, header, layer, kind)
            if layer in digests and digests[layer] != _digest_scales(opened, header, layer):
                problems.append(f"the layer {layer} has other scales than the file was made with")
    return _shorten(problems)


def logical_shape(header: SafetensorsHeader, layers: Mapping[str, str], name: str) -> tuple[int, ...] | None:
    """Return the shape of the tensor before it was packed; None if there is none of this name."""
    info = header.tensors.get(name)
    if info is None:
        return None
    if layers.get(name.removesuffix(WEIGHT)) == NVFP4.comfy_name and len(info.shape) == 2:
        return info.shape[0], NVFP4.columns(info.shape[1])
    return info.shape


def _metadata_layers(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the layers that the metadata lists, as files of some publishers have them."""
    found = _parse_json(metadata.get(QUANTIZATION_METADATA, "{}"))
    layers = found.get("layers") if isinstance(found, dict) else None
    return layers if isinstance(layers, dict) else {}


def _find_shape_problems(header: SafetensorsHeader, layer: str, name: str) -> Iterator[str]:
    """Yield what is wrong with types and shapes of a layer's tensors."""
    weight = header.tensors.get(layer + WEIGHT)
    if weight is None:
        yield f"the layer {layer} has no weight"
        return
    kind = FORMATS_BY_COMFY_NAME.get(name)
    if kind is None:
        missing = [suffix for suffix in _OTHER_FORMATS[name][1] if layer + suffix not in header.tensors]
        yield from (f"the layer {layer} has no {suffix[1:]}" for suffix in missing)
        return
    if weight.dtype != kind.quantized_dtype or len(weight.shape) not in (2, 3):
        yield (f"the weight of the layer {layer} is {weight.dtype} {list(weight.shape)}, not {kind.name}")
        return
    if len(weight.shape) == 3:
        return  # a stack of experts, whose scales have a dimension more
    rows, columns = weight.shape[0], kind.columns(weight.shape[1])
    wanted = {WEIGHT_SCALE: kind.weight_scale(rows, columns)}
    wanted |= {WEIGHT_SCALE_2: TensorSpec("F32", ())} if kind is NVFP4 else {}
    for suffix, spec in wanted.items():
        yield from _compare(layer, suffix, header.tensors.get(layer + suffix), spec)
    factors = header.tensors.get(layer + PRE_QUANT_SCALE)
    if factors is not None and factors.element_count != columns:
        yield f"pre_quant_scale of the layer {layer} has {factors.element_count} numbers, not {columns}"


def _compare(layer: str, suffix: str, found: TensorInfo | None, spec: TensorSpec) -> Iterator[str]:
    if found is None:
        yield f"the layer {layer} has no {suffix[1:]}"
    elif found.element_count != prod(spec.shape) or (found.dtype == "F32") != (spec.dtype == "F32"):
        yield (
            f"{suffix[1:]} of the layer {layer} is {found.dtype} {list(found.shape)},"
            f" not {spec.dtype} {list(spec.shape)}"
        )


def _find_layer_problems(
    opened: BinaryIO, header: SafetensorsHeader, layer: str, kind: QuantizedFormat
) -> Iterator[str]:
    """Yield what is wrong with the numbers of a layer."""
    for suffix in (WEIGHT_SCALE, WEIGHT_SCALE_2, INPUT_SCALE, PRE_QUANT_SCALE):
        info = header.tensors.get(layer + suffix)
        if info is not None and not all(_are_scales(data, info, kind) for data in _chunks(opened, info)):
            yield f"{suffix[1:]} of the layer {layer} has numbers that are negative, zero or not finite"
    weight = header.tensors[layer + WEIGHT]
    if kind.values_per_byte == 1 and any(_has_nan(data) for data in _chunks(opened, weight)):
        yield f"the weight of the layer {layer} contains NaN"


def _are_scales(data: bytes, info: TensorInfo, kind: QuantizedFormat) -> bool:
    """Whether all numbers can be scales. Zero is one of a block of zeros, and of padding."""
    import numpy as np  # takes 14 MB, and is needed when files are checked only

    if info.dtype in ("F32", "F16", "BF16"):
        if info.dtype == "BF16":
            numbers = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            numbers = np.frombuffer(data, "<f4" if info.dtype == "F32" else "<f2")
        return bool(np.all(np.isfinite(numbers) & (numbers > 0)))
    codes = np.frombuffer(data, np.uint8)
    if kind is NVFP4:
        return not bool(np.any((codes & _SIGN != 0) | (codes == _E4M3_NAN)))
    return not bool(np.any(codes == _E8M0_NAN))


def _has_nan(data: bytes) -> bool:
    import numpy as np

    return bool(np.any(np.frombuffer(data, np.uint8) & ~np.uint8(_SIGN) == _E4M3_NAN))


def _own_digests(header: SafetensorsHeader, layers: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the scales by layer, if the file is one of ours."""
    own = _parse_json(header.metadata.get(OWN_METADATA, "{}"))
    digests = str(own.get("scales", "")) if isinstance(own, dict) else ""
    if len(digests) != DIGEST_DIGITS * len(layers):
        return {}
    starts = range(0, len(digests), DIGEST_DIGITS)
    return {layer: digests[at : at + DIGEST_DIGITS] for layer, at in zip(sorted(layers), starts, strict=True)}


def _digest_scales(opened: BinaryIO, header: SafetensorsHeader, layer: str) -> str:
    """Return the digest of a layer's scales, as the quantization computes it."""
    sha = hashlib.sha256()
    for suffix in (WEIGHT_SCALE, WEIGHT_SCALE_2):
        if (info := header.tensors.get(layer + suffix)) is not None:
            for data in _chunks(opened, info):
                sha.update(data)
    return sha.hexdigest()[:DIGEST_DIGITS]


def _chunks(opened: BinaryIO, info: TensorInfo) -> Iterator[bytes]:
    for start in range(info.start, info.end, _CHUNK_BYTES):
        opened.seek(start)
        yield opened.read(min(_CHUNK_BYTES, info.end - start))


def _read(opened: BinaryIO, info: TensorInfo, limit: int) -> bytes:
    opened.seek(info.start)
    return opened.read(min(limit, info.end - info.start))


def _parse_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _shorten(problems: list[str]) -> list[str]:
    """Return the first problems, and the number of the others."""
    rest = len(problems) - _MAX_LISTED
    return problems[:_MAX_LISTED] + ([f"{rest} more problems of this kind"] if rest > 0 else [])
