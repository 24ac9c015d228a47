"""Lay out a quantized file before it is written: its header, and in which order its bytes come about.

The matrices and what is copied come first, in the order of the source, each matrix followed by the scales of
its blocks. Then come single numbers, factors of columns, and at last the bytes of `comfy_quant`, so that all
tensors are aligned. The header also has the digest of each layer's scales: it has the same length with and
without them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.weights.quantizing.formats import (
    COMFY_QUANT,
    DIGEST_DIGITS,
    INPUT_SCALE,
    NVFP4,
    OWN_METADATA,
    PRE_QUANT_SCALE,
    WEIGHT,
    WEIGHT_SCALE,
    WEIGHT_SCALE_2,
    QuantizedFormat,
    TensorSpec,
)
from orchestrator.weights.quantizing.recipes import Decision
from orchestrator.weights.quantizing.sources import SourceTensor, WeightSource


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is quantized."""

    name: str
    format: QuantizedFormat
    source: SourceTensor

    @property
    def rows(self) -> int:
        return self.source.info.shape[0]

    @property
    def columns(self) -> int:
        return self.source.info.shape[1]


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of the new file, and what it is made of."""

    name: str
    spec: TensorSpec | SourceTensor
    #: The layer that it belongs to; None for a copy.
    layer: Layer | None = None

    @property
    def dtype(self) -> str:
        return self.spec.dtype if isinstance(self.spec, TensorSpec) else self.spec.info.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape if isinstance(self.spec, TensorSpec) else self.spec.info.shape

    @property
    def bytes(self) -> int:
        if isinstance(self.spec, TensorSpec):
            return self.spec.bytes
        return self.spec.info.end - self.spec.info.start


@dataclass(frozen=True, slots=True)
class FileLayout:
    """The tensors of the new file in their order, and what its metadata says."""

    tensors: Sequence[OutputTensor]
    layers: Sequence[Layer]
    metadata: Mapping[str, str]
    recipe: str
    format: QuantizedFormat

    @property
    def data_bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    def header(self, digest_by_layer: Mapping[str, str] | None = None) -> bytes:
        """Return the bytes before the data; without digests they have the same length."""
        digests = digest_by_layer or {}
        own = {
            "format": self.format.name,
            "recipe": self.recipe,
            "scales": "".join(digests.get(layer.name, "0" * DIGEST_DIGITS) for layer in sorted_layers(self)),
        }
        entries: dict[str, Any] = {"__metadata__": {**self.metadata, OWN_METADATA: json.dumps(own)}}
        at = 0
        for tensor in self.tensors:
            entries[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": tensor.shape,
                "data_offsets": [at, at + tensor.bytes],
            }
            at += tensor.bytes
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # aligns the data
        return len(text).to_bytes(8, "little") + text


def sorted_layers(layout: FileLayout) -> list[Layer]:
    """Return the layers in the order of their digests in the metadata."""
    return sorted(layout.layers, key=lambda layer: layer.name)


def lay_out(
    source: WeightSource,
    decisions: Mapping[str, Decision],
    recipe: str,
    kind: QuantizedFormat,
    extras: Mapping[str, Sequence[str]] | None = None,
) -> FileLayout:
    """Return the layout of the quantized file.

    `extras` has the suffixes of further tensors of a layer, by its name: INPUT_SCALE, PRE_QUANT_SCALE.
    """
    layers = [
        Layer(name.removesuffix(WEIGHT), decision.format, source.tensors[name])
        for name, decision in decisions.items()
        if decision.format is not None
    ]
    by_weight = {layer.name + WEIGHT: layer for layer in layers}
    tensors: list[OutputTensor] = []
    for name, tensor in source.tensors.items():
        layer = by_weight.get(name)
        tensors += [OutputTensor(name, tensor)] if layer is None else _large_tensors(layer)
    for select in (_single_numbers, _column_factors):
        for layer in layers:
            tensors += select(layer, (extras or {}).get(layer.name, ()))
    for layer in layers:
        text = TensorSpec("U8", (len(layer.format.comfy_quant),))
        tensors.append(OutputTensor(layer.name + COMFY_QUANT, text, layer))
    return FileLayout(tensors, layers, source.metadata, recipe, kind)


def _large_tensors(layer: Layer) -> Iterator[OutputTensor]:
    rows, columns = layer.rows, layer.columns
    yield OutputTensor(layer.name + WEIGHT, layer.format.weight(rows, columns), layer)
    if layer.format.block:
        yield OutputTensor(layer.name + WEIGHT_SCALE, layer.format.weight_scale(rows, columns), layer)


def _single_numbers(layer: Layer, extras: Sequence[str]) -> Iterator[OutputTensor]:
    suffixes = [] if layer.format.block else [WEIGHT_SCALE]
    suffixes += [WEIGHT_SCALE_2] if layer.format is NVFP4 else []
    suffixes += [INPUT_SCALE] if INPUT_SCALE in extras else []
    for suffix in suffixes:
        yield OutputTensor(layer.name + suffix, TensorSpec("F32", ()), layer)


def _column_factors(layer: Layer, extras: Sequence[str]) -> Iterator[OutputTensor]:
    if PRE_QUANT_SCALE in extras:
        yield OutputTensor(layer.name + PRE_QUANT_SCALE, TensorSpec("F32", (layer.columns,)), layer)
