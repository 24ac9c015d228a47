"""The header of a weight file: which tensors it holds, and whether they can all be there."""

from __future__ import annotations

from pathlib import Path

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.tensors import SafetensorsHeader, TensorInfo, parse_safetensors_header
from orchestrator.weights.errors import BadWeightFile

__all__ = ["SafetensorsHeader", "TensorInfo", "read_safetensors_header"]


def read_safetensors_header(file: Path) -> SafetensorsHeader:
    """Raises BadWeightFile with what the file is instead, or lacks; OSError."""
    with file.open("rb") as opened:
        try:
            return parse_safetensors_header(opened, file.stat().st_size)
        except CorruptMedia as error:
            raise BadWeightFile(str(error)) from error
