"""How the course of one prompt is told: what its client hears and what the history keeps."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image as Pictures

from comfy_instances.simulator.execution.progress import Progress
from comfy_instances.simulator.execution.prompt_queue import Message, Outcome, Prompt
from comfy_instances.simulator.server.websocket_hub import Encoded


class Wire(Protocol):
    """The way to the clients. A client id of None means all of them."""

    def send(self, event: str, data: Any, client_id: str | None) -> None: ...
    def send_step(self, step: dict[str, Any], picture: Encoded | None, client_id: str | None) -> None: ...
    def send_text(self, text: str, node_id: str) -> None: ...
    def at(self, client_id: str | None, node_id: str | None) -> None: ...
    def drop(self, client_id: str | None) -> None: ...


@dataclass(slots=True)
class Course:
    """One prompt's messages, in the order of events. Node ids are those of the graph."""

    prompt: Prompt
    wire: Wire
    progress: Progress = field(init=False)
    #: Messages that the history keeps.
    messages: list[Message] = field(default_factory=list)
    #: Output node -> what it has shown.
    outputs: dict[str, Any] = field(default_factory=dict)
    #: Nodes that have run, in order.
    executed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = Progress(self.prompt.prompt_id)

    def begin(self, cached: list[str]) -> None:
        self.wire.at(self.prompt.client_id, None)
        self.tell("execution_start")
        self.tell("execution_cached", nodes=cached)

    def start(self, node_id: str) -> None:
        self.progress.start(node_id)
        self._send_progress_state()
        self.wire.at(self.prompt.client_id, node_id)
        self._send_own("executing", node=node_id, display_node=node_id)

    def step(
        self, node_id: str, done: tuple[float, float], picture: Pictures.Image | None, image_type: str
    ) -> None:
        """`done` is (value, total)."""
        self.progress.update(node_id, *done)
        self._send_progress_state()
        ids = {"prompt_id": self.prompt.prompt_id, "node": node_id}
        data = {"value": done[0], "max": done[1], **ids}
        encoded = _encoded(picture, image_type, self.progress.ids(node_id)) if picture else None
        self.wire.send_step(data, encoded, self.prompt.client_id)

    def show(self, node_id: str, ui: Mapping[str, Any] | None) -> None:
        """What an output node has made, now or in an earlier run; None where that was nothing."""
        if ui is not None:
            self.outputs[node_id] = ui
        self._send_own("executed", node=node_id, display_node=node_id, output=ui)

    def finish(self, node_id: str) -> None:
        self.progress.finish(node_id)
        self._send_progress_state()

    def tell(self, event: str, *, broadcast: bool = False, **data: Any) -> None:
        """A message that the history keeps; without a client only a broadcast is sent."""
        stamped = {"prompt_id": self.prompt.prompt_id} | data | {"timestamp": int(time.time() * 1000)}
        self.messages.append((event, stamped))
        if broadcast or self.prompt.client_id is not None:
            self.wire.send(event, stamped, self.prompt.client_id)

    def end(self, *, success: bool) -> Outcome:
        if success:
            self.tell("execution_success")
        self.wire.at(self.prompt.client_id, None)
        meta = {node_id: _meta(node_id) for node_id in self.outputs}
        return Outcome(outputs=self.outputs, meta=meta, success=success, messages=self.messages)

    def _send_own(self, event: str, **data: Any) -> None:
        """Nobody but the prompt's client gets these."""
        if self.prompt.client_id is not None:
            self.wire.send(event, data | {"prompt_id": self.prompt.prompt_id}, self.prompt.client_id)

    def _send_progress_state(self) -> None:
        self.wire.send("progress_state", self.progress.message, self.prompt.client_id)


def _encoded(picture: Pictures.Image, image_type: str, node: dict[str, Any]) -> Encoded:
    out = io.BytesIO()
    options = {"quality": 95} if image_type == "JPEG" else {"compress_level": 1}
    picture.save(out, image_type, **options)
    return Encoded(out.getvalue(), image_type, node)


def _meta(node_id: str) -> dict[str, Any]:
    return {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
