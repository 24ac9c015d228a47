"""The messages that a ComfyUI server sends on its websocket; `message_parser` parses them.

Times are seconds since the epoch (the server sends milliseconds), or None if the server sends none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_instances.protocol.delivery import DeliverySnapshot


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """Length of the queue, including the running prompt; `sid` only in the first message on a socket."""

    queue_remaining: int | None
    sid: str | None


@dataclass(frozen=True, slots=True)
class FeatureFlags:
    """The server's response to the feature flags that a client sent."""

    flags: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ExecutionStart:
    """A prompt begins to run."""

    prompt_id: str
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class ExecutionCached:
    """Nodes that will not run because their results are cached."""

    prompt_id: str
    nodes: tuple[str, ...]
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class Executing:
    """A node begins to run.

    `node` is None when the server has finished a prompt, possibly after the next one has begun. `prompt_id`
    is None in the message that a server sends to a socket that reconnects during a run.
    """

    prompt_id: str | None
    node: str | None


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """Finished and total steps of one node."""

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
    """The states of all nodes of a prompt that have begun."""

    prompt_id: str
    nodes: tuple[NodeState, ...]


@dataclass(frozen=True, slots=True)
class Executed:
    """The outputs of one node, by output key; empty for a cached node without outputs."""

    prompt_id: str
    node: str
    output: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ExecutionSuccess:
    """A prompt has ended successfully."""

    prompt_id: str
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """A node raised an exception, which ends the prompt unless its type is `ExecutionBlocked`."""

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
    """A prompt was interrupted at a node."""

    prompt_id: str
    node_id: str
    node_type: str
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """An image in a binary frame: a preview, or the output of a node that sends its images by socket.

    Prompt and node are None if the client did not request preview metadata.
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
class ResultsEncoded:
    """Our node pack has encoded results of a prompt, which wait for their presigned requests."""

    prompt_id: str
    snapshot: DeliverySnapshot


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """Any other message. `type` is the server's name for it, or empty."""

    type: str


Message = (
    StatusMessage
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
    | ResultsEncoded
    | UnknownMessage
)
