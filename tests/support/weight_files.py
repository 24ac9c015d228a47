"""Small weight files, right and wrong, and the manifest rows that describe them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from orchestrator.catalog import WeightFile

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1}


def safetensors(tensors: Mapping[str, tuple[str, list[int]]], **changes: Any) -> bytes:
    """A whole file: type and shape by name, all numbers zero. `changes` go into the header as they are."""
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header | changes).encode()
    return len(text).to_bytes(8, "little") + text + bytes(at)


#: 1 kB of bfloat16 and one vector.
SMALL = safetensors({"blocks.0.lin.weight": ("BF16", [16, 32]), "norm": ("F32", [8])})


def weight(data: bytes = SMALL, **changes: Any) -> WeightFile:
    """The row for a file; changed, it may be wrong."""
    row = {
        "slot": "unet",
        "path": "diffusion_models/small.safetensors",
        "url": "https://huggingface.co/us/small/resolve/main/small.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "dtype": "bf16",
        "license": "MIT",
    }
    return WeightFile.model_validate(row | changes)


def put(directory: Path, row: WeightFile, data: bytes = SMALL) -> Path:
    """The file in its place below a models' folder."""
    file = directory / row.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file
