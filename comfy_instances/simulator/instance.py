"""One simulated instance: its queue, its clients, its worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.execution.prompt_queue import PromptQueue, QueuedPrompt
from comfy_instances.simulator.execution.worker import ExecutionWorker
from comfy_instances.simulator.faults import EXECUTION_FAULTS, ArmedFaults
from comfy_instances.simulator.options import SimulatorOptions
from comfy_instances.simulator.server.websocket_hub import WebsocketHub
from comfy_instances.simulator.validation.live_facts import with_input_folders


class SimulatedInstance:
    """Made and used on a running event loop."""

    def __init__(self, options: SimulatorOptions, facts: Mapping[str, Any]) -> None:
        self.options = options
        self._facts = facts
        self.faults = ArmedFaults()
        self.hub = WebsocketHub(self.queue_info)
        self.queue = PromptQueue(self._on_queue_changed)
        self.worker = ExecutionWorker(facts, options, self.hub)
        self._next_number = 0
        self._prompt_queued = asyncio.Event()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the node classes take, with the option lists of this moment."""
        return with_input_folders(self._facts, self.options.folders)

    def queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.queue.remaining}}

    def next_queue_number(self, *, front: bool) -> int:
        """Where a prompt that does not say so goes: behind all others, or before them."""
        number, self._next_number = self._next_number, self._next_number + 1
        return -number if front else number

    def interrupt(self, prompt_id: str | None) -> bool:
        """Stop what runs, if it is that prompt or none is named; whether something was told to stop."""
        running = self.queue.running
        if prompt_id is not None and (running is None or running.prompt_id != prompt_id):
            return False
        self.worker.device.interrupt_requested.set()
        return running is not None

    async def run_queued_prompts(self) -> None:
        """Run what is queued, for ever."""
        while True:
            prompt = self.queue.start_next()
            if prompt is None:
                self._prompt_queued.clear()
                await self._prompt_queued.wait()
                continue
            await self._run_prompt(prompt)

    async def _run_prompt(self, prompt: QueuedPrompt) -> None:
        outcome = await self.worker.execute_prompt(prompt, self.faults.consume(*EXECUTION_FAULTS))
        self.queue.finish(outcome)
        if prompt.client_id is not None:
            ended = {"node": None, "prompt_id": prompt.prompt_id}
            self.hub.send("executing", ended, prompt.client_id)

    def _on_queue_changed(self) -> None:
        self.hub.send_status()
        self._prompt_queued.set()


def now_milliseconds() -> int:
    """Since 1970, as all timestamps of the protocol."""
    return int(time.time() * 1000)
