"""The events of a prompt: messages to its client, and messages for the history."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image as PILImage

from comfy_instances.simulator.execution.progress import PromptProgress
from comfy_instances.simulator.execution.prompt_queue import PromptMessage, PromptResult, QueuedPrompt
from comfy_instances.simulator.server.websocket_hub import EncodedPreview


class EventSink(Protocol):
    """Sends events to clients. A client id of None means all clients."""

    def send(self, event: str, data: Any, client_id: str | None) -> None: ...
    def send_progress(
        self, progress: dict[str, Any], preview: EncodedPreview | None, client_id: str | None
    ) -> None: ...
    def send_text(self, text: str, node_id: str) -> None: ...
    def set_current_node(self, client_id: str | None, node_id: str | None) -> None: ...
    def disconnect(self, client_id: str | None) -> None: ...


@dataclass(slots=True)
class PromptEvents:
    """Publishes the events of one prompt, in order. Node ids are those of the graph."""

    prompt: QueuedPrompt
    event_sink: EventSink
    progress: PromptProgress = field(init=False)
    #: Messages that the history keeps.
    messages: list[PromptMessage] = field(default_factory=list)
    #: Output node -> its UI output.
    outputs: dict[str, Any] = field(default_factory=dict)
    #: Nodes that have run, in order.
    executed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = PromptProgress(self.prompt.prompt_id)

    def start_prompt(self, cached: list[str]) -> None:
        self.event_sink.set_current_node(self.prompt.client_id, None)
        self.publish("execution_start")
        self.publish("execution_cached", nodes=cached)

    def start_node(self, node_id: str) -> None:
        self.progress.start_node(node_id)
        self._send_progress_state()
        self.event_sink.set_current_node(self.prompt.client_id, node_id)
        self._send_to_client("executing", node=node_id, display_node=node_id)

    def report_progress(
        self,
        node_id: str,
        value_and_total: tuple[float, float],
        preview: PILImage.Image | None,
        image_type: str,
    ) -> None:
        """Report the progress of a node; `done` is (value, total)."""
        self.progress.update_node(node_id, *value_and_total)
        self._send_progress_state()
        ids = {"prompt_id": self.prompt.prompt_id, "node": node_id}
        data = {"value": value_and_total[0], "max": value_and_total[1], **ids}
        encoded = _encode_preview(preview, image_type, self.progress.node_ids(node_id)) if preview else None
        self.event_sink.send_progress(data, encoded, self.prompt.client_id)

    def report_output(self, node_id: str, ui: Mapping[str, Any] | None) -> None:
        """Report the output of a node, new or cached; None if it has none."""
        if ui is not None:
            self.outputs[node_id] = ui
        self._send_to_client("executed", node=node_id, display_node=node_id, output=ui)

    def finish_node(self, node_id: str) -> None:
        self.progress.finish_node(node_id)
        self._send_progress_state()

    def publish(self, event: str, *, broadcast: bool = False, **data: Any) -> None:
        """Send a message and add it to the history. Without a client, only a broadcast is sent."""
        stamped = {"prompt_id": self.prompt.prompt_id} | data | {"timestamp": int(time.time() * 1000)}
        self.messages.append((event, stamped))
        if broadcast or self.prompt.client_id is not None:
            self.event_sink.send(event, stamped, self.prompt.client_id)

    def finish_prompt(self, *, success: bool) -> PromptResult:
        if success:
            self.publish("execution_success")
        self.event_sink.set_current_node(self.prompt.client_id, None)
        meta = {node_id: _node_meta(node_id) for node_id in self.outputs}
        return PromptResult(outputs=self.outputs, meta=meta, success=success, messages=self.messages)

    def _send_to_client(self, event: str, **data: Any) -> None:
        """Send a message to the prompt's client only."""
        if self.prompt.client_id is not None:
            self.event_sink.send(event, data | {"prompt_id": self.prompt.prompt_id}, self.prompt.client_id)

    def _send_progress_state(self) -> None:
        self.event_sink.send("progress_state", self.progress.message, self.prompt.client_id)


def _encode_preview(preview: PILImage.Image, image_type: str, node_ids: dict[str, Any]) -> EncodedPreview:
    out = io.BytesIO()
    options = {"quality": 95} if image_type == "JPEG" else {"compress_level": 1}
    preview.save(out, image_type, **options)
    return EncodedPreview(out.getvalue(), image_type, node_ids)


def _node_meta(node_id: str) -> dict[str, Any]:
    return {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
