"""Watches over all prompts in flight on one instance: hands them their messages, and asks where none come.

Reconciliation asks `/queue` first and `/history` second. A prompt goes from the one into the other under a
lock of the server's, so what is in neither is unknown there: forgotten by a restart, or taken out by others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.protocol.history import InstanceQueue
from comfy_instances.protocol.messages import (
    Executing,
    FeatureFlags,
    Message,
    QueueStatus,
    TextFrame,
    UnknownMessage,
)
from comfy_instances.session.client import ComfyUIClient
from comfy_instances.session.event_socket import EventSocket
from comfy_instances.session.prompt_run import PromptRun
from comfy_instances.session.settings import SessionSettings

logger = logging.getLogger(__name__)


class Reconciler:
    """The receiver of a link. `run()` is a task for the life of a session."""

    def __init__(self, client: ComfyUIClient, settings: SessionSettings) -> None:
        self.prompt_runs: dict[str, PromptRun] = {}
        self._client = client
        self._settings = settings
        self._wake_up = asyncio.Event()
        self._unreachable_since: float | None = None
        #: The prompt that nameless messages belong to.
        self._current_prompt_id = ""

    @property
    def has_active_prompts(self) -> bool:
        return bool(self.prompt_runs)

    def on_open(self) -> None:
        self._wake_up.set()

    def on_close(self) -> None:
        for flight in self.prompt_runs.values():
            flight.tracker.mark_messages_lost()
        self._wake_up.set()

    def on_message(self, message: Message) -> None:
        match message:
            case QueueStatus() | FeatureFlags() | UnknownMessage() | Executing(node=None):
                return
            case TextFrame():
                prompt_id = self._current_prompt_id
            case _:
                prompt_id = message.prompt_id or self._current_prompt_id
        flight = self.prompt_runs.get(prompt_id)
        if flight is not None:
            self._current_prompt_id = prompt_id
            flight.handle_message(message)

    async def run(self, event_socket: EventSocket) -> None:
        while True:
            roused = await self._wait_for_next_round()
            due = self._runs_to_reconcile(include_all=roused)
            if due and await self._reconcile(due) and not roused and event_socket.is_open:
                logger.warning("the socket is open and silent; leaving it for a new one")
                await event_socket.reconnect()

    async def _wait_for_next_round(self) -> bool:
        """Wait for the next round; True where the socket was opened or lost meanwhile."""
        try:
            async with asyncio.timeout(self._settings.silence_s / 2):
                await self._wake_up.wait()
        except TimeoutError:
            return False
        self._wake_up.clear()
        return True

    def _runs_to_reconcile(self, include_all: bool) -> list[PromptRun]:
        silent_since = _now() - self._settings.silence_s
        return [
            flight
            for flight in self.prompt_runs.values()
            if flight.submitted
            and not flight.is_done
            and (include_all or flight.last_update_at <= silent_since)
        ]

    async def _reconcile(self, due: Sequence[PromptRun]) -> bool:
        """Ask the instance about these. True where an answer shows that the socket should have told us."""
        asked_at = _now()
        try:
            queue = await self._client.get_queue()
            untold = [await self._reconcile_run(flight, queue) for flight in due]
        except InstanceGone as gone:
            self._handle_unreachable(gone, asked_at)
            return False
        self._unreachable_since = None
        return any(untold)

    async def _reconcile_run(self, prompt_run: PromptRun, queue: InstanceQueue) -> bool:
        prompt_run.last_update_at = _now()
        if queue.is_running(prompt_run.prompt_id):
            prompt_run.stalled_since = None
            self._current_prompt_id = prompt_run.prompt_id
            return prompt_run.tracker.has_all_messages and not prompt_run.tracker.has_started
        if queue.find(prompt_run.prompt_id) is not None:
            self._detect_stall(prompt_run, queue)
            return False
        record = await self._client.get_history(prompt_run.prompt_id)
        if prompt_run.is_done:
            return False
        if record is None:
            prompt_run.fail(InstanceGone("the instance does not know the prompt any more"))
            return False
        prompt_run.replay_history(record)
        return True

    def _detect_stall(self, prompt_run: PromptRun, queue: InstanceQueue) -> None:
        """A server whose worker thread has died goes on taking prompts that it will never run."""
        if queue.running:
            prompt_run.stalled_since = None
        elif prompt_run.stalled_since is None:
            prompt_run.stalled_since = _now()
        elif _now() - prompt_run.stalled_since >= self._settings.stalled_after_s:
            prompt_run.fail(InstanceGone("work waits on the instance and nothing runs"))

    def _handle_unreachable(self, gone: InstanceGone, asked_at: float) -> None:
        """A queue lives in its process's memory: where nothing listens, nothing is left to wait for."""
        if self._unreachable_since is None:
            self._unreachable_since = asked_at
        if gone.connection_refused or _now() - self._unreachable_since >= self._settings.gone_after_s:
            for flight in self.prompt_runs.values():
                if flight.submitted:
                    flight.fail(
                        InstanceGone(
                            f"the instance is gone: {gone.message}",
                            connection_refused=gone.connection_refused,
                        )
                    )


def _now() -> float:
    return asyncio.get_running_loop().time()
