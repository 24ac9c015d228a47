"""The thread in which graphs run, and the way from it back to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from comfy_instances.simulator.execution.device import Device
from comfy_instances.simulator.execution.prompt_queue import Outcome, Prompt
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.options import Options
from comfy_instances.simulator.server.websocket_hub import Encoded, Hub

if TYPE_CHECKING:
    from comfy_instances.simulator.execution.executor import Executor

log = logging.getLogger(__name__)

Task = Callable[["Executor"], None]


@dataclass(frozen=True, slots=True)
class LoopWire:
    """The hub, as a thread may use it: everything arrives on the event loop, in order."""

    hub: Hub
    loop: asyncio.AbstractEventLoop

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.hub.send, event, data, client_id)

    def send_step(self, step: dict[str, Any], picture: Encoded | None, client_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.hub.send_step, step, picture, client_id)

    def send_text(self, text: str, node_id: str) -> None:
        self.loop.call_soon_threadsafe(self.hub.send_text, text, node_id)

    def at(self, client_id: str | None, node_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.hub.at, client_id, node_id)

    def drop(self, client_id: str | None) -> None:
        self.loop.call_soon_threadsafe(self.hub.drop, client_id)


class Worker:
    """Runs prompts in a thread of its own, one at a time.

    The thread is a daemon: a prompt that hangs does not keep the process from ending. What it needs for
    pictures is imported in it, so that the server answers before that is done.
    """

    def __init__(self, facts: Mapping[str, Any], options: Options, hub: Hub) -> None:
        self.device = Device(options.vram, options.time_scale)
        self._facts = facts
        self._options = options
        self._wire = LoopWire(hub, asyncio.get_running_loop())
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        threading.Thread(target=self._work, name="worker", daemon=True).start()

    async def run(self, prompt: Prompt, fault: Fault | None) -> Outcome:
        """To its end. An interrupt that came before is forgotten, one from now on counts."""
        self.device.interrupt.clear()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()

        def task(executor: Executor) -> None:
            result = executor.run(prompt, fault)
            loop.call_soon_threadsafe(outcome.set_result, result)

        self._tasks.put(task)
        return await outcome

    def unload(self) -> None:
        """Take all models out of memory, between two prompts."""
        self._tasks.put(lambda executor: executor.device.unload())

    def forget(self) -> None:
        """Empty the cache of results, between two prompts."""
        self._tasks.put(lambda executor: executor.cache.clear())

    def _work(self) -> None:
        from comfy_instances.simulator.execution.executor import Executor

        previews = self._options.preview_method != "none"
        executor = Executor(self._facts, self._options.folders, self.device, self._wire, previews)
        while True:
            self._tasks.get()(executor)
