"""The thread that executes prompts, and how it sends events to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from comfy_instances.simulator.deliveries import SimulatedDeliveries
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
    """Forwards events from a thread to the hub on the event loop, in order."""

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
    """Executes prompts one at a time in its own thread.

    The thread is a daemon, so that a prompt that hangs does not block process exit. The thread imports the
    image libraries, so that the server accepts requests before the imports finish.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        options: SimulatorOptions,
        hub: WebsocketHub,
        deliveries: SimulatedDeliveries | None,
    ) -> None:
        self._deliveries = deliveries
        self.device = SimulatedDevice(options.vram_bytes, options.time_scale)
        self._facts = facts
        self._options = options
        self._event_sink = ThreadSafeEventSink(hub, asyncio.get_running_loop())
        self._tasks: SimpleQueue[WorkerTask] = SimpleQueue()
        threading.Thread(target=self._run_tasks, name="worker", daemon=True).start()

    async def execute_prompt(self, prompt: QueuedPrompt, fault: Fault | None) -> PromptResult:
        """Execute a prompt to its end. Interrupts from before the call are discarded."""
        self.device.interrupt_requested.clear()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[PromptResult] = loop.create_future()

        def task(executor: Executor) -> None:
            started = monotonic()
            print("got prompt", flush=True)
            result = executor.execute_prompt(prompt, fault)
            print(f"Prompt executed in {monotonic() - started:.2f} seconds", flush=True)
            loop.call_soon_threadsafe(outcome.set_result, result)

        self._tasks.put(task)
        return await outcome

    def unload_models(self) -> None:
        """Unload all models from memory, between two prompts."""
        self._tasks.put(lambda executor: executor.device.unload_weights())

    def clear_cache(self) -> None:
        """Clear the result cache, between two prompts."""
        self._tasks.put(lambda executor: executor.cache.clear())

    def _run_tasks(self) -> None:
        from comfy_instances.simulator.execution.executor import Executor

        previews = self._options.preview_method != "none"
        executor = Executor(
            self._facts, self._options.folders, self.device, self._event_sink, previews, self._deliveries
        )
        while True:
            self._tasks.get()(executor)
