"""A simulated instance: prompt queue, websocket clients and worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.deliveries import SimulatedDeliveries
from comfy_instances.simulator.execution.prompt_queue import PromptQueue, QueuedPrompt
from comfy_instances.simulator.execution.worker import ExecutionWorker
from comfy_instances.simulator.faults import EXECUTION_FAULTS, ArmedFaults, find_marked_fault
from comfy_instances.simulator.options import SimulatorOptions
from comfy_instances.simulator.server.websocket_hub import WebsocketHub
from comfy_instances.simulator.validation.live_facts import with_current_files


class SimulatedInstance:
    """The state of one instance. Create and use it on a running event loop."""

    def __init__(self, options: SimulatorOptions, facts: Mapping[str, Any]) -> None:
        self.options = options
        self._facts = facts
        self.faults = ArmedFaults()
        self.hub = WebsocketHub(self.queue_info)
        self.queue = PromptQueue(self._on_queue_changed)
        #: What our node pack delivers; None if the instance is to be without it.
        self.deliveries = (
            SimulatedDeliveries(options.folders.input, self.hub.send) if options.delivers else None
        )
        self.worker = ExecutionWorker(facts, options, self.hub, self.deliveries)
        self._next_number = 0
        self._prompt_queued = asyncio.Event()

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts about all node classes, with the current option lists."""
        return with_current_files(self._facts, self.options.folders)

    def queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.queue.remaining}}

    def next_queue_number(self, *, front: bool) -> int:
        """Return the queue number of a prompt that sets none: after all others, or before them."""
        number, self._next_number = self._next_number, self._next_number + 1
        return -number if front else number

    def interrupt(self, prompt_id: str | None) -> bool:
        """Interrupt the running prompt, if `prompt_id` is its id or None. Return whether a prompt runs."""
        running = self.queue.running
        if prompt_id is not None and (running is None or running.prompt_id != prompt_id):
            return False
        self.worker.device.interrupt_requested.set()
        return running is not None

    async def run_queued_prompts(self) -> None:
        """Run queued prompts until cancelled."""
        while True:
            prompt = self.queue.start_next()
            if prompt is None:
                self._prompt_queued.clear()
                await self._prompt_queued.wait()
                continue
            await self._run_prompt(prompt)

    async def _run_prompt(self, prompt: QueuedPrompt) -> None:
        fault = find_marked_fault(prompt.graph) or self.faults.consume(*EXECUTION_FAULTS)
        outcome = await self.worker.execute_prompt(prompt, fault)
        self.queue.finish(outcome)
        if prompt.client_id is not None:
            ended = {"node": None, "prompt_id": prompt.prompt_id}
            self.hub.send("executing", ended, prompt.client_id)

    def _on_queue_changed(self) -> None:
        self.hub.send_status()
        self._prompt_queued.set()


def now_milliseconds() -> int:
    """Return the Unix time in milliseconds, the unit of all timestamps in the protocol."""
    return int(time.time() * 1000)
