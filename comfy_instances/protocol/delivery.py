"""Delivery of results by our node pack: which graphs and instances have it, and what it reports. Pure.

The pack's nodes take the place of nodes that save files, under the same ids. They hand their pixels to
threads of the instance, so that the next prompt starts at once; `comfy_instances/session/deliveries.py`
follows them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from comfy_instances.protocol.graphs import Graph, find_sink_nodes

#: Version of nodes and routes that this side speaks. Packs of version 1 write no metadata into images.
PROTOCOL = 2
IMAGES_CLASS, FILES_CLASS = "PixelFactoryDeliverImages", "PixelFactoryDeliverFiles"
#: A class that every version of the pack has.
OLDEST_CLASS = "PixelFactoryOutput"
PROTOCOL_INPUT = "protocol"
#: The message by which the pack tells the client of a prompt that results are encoded, with their state.
ENCODED_EVENT = "pixel_factory.encoded"
#: Whether previews are wanted from the start, in the `extra_data` of a prompt.
PREVIEWS_KEY = "pixel_factory_previews"

#: Nodes whose files can be saved in another thread: the input for the value, and the input for file names.
FILE_SAVERS: Mapping[str, tuple[str, str]] = {
    "SaveAnimatedPNG": ("images", "filename_prefix"),
    "SaveAnimatedWEBP": ("images", "filename_prefix"),
    "SaveAudio": ("audio", "filename_prefix"),
    "SaveAudioAdvanced": ("audio", "filename_prefix"),
    "SaveAudioMP3": ("audio", "filename_prefix"),
    "SaveAudioOpus": ("audio", "filename_prefix"),
    "SaveGLB": ("mesh", "filename_prefix"),
    "SaveLoRA": ("lora", "prefix"),
    "SaveVideo": ("video", "filename_prefix"),
    "SaveWEBM": ("images", "filename_prefix"),
}
#: Formats that the pack encodes images in; the service converts to others.
IMAGE_FORMATS = ("image/png", "image/jpeg", "image/webp")
_SHA256, _MD5 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")


class PackState(StrEnum):
    """What an instance's node facts say about the pack."""

    ABSENT = "absent"  #: no pack, or no facts
    OLDER = "older"  #: a pack of before deliveries, or of an earlier protocol
    NEWER = "newer"  #: a pack that no longer speaks our protocol
    MATCHING = "matching"


def find_pack_state(facts: Mapping[str, Any] | None) -> PackState:
    """Return whether an instance has a pack that speaks our protocol."""
    facts = facts or {}
    if IMAGES_CLASS not in facts or FILES_CLASS not in facts:
        return PackState.OLDER if OLDEST_CLASS in facts else PackState.ABSENT
    versions = _versions(facts[IMAGES_CLASS])
    if str(PROTOCOL) in versions:
        return PackState.MATCHING
    numbers = [int(version) for version in versions if version.isdigit()]
    return PackState.NEWER if numbers and min(numbers) > PROTOCOL else PackState.OLDER


def _versions(entry: Any) -> list[str]:
    try:
        kind, *options = entry["input"]["required"][PROTOCOL_INPUT]
        named = options[0].get("options", ()) if kind == "COMBO" else kind
        return [str(version) for version in named]
    except (LookupError, TypeError, AttributeError):
        return []


def replace_savers(
    graph: Graph,
    nodes: Collection[str],
    *,
    content_type: str = "image/png",
    quality: int = 90,
    metadata: str = "",
) -> dict[str, Any]:
    """Return the graph with the saving nodes among `nodes` replaced by those of the pack.

    `metadata` is an XMP packet for images that the pack encodes.
    Nodes that other nodes depend on, or that save in a way that the pack does not know, stay as they are.
    """
    sinks = find_sink_nodes(graph)
    replaced = dict(graph)
    for node in nodes:
        if node in sinks and node in graph:
            replaced[node] = _replace_saver(graph[node], content_type, quality, metadata)
    return replaced


