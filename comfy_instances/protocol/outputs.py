"""The outputs of a run, and how they are parsed from `executed` messages. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Key of an output that says that our node pack delivers it.
DELIVERY_KEY = "delivery"
#: Output key of nodes that save a 3D file: its path below the output folder, and how it is viewed.
_SAVED_3D_KEY = "result"
SUFFIXES_3D = frozenset({"glb", "gltf", "obj", "fbx", "stl", "usdz", "ply", "splat", "spz", "ksplat"})


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file on an instance. `type` names its folder: `output`, `temp` or `input`."""

    filename: str
    subfolder: str = ""
    type: str = "output"


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """One item under one output key of one node: a file, bytes sent by socket, or a text."""

    #: Id of the node in the graph.
    node: str
    #: The node's output key (`images`, `gifs`, `audio`, `text`, ...); not a reliable content type.
    key: str
    file: FileRef | None = None
    data: bytes | None = field(default=None, repr=False)
    text: str | None = None
    #: Whether our node pack delivers it, and the others of its node (`session.deliveries`).
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a successful run. `outputs` is not empty; it is in the order in which nodes finished."""

    prompt_id: str
    outputs: tuple[NodeOutput, ...]
    #: Seconds between the start and the end of the prompt.
    gpu_seconds: float
    #: Ids of the nodes whose results came from the instance's cache.
    cached: frozenset[str]


def parse_outputs(node: str, output: Mapping[str, Any]) -> tuple[NodeOutput, ...]:
    """Return all files and texts under all output keys.

    Numbers, flags (`animated`) and objects without a file name are not outputs.
    """
    return tuple(item for key, value in output.items() for item in _parse_key(node, str(key), value))


def _parse_key(node: str, key: str, value: Any) -> Iterator[NodeOutput]:
    if key == _SAVED_3D_KEY and isinstance(value, list | tuple) and value and _is_3d_path(value[0]):
        subfolder, _, filename = value[0].replace("\\", "/").rpartition("/")
        yield NodeOutput(node, "3d", file=FileRef(filename, subfolder))
    else:
        yield from _parse_items(node, key, value)


def _is_3d_path(value: Any) -> bool:
    return isinstance(value, str) and value.rpartition(".")[2].lower() in SUFFIXES_3D


def _parse_items(node: str, key: str, value: Any) -> Iterator[NodeOutput]:
    if isinstance(value, str):
        yield NodeOutput(node, key, text=value)
    elif isinstance(value, Mapping):
        if isinstance(value.get("filename"), str):
            yield NodeOutput(node, key, file=_parse_file_ref(value))
        elif isinstance(value.get(DELIVERY_KEY), int):
            yield NodeOutput(node, key, delivered=True)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parse_items(node, key, item)


def _parse_file_ref(item: Mapping[str, Any]) -> FileRef:
    return FileRef(item["filename"], str(item.get("subfolder") or ""), str(item.get("type") or "output"))
