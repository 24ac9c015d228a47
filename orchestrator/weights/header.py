"""The header of a weight file: which tensors it holds, and whether they can all be there."""

from __future__ import annotations

from pathlib import Path

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.tensors import Header, Tensor, parse_header
from orchestrator.weights.errors import BadFile

__all__ = ["Header", "Tensor", "read_header"]


def read_header(file: Path) -> Header:
    """Raises BadFile with what the file is instead, or lacks; OSError."""
    with file.open("rb") as opened:
        try:
            return parse_header(opened, file.stat().st_size)
        except CorruptMedia as error:
            raise BadFile(str(error)) from error