def _replace_saver(
    node: Mapping[str, Any], content_type: str, quality: int, metadata: str
) -> Mapping[str, Any]:
    inputs, saver = dict(node.get("inputs") or {}), str(node.get("class_type"))
    if saver == "SaveImage" and _is_link(inputs.get("images")) and content_type in IMAGE_FORMATS:
        return {
            "class_type": IMAGES_CLASS,
            "inputs": {
                "images": inputs["images"],
                "filename_prefix": inputs.get("filename_prefix", ""),
                "format": content_type,
                "quality": quality,
                PROTOCOL_INPUT: str(PROTOCOL),
                "metadata": metadata,
            },
        }
    value, prefix = FILE_SAVERS.get(saver, ("", ""))
    others = {name: item for name, item in inputs.items() if name not in (value, prefix)}
    if not _is_link(inputs.get(value)) or any(_is_link(item) for item in others.values()):
        return node
    return {
        "class_type": FILES_CLASS,
        "inputs": {
            "value": inputs[value],
            "saver": saver,
            "value_input": value,
            "prefix_input": prefix,
            "arguments": json.dumps(others, sort_keys=True),
            "filename_prefix": inputs.get(prefix, ""),
            PROTOCOL_INPUT: str(PROTOCOL),
        },
    }


def _is_link(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


class DeliveryState(StrEnum):
    """Where a file of a delivery is."""

    WORKING = "working"  #: waits for an encoder, or is being encoded
    ENCODED = "encoded"  #: waits for its presigned request
    UPLOADING = "uploading"
    STORED = "stored"  #: in object storage
    OFFERED = "offered"  #: the service has to fetch it
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in (DeliveryState.STORED, DeliveryState.OFFERED, DeliveryState.FAILED)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveredFile:
    """One file of a delivery, as the instance reports it."""

    number: int
    node: str
    state: DeliveryState
    #: How many of its requests were rejected.
    rejected: int = 0
    error: str = ""
    content_type: str = ""
    #: Bytes.
    size: int = 0
    sha256: str = ""
    md5: str = ""
    #: What object storage called the object when it was stored; empty if the pack is older or it gives none.
    tag: str = ""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    #: Seconds by step: `blocked` of the graph's thread, `queued`, `encode`, `upload`.
    timings: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class DeliverySnapshot:
    """The state of all files of a prompt. A later one has a higher revision."""

    revision: int
    files: tuple[DeliveredFile, ...]


def parse_snapshot(body: Any) -> DeliverySnapshot:
    """Parse the response of the pack. Raises ValueError for anything else."""
    try:
        files = tuple(_parse_file(row) for row in body["files"])
        return DeliverySnapshot(int(body["revision"]), files)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("malformed state of a delivery") from error


def _parse_file(row: Mapping[str, Any]) -> DeliveredFile:
    state = DeliveryState(row["state"])
    file = DeliveredFile(
        number=int(row["item"]),
        node=str(row["node"]),
        state=state,
        rejected=int(row["rejected"]),
        error=str(row["error"]),
        content_type=str(row.get("content_type") or ""),
        size=int(row.get("size") or 0),
        sha256=str(row.get("sha256") or ""),
        md5=str(row.get("md5") or ""),
        tag=str(row.get("tag") or ""),
        width=_number(row.get("width")),
        height=_number(row.get("height")),
        frames=_number(row.get("frames")),
        fps=float(row["fps"]) if row.get("fps") else None,
        timings={str(name): float(value) for name, value in dict(row.get("timings") or {}).items()},
    )
    has_digests = _SHA256.fullmatch(file.sha256) and _MD5.fullmatch(file.md5)
    if state in (DeliveryState.ENCODED, DeliveryState.STORED) and not (has_digests and file.size > 0):
        raise ValueError("a delivered file has no digest or size")
    return file


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
