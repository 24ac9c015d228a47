"""What a run leaves behind, as values, and how they are read from a node's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file on an instance. `type` is the folder's name there: `output`, `temp` or `input`."""

    filename: str
    subfolder: str = ""
    type: str = "output"


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """One item under one output key of one node: a file, bytes that came by the socket, or a text."""

    #: Id of the node in the graph.
    node: str
    #: The node's word: `images`, `gifs`, `videos`, `audio`, `3d`, `text`, ... says little of the content.
    key: str
    file: FileRef | None = None
    data: bytes | None = field(default=None, repr=False)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that ended well. `outputs` is not empty and ordered by the nodes' completion."""

    prompt_id: str
    outputs: tuple[NodeOutput, ...]
    #: Seconds between the server's first and last word about the prompt.
    gpu_seconds: float
    #: Ids of the nodes that the instance did not have to run again.
    cached: frozenset[str]


def parse_outputs(node: str, output: Mapping[str, Any]) -> tuple[NodeOutput, ...]:
    """All items under all keys: whatever names a file, and every text.

    Numbers, flags (`animated`) and objects without a file name are remarks, not results.
    """
    return tuple(item for key, value in output.items() for item in _parse_items(node, str(key), value))


def _parse_items(node: str, key: str, value: Any) -> Iterator[NodeOutput]:
    if isinstance(value, str):
        yield NodeOutput(node, key, text=value)
    elif isinstance(value, Mapping):
        if isinstance(value.get("filename"), str):
            yield NodeOutput(node, key, file=_parse_file_ref(value))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parse_items(node, key, item)


def _parse_file_ref(item: Mapping[str, Any]) -> FileRef:
    return FileRef(item["filename"], str(item.get("subfolder") or ""), str(item.get("type") or "output"))
