"""Encodes placeholders of 3D files: triangles as binary glTF, points as PLY."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.nodes.values import FloatArray


def encode_glb(asset: Mapping[str, Any], corners: FloatArray) -> bytes:
    """Return a binary glTF file of triangles: every three of `corners` ([count, 3] float32)."""
    data = corners.tobytes()
    bounds = {"min": corners.min(axis=0).tolist(), "max": corners.max(axis=0).tolist()}
    accessor = {"bufferView": 0, "componentType": 5126, "count": len(corners), "type": "VEC3", **bounds}
    scene = {
        "asset": asset,
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [accessor],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "buffers": [{"byteLength": len(data)}],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def encode_ply(points: FloatArray) -> bytes:
    """Return a binary PLY file of `points` ([count, 3] float32)."""
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{axes}end_header\n"
    return head.encode() + points.tobytes()
