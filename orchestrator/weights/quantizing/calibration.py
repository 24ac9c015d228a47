"""Recorded activations of a network, as our node pack writes them: its layers' inputs.

`custom_nodes/pixel_factory/recording.py` records them.

A safetensors file with two vectors for each layer, one number per column of the layer's input:

    LAYER.amax         F32, the largest absolute value
    LAYER.mean_square  F32, the mean of the squares
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.weights.errors import BadWeightFile
from orchestrator.weights.file_checks import read_safetensors_header
from orchestrator.weights.quantizing.formats import INPUT_SCALE, PRE_QUANT_SCALE
from orchestrator.weights.quantizing.layout import Layer

HOW_TO_RECORD = "record them with COMFYUI_RECORD_ACTIVATIONS=FILE"
AMAX, MEAN_SQUARE = ".amax", ".mean_square"


@dataclass(frozen=True, slots=True)
class LayerInputs:
    """The columns of what a layer got as input."""

    amax: Sequence[float]
    mean_square: Sequence[float]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The recorded inputs by layer, without the prefix of the network in a checkpoint."""

    file: Path
    inputs: Mapping[str, LayerInputs]
    #: Whether columns with large inputs get factors (`pre_quant_scale`). LoRAs do not fit such a file.
    smooth: bool = False

    def find(self, layer: Layer, prefix: str) -> LayerInputs | None:
        """Return the inputs of a layer. Raises BadWeightFile if they have another width."""
        found = self.inputs.get(layer.name.removeprefix(prefix))
        if found is not None and len(found.amax) != layer.columns:
            raise BadWeightFile(
                f"--calibrate {self.file}: the layer {layer.name} has {len(found.amax)} inputs there, and"
                f" {layer.columns} in the source: record the model that is quantized"
            )
        return found

    def extra_suffixes(self, layer: Layer, prefix: str) -> list[str]:
        """Return the suffixes of the tensors that recorded inputs add to a layer."""
        if not layer.format.has_input_scale or self.find(layer, prefix) is None:
            return []
        is_smoothed = self.smooth and layer.format.name == "nvfp4"
        return [INPUT_SCALE, PRE_QUANT_SCALE] if is_smoothed else [INPUT_SCALE]


def read_calibration(file: Path, *, smooth: bool) -> Calibration:
    """Read recorded activations. Raises BadWeightFile, OSError."""
    header = read_safetensors_header(file)
    data = file.read_bytes()
    vectors: dict[str, list[float]] = {}
    for name, info in header.tensors.items():
        if info.dtype != "F32" or len(info.shape) != 1 or not name.endswith((AMAX, MEAN_SQUARE)):
            raise BadWeightFile(f"--calibrate {file}: {name} is no recorded activation: {HOW_TO_RECORD}")
        numbers = np.frombuffer(data, "<f4", info.element_count, info.start)
        if not np.all(np.isfinite(numbers)) or np.any(numbers < 0):
            raise BadWeightFile(f"--calibrate {file}: {name} has numbers that are negative or not finite")
        vectors[name] = numbers.tolist()
    layers = [name.removesuffix(AMAX) for name in vectors if name.endswith(AMAX)]
    if not layers or any(layer + MEAN_SQUARE not in vectors for layer in layers):
        raise BadWeightFile(f"--calibrate {file} has no recorded activations: {HOW_TO_RECORD}")
    inputs = {layer: LayerInputs(vectors[layer + AMAX], vectors[layer + MEAN_SQUARE]) for layer in layers}
    return Calibration(file, inputs, smooth)
