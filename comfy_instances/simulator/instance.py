"""One simulated instance: its queue, its clients, its worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.execution.prompt_queue import Prompt, PromptQueue
from comfy_instances.simulator.execution.worker import Worker
from comfy_instances.simulator.faults import AT_START, Faults
from comfy_instances.simulator.options import Options
from comfy_instances.simulator.server.websocket_hub import Hub
from comfy_instances.simulator.validation.live_facts import with_folders


class Instance:
    """Made and used on a running event loop."""

    def __init__(self, options: Options, facts: Mapping[str, Any]) -> None:
        self.options = options
        self._facts = facts
        self.faults = Faults()
        self.hub = Hub(self.queue_info)
        self.queue = PromptQueue(self._queue_changed)
        self.worker = Worker(facts, options, self.hub)
        self._counter = 0
        self._wake = asyncio.Event()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the node classes take, with the option lists of this moment."""
        return with_folders(self._facts, self.options.folders)

    def queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.queue.remaining}}

    def next_number(self, *, front: bool) -> int:
        """Where a prompt that does not say so goes: behind all others, or before them."""
        number, self._counter = self._counter, self._counter + 1
        return -number if front else number

    def interrupt(self, prompt_id: str | None) -> bool:
        """Stop what runs, if it is that prompt or none is named; whether something was told to stop."""
        running = self.queue.running
        if prompt_id is not None and (running is None or running.prompt_id != prompt_id):
            return False
        self.worker.device.interrupt.set()
        return running is not None

    async def work(self) -> None:
        """Run what is queued, for ever."""
        while True:
            prompt = self.queue.start_next()
            if prompt is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._run(prompt)

    async def _run(self, prompt: Prompt) -> None:
        outcome = await self.worker.run(prompt, self.faults.strike(*AT_START))
        self.queue.finish(outcome)
        if prompt.client_id is not None:
            ended = {"node": None, "prompt_id": prompt.prompt_id}
            self.hub.send("executing", ended, prompt.client_id)

    def _queue_changed(self) -> None:
        self.hub.send_status()
        self._wake.set()


def milliseconds() -> int:
    """Since 1970, as all timestamps of the protocol."""
    return int(time.time() * 1000)
