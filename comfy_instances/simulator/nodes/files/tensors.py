"""Reads and writes safetensors files of 32-bit floats, as nodes save latents and LoRAs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from comfy_instances.simulator.nodes.values import FloatArray

#: Metadata key of pixels and of frames per position of a saved latent.
LATENT_GEOMETRY_KEY = "pixelfactory_latent_geometry"
_LENGTH_BYTES = 8


def encode_tensors(tensors: Mapping[str, FloatArray], metadata: Mapping[str, str]) -> bytes:
    """Return the file: the length of its header, the header, and the arrays in its order."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    at = 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    arrays = b"".join(array.astype("<f4", copy=False).tobytes() for array in tensors.values())
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + arrays


def read_tensor(path: Path, name: str) -> tuple[FloatArray, Mapping[str, str]]:
    """Return an array of a file, and the file's metadata. Raises ValueError, KeyError."""
    data = path.read_bytes()
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES:start])
    entry = header[name]
    if entry["dtype"] != "F32":
        raise ValueError(f"{name} is of type {entry['dtype']}; the simulator reads F32 only")
    first, last = entry["data_offsets"]
    array = np.frombuffer(data[start + first : start + last], "<f4").reshape(entry["shape"])
    return array.astype(np.float32), header.get("__metadata__", {})
