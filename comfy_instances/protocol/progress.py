"""Progress events of a running prompt. They are for display only; no decision depends on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node begins to run."""

    prompt_id: str
    node: str


@dataclass(frozen=True, slots=True)
class StepProgress:
    """A node has finished `value` of `max` steps."""

    prompt_id: str
    node: str
    value: float
    max: float


@dataclass(frozen=True, slots=True)
class Preview:
    """A small image of a node's unfinished work. `node` is empty if the server did not name it."""

    prompt_id: str
    node: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeText:
    """A line of text that a node shows while it runs."""

    prompt_id: str
    node: str
    text: str


ProgressEvent = NodeStarted | StepProgress | Preview | NodeText
#: Called on the event loop, in order; it must not block.
ProgressListener = Callable[[ProgressEvent], None]
