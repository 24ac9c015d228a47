"""All that a ComfyUI server says on its socket, as frozen values; `wire.py` reads them.

Times are seconds since the epoch (the server sends milliseconds), None where the server sends none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Length of the queue, running prompt included; `sid` only as the first word on a socket."""

    queue_remaining: int | None
    sid: str | None


@dataclass(frozen=True, slots=True)
class FeatureFlags:
    """The server's answer to the flags that a client announced."""

    flags: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ExecutionStart:
    prompt_id: str
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class ExecutionCached:
    """Nodes that will not run because an earlier run's results are at hand."""

    prompt_id: str
    nodes: tuple[str, ...]
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class Executing:
    """A node begins. `node` None: the server has put a prompt aside, perhaps after the next one began.

    `prompt_id` None: the word a server gives to a socket that came back in the middle of a run.
    """

    prompt_id: str | None
    node: str | None


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """Steps done and steps in all of one node."""

    prompt_id: str
    node: str
    value: float
    max: float


@dataclass(frozen=True, slots=True)
class NodeState:
    """One row of a `ProgressState`; `state` is `running`, `finished` or `error`."""

    node: str
    state: str
    value: float
    max: float


@dataclass(frozen=True, slots=True)
class ProgressState:
    """All nodes of a prompt that have begun."""

    prompt_id: str
    nodes: tuple[NodeState, ...]


@dataclass(frozen=True, slots=True)
class Executed:
    """What one node shows: output key -> list of items; empty where a cached node showed nothing."""

    prompt_id: str
    node: str
    output: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ExecutionSuccess:
    prompt_id: str
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """A node raised. `exception_type` `ExecutionBlocked` is the one that does not end its prompt."""

    prompt_id: str
    node_id: str
    node_type: str
    exception_type: str
    exception_message: str
    traceback: tuple[str, ...]
    timestamp: float | None

    @property
    def ends_prompt(self) -> bool:
        return self.exception_type != "ExecutionBlocked"


@dataclass(frozen=True, slots=True)
class ExecutionInterrupted:
    prompt_id: str
    node_id: str
    node_type: str
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """A picture in a binary frame: a preview, or the result of a node that answers on the socket.

    Servers that were not asked for metadata name neither prompt nor node.
    """

    content_type: str
    data: bytes = field(repr=False)
    prompt_id: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class TextFrame:
    """A line of text that a node shows while it runs."""

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """Anything else. `type` is the server's word for it where it had one."""

    type: str


Message = (
    QueueStatus
    | FeatureFlags
    | ExecutionStart
    | ExecutionCached
    | Executing
    | NodeProgress
    | ProgressState
    | Executed
    | ExecutionSuccess
    | ExecutionError
    | ExecutionInterrupted
    | ImageFrame
    | TextFrame
    | UnknownMessage
)
