"""Small quantized weight files, right and wrong, written byte by byte without torch."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from orchestrator.weights.quantizing.formats import FORMATS, OWN_METADATA

ROWS, COLUMNS = 128, 64
LAYER = "blocks.0.lin"


@dataclass
class QuantizedFile:
    """One layer of 128 rows and 64 columns, in the format `kind`."""

    kind: str
    metadata: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, tuple[str, list[int], bytearray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        form = FORMATS[self.kind]
        weight, scale = form.weight(ROWS, COLUMNS), form.weight_scale(ROWS, COLUMNS)
        self.replace("weight", weight.dtype, [*weight.shape], bytes(i % 100 for i in range(weight.bytes)))
        data = bytes(1 + i % 100 for i in range(scale.bytes)) if form.block else struct.pack("<f", 0.5)
        self.replace("weight_scale", scale.dtype, [*scale.shape], data)
        if self.kind == "nvfp4":
            self.replace("weight_scale_2", "F32", [], struct.pack("<f", 0.01))
        self.replace("comfy_quant", "U8", [len(form.comfy_quant)], form.comfy_quant)

    def replace(self, name: str, dtype: str, shape: list[int], data: bytes | None = None) -> None:
        """Set a tensor of the layer; without data it is all ones."""
        size = {"F32": 4, "BF16": 2}.get(dtype, 1)
        for side in shape:
            size *= side
        self.tensors[f"{LAYER}.{name}"] = (dtype, shape, bytearray(data or b"\x01" * size))

    def drop(self, name: str) -> None:
        del self.tensors[f"{LAYER}.{name}"]

    def set_byte(self, name: str, place: int, byte: int) -> None:
        self.tensors[f"{LAYER}.{name}"][2][place] = byte

    def swap_bytes(self, name: str, one: int, other: int) -> None:
        data = self.tensors[f"{LAYER}.{name}"][2]
        data[one], data[other] = data[other], data[one]

    def set_number(self, name: str, number: float) -> None:
        self.tensors[f"{LAYER}.{name}"][2][:] = struct.pack("<f", number)

    def sign(self) -> None:
        """Add the digest of the scales, as files of ours have it."""
        sha = hashlib.sha256()
        for name in ("weight_scale", "weight_scale_2"):
            if f"{LAYER}.{name}" in self.tensors:
                sha.update(self.tensors[f"{LAYER}.{name}"][2])
        self.metadata[OWN_METADATA] = json.dumps({"scales": sha.hexdigest()[:16]})

    def data(self) -> bytes:
        """Return the bytes of the file."""
        header: dict[str, Any] = {"__metadata__": self.metadata} if self.metadata else {}
        at = 0
        for name, (dtype, shape, data) in self.tensors.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
            at += len(data)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in self.tensors.values())
