"""Parses the responses to `/queue` and `/history/{id}`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from comfy_instances.protocol.graphs import Graph, files_without_events
from comfy_instances.protocol.message_parser import parse_event
from comfy_instances.protocol.messages import (
    Executed,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionSuccess,
    Message,
)


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A running or waiting prompt, and the client id that receives its messages."""

    prompt_id: str
    graph: Mapping[str, Any] = field(repr=False, hash=False)
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class InstanceQueue:
    """The running and waiting prompts of an instance; `pending` is not in execution order."""

    running: tuple[QueueEntry, ...] = ()
    pending: tuple[QueueEntry, ...] = ()

    def __len__(self) -> int:
        return len(self.running) + len(self.pending)

    def is_running(self, prompt_id: str) -> bool:
        return any(entry.prompt_id == prompt_id for entry in self.running)

    def find(self, prompt_id: str) -> QueueEntry | None:
        return next((e for e in (*self.running, *self.pending) if e.prompt_id == prompt_id), None)


def parse_queue(body: Any) -> InstanceQueue:
    """Parse `{"queue_running": [...], "queue_pending": [...]}`, both lists of
    `[number, prompt_id, graph, extra_data, outputs]`. Raises ValueError for anything else."""
    try:
        return InstanceQueue(_parse_entries(body["queue_running"]), _parse_entries(body["queue_pending"]))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("malformed /queue response") from error


def _parse_entries(rows: Any) -> tuple[QueueEntry, ...]:
    return tuple(QueueEntry(str(row[1]), dict(row[2]), row[3].get("client_id")) for row in rows)


def parse_history(body: Any, prompt_id: str) -> list[Message] | None:
    """Return the messages of a prompt that has ended, or None if the server has no entry for it.

    They are the messages that the socket delivered, plus `executed` messages for savers that send none.
    Raises ValueError for a malformed response.
    """
    try:
        entry = body.get(prompt_id)
        return None if entry is None else list(_history_messages(prompt_id, entry))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("malformed /history response") from error


def _history_messages(prompt_id: str, entry: Mapping[str, Any]) -> Iterator[Message]:
    status = entry.get("status") or {}
    recorded = [parse_event(row[0], row[1]) for row in status.get("messages") or ()]
    ends = [message for message in recorded if _is_final(message)]
    yield from (message for message in recorded if not _is_final(message))
    for node, output in entry.get("outputs", {}).items():
        yield Executed(prompt_id, str(node), dict(output or {}))
    end = ends[-1] if ends else _end_from_status(prompt_id, str(status.get("status_str")))
    if isinstance(end, ExecutionSuccess):
        yield from _outputs_without_events(prompt_id, entry["prompt"][2] if "prompt" in entry else {})
    yield end


def _outputs_without_events(prompt_id: str, graph: Graph) -> Iterator[Executed]:
    for node, path in files_without_events(graph):
        file = PurePosixPath(path)
        row = {"filename": file.name, "subfolder": str(file.parent) if file.parent.name else ""}
        yield Executed(prompt_id, node, {"files": [row | {"type": "output"}]})


def _is_final(message: Message) -> bool:
    return isinstance(message, ExecutionSuccess | ExecutionError | ExecutionInterrupted)


def _end_from_status(prompt_id: str, status: str) -> Message:
    """Derive the final message of an entry without messages (old servers, other implementations)."""
    if status == "success":
        return ExecutionSuccess(prompt_id, None)
    return ExecutionError(prompt_id, "", "", "", f"the server reports only status {status!r}", (), None)
