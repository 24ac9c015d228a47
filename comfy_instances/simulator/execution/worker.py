"""The thread in which graphs run, and the way from it back to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from comfy_instances.simulator.execution.device import SimulatedDevice
from comfy_instances.simulator.execution.prompt_queue import PromptResult, QueuedPrompt
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.options import SimulatorOptions
from comfy_instances.simulator.server.websocket_hub import EncodedPreview, WebsocketHub

if TYPE_CHECKING:
    from comfy_instances.simulator.execution.executor import Executor

log = logging.getLogger(__name__)

WorkerTask = Callable[["Executor"], None]


@dataclass(frozen=True, slots=True)
class ThreadSafeEventSink:
    """The hub, as a thread may use it: everything arrives on the event loop, in order."""

    hub: WebsocketHub
    loop: asyncio.AbstractEventLoop

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.hub.send, event, data, client_id)

    def send_progress(
        self, progress: dict[str, Any], preview: EncodedPreview | None, client_id: str | None
    ) -> None:
        self.loop.call_soon_threadsafe(self.hub.send_progress, progress, preview, client_id)

    def send_text(self, text: str, node_id: str) -> None:
        self.loop.call_soon_threadsafe(self.hub.send_text, text, node_id)

    def set_current_node(self, client_id: str | None, node_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.hub.set_current_node, client_id, node_id)

    def disconnect(self, client_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.hub.disconnect, client_id)


class ExecutionWorker:
    """Runs prompts in a thread of its own, one at a time.

    The thread is a daemon: a prompt that hangs does not keep the process from ending. What it needs for
    pictures is imported in it, so that the server answers before that is done.
    """

    def __init__(self, facts: Mapping[str, Any], options: SimulatorOptions, hub: WebsocketHub) -> None:
        self.device = SimulatedDevice(options.vram_bytes, options.time_scale)
        self._facts = facts
        self._options = options
        self._event_sink = ThreadSafeEventSink(hub, asyncio.get_running_loop())
        self._tasks: SimpleQueue[WorkerTask] = SimpleQueue()
        threading.Thread(target=self._run_tasks, name="worker", daemon=True).start()

    async def execute_prompt(self, prompt: QueuedPrompt, fault: Fault | None) -> PromptResult:
        """To its end. An interrupt that came before is forgotten, one from now on counts."""
        self.device.interrupt_requested.clear()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[PromptResult] = loop.create_future()

        def task(executor: Executor) -> None:
            result = executor.execute_prompt(prompt, fault)
            loop.call_soon_threadsafe(outcome.set_result, result)

        self._tasks.put(task)
        return await outcome

    def unload_models(self) -> None:
        """Take all models out of memory, between two prompts."""
        self._tasks.put(lambda executor: executor.device.unload_weights())

    def clear_cache(self) -> None:
        """Empty the cache of results, between two prompts."""
        self._tasks.put(lambda executor: executor.cache.clear())

    def _run_tasks(self) -> None:
        from comfy_instances.simulator.execution.executor import Executor

        previews = self._options.preview_method != "none"
        executor = Executor(self._facts, self._options.folders, self.device, self._event_sink, previews)
        while True:
            self._tasks.get()(executor)
