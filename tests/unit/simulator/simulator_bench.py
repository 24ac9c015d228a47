"""The executor without a server around it, and graphs for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from comfy_instances.protocol.node_facts import load_core_node_facts, load_pack_node_facts
from comfy_instances.simulator.execution.device import SimulatedDevice
from comfy_instances.simulator.execution.executor import Executor
from comfy_instances.simulator.execution.prompt_queue import PromptResult, QueuedPrompt
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.options import InstanceFolders
from comfy_instances.simulator.server.websocket_hub import EncodedPreview
from comfy_instances.simulator.validation.validation import validate_graph

GIB = 1024**3
FACTS = {**load_core_node_facts(), **load_pack_node_facts()}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@dataclass
class RecordingEventSink:
    """A wire that leads nowhere and remembers."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    previews: list[EncodedPreview] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    disconnected: list[str | None] = field(default_factory=list)

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        self.events.append((event, data))

    def send_progress(
        self, progress: dict[str, Any], preview: EncodedPreview | None, client_id: str | None
    ) -> None:
        self.events.append(("progress", progress))
        if preview is not None:
            self.previews.append(preview)

    def send_text(self, text: str, node_id: str) -> None:
        self.texts.append((node_id, text))

    def set_current_node(self, client_id: str | None, node_id: str | None) -> None:
        pass

    def disconnect(self, client_id: str | None) -> None:
        self.disconnected.append(client_id)

    def events_of_type(self, event: str) -> list[Any]:
        return [data for name, data in self.events if name == event]


class ExecutorHarness:
    """Runs graphs one after the other on one simulated device."""

    def __init__(self, base: Path, *, vram: int = 96 * GIB, previews: bool = False) -> None:
        self.folders = InstanceFolders(base)
        self.folders.prepare()
        self.event_sink = RecordingEventSink()
        self.device = SimulatedDevice(vram)
        self.executor = Executor(FACTS, self.folders, self.device, self.event_sink, previews)
        self._ids = count()

    def run_graph(self, graph: dict[str, Any], fault: Fault | None = None, **extra_data: Any) -> PromptResult:
        """Check the graph as the server does, and run it."""
        verdict = validate_graph(graph, FACTS, has_file=lambda name: (self.folders.input / name).exists())
        if verdict.error is not None or verdict.node_errors:
            raise AssertionError(verdict)
        self.event_sink.events.clear()
        prompt = QueuedPrompt(
            number=next(self._ids),
            prompt_id=f"prompt {next(self._ids)}",
            graph=graph,
            extra_data={"client_id": "me", "create_time": 0} | extra_data,
            outputs=verdict.outputs,
        )
        return self.executor.execute_prompt(prompt, fault)

    def saved_paths(self, outcome: PromptResult) -> list[Path]:
        """The files that a prompt has put out, in order."""
        if not outcome.success:
            raise AssertionError(outcome.messages[-1])
        return [
            self.folders.base / item["type"] / item["subfolder"] / item["filename"]
            for shown in outcome.outputs.values()
            for items in shown.values()
            for item in items
            if isinstance(item, dict)
        ]
