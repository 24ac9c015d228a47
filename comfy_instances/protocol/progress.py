"""What a listener hears while a prompt runs. For people to look at; nothing is decided by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeStarted:
    prompt_id: str
    node: str


@dataclass(frozen=True, slots=True)
class StepProgress:
    """`value` of `max` steps of a node are done."""

    prompt_id: str
    node: str
    value: float
    max: float


@dataclass(frozen=True, slots=True)
class Preview:
    """A small picture of what a node is working on. `node` is empty where the server did not say."""

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
#: Called on the event loop, in order; it must return at once.
ProgressListener = Callable[[ProgressEvent], None]
