"""Keeps all prompts in flight on one instance up to date: by socket messages, or by requests if none arrive.

Reconciliation reads `/queue` first and `/history` second. The server moves a prompt from one to the other
under a lock, so a prompt in neither is unknown there: lost in a restart, or deleted by another client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.protocol.history import InstanceQueue
from comfy_instances.protocol.messages import (
    Executing,
    FeatureFlags,
    Message,
    ResultsEncoded,
    StatusMessage,
    TextFrame,
    UnknownMessage,
)
from comfy_instances.repeated_errors import RepeatedErrors
from comfy_instances.session.client import ComfyUIClient
from comfy_instances.session.prompt_run import PromptRun
from comfy_instances.session.settings import SessionSettings
from comfy_instances.session.websocket import InstanceWebSocket
from comfy_instances.tasks import loop_time

logger = logging.getLogger(__name__)


class Reconciler:
    """The `WebSocketHandler` of a session. `run()` is a task that lives as long as the session."""

    def __init__(
        self, client: ComfyUIClient, settings: SessionSettings, on_encoded: Callable[[ResultsEncoded], None]
    ) -> None:
        """`on_encoded` is called when results are encoded, which may be after the end of their prompt."""
        self._on_encoded = on_encoded
        self.prompt_runs: dict[str, PromptRun] = {}
        self._client = client
        self._settings = settings
        self._wake_up = asyncio.Event()
        self._unreachable_since: float | None = None
        #: True once the instance was lost while it ran one of our prompts.
        self.has_lost_running_prompt = False
        self._errors = RepeatedErrors(logger, "reconciliation")
        #: The running prompt; messages without a prompt id belong to it.
        self._current_prompt_id = ""

    @property
    def has_active_prompts(self) -> bool:
        return bool(self.prompt_runs)

    def on_open(self) -> None:
        self._wake_up.set()

    def on_close(self) -> None:
        self.mark_running()
        for prompt_run in self.prompt_runs.values():
            prompt_run.tracker.mark_messages_lost()
        self._wake_up.set()

    def on_message(self, message: Message) -> None:
        match message:
            case StatusMessage() | FeatureFlags() | UnknownMessage() | Executing(node=None):
                return
            case ResultsEncoded():
                self._on_encoded(message)
                return
            case TextFrame():
                prompt_id = self._current_prompt_id
            case _:
                prompt_id = message.prompt_id or self._current_prompt_id
        prompt_run = self.prompt_runs.get(prompt_id)
        if prompt_run is not None:
            self._current_prompt_id = prompt_id
            prompt_run.handle_message(message)

    def mark_running(self) -> None:
        """Note which prompt the instance runs now: the one that has started, or the oldest that was sent.

        The message about a start is lost if the prompt ends the process at once.
        """
        pending = [run for run in self.prompt_runs.values() if run.sent and not run.is_done]
        if pending and not any(run.tracker.has_started for run in pending):
            pending[0].may_be_running = True

    def lose_run(
        self,
        prompt_run: PromptRun,
        message: str,
        *,
        connection_refused: bool = False,
        self_inflicted: bool = False,
    ) -> InstanceGone:
        """Fail a prompt whose instance is lost, and return the error."""
        while_running = prompt_run.has_begun and not self_inflicted
        if not prompt_run.is_done:
            self.has_lost_running_prompt |= while_running
        error = InstanceGone(
            message,
            connection_refused=connection_refused,
            while_running=while_running,
            self_inflicted=self_inflicted,
        )
        prompt_run.fail(error)
        return error

    async def run(self, websocket: InstanceWebSocket) -> None:
        while True:
            socket_changed = await self._wait_for_next_round()
            try:
                await self._run_round(websocket, socket_changed)
                self._errors.clear()
            except Exception as error:
                # Without reconciliation, prompts would wait forever after a lost socket.
                self._errors.record(error)

    async def _run_round(self, websocket: InstanceWebSocket, socket_changed: bool) -> None:
        due = self._runs_to_reconcile(include_all=socket_changed)
        if due and await self._reconcile(due) and not socket_changed and websocket.is_open:
            logger.warning("the socket is open but delivers no messages; reconnecting")
            await websocket.reconnect()

    async def _wait_for_next_round(self) -> bool:
        """Wait for the next round. Return True if the socket was opened or closed meanwhile."""
        try:
            async with asyncio.timeout(self._settings.silence_s / 2):
                await self._wake_up.wait()
        except TimeoutError:
            return False
        self._wake_up.clear()
        return True

    def _runs_to_reconcile(self, include_all: bool) -> list[PromptRun]:
        silent_since = loop_time() - self._settings.silence_s
        return [
            prompt_run
            for prompt_run in self.prompt_runs.values()
            if prompt_run.submitted
            and not prompt_run.is_done
            and (include_all or prompt_run.last_update_at <= silent_since)
        ]

    async def _reconcile(self, due: Sequence[PromptRun]) -> bool:
        """Read the state of these prompts from the instance. Return True if the socket missed messages."""
        asked_at = loop_time()
        try:
            queue = await self._client.get_queue()
            missed = [await self._reconcile_run(prompt_run, queue) for prompt_run in due]
        except InstanceGone as gone:
            self._handle_unreachable(gone, asked_at)
            return False
        self._unreachable_since = None
        return any(missed)

    async def _reconcile_run(self, prompt_run: PromptRun, queue: InstanceQueue) -> bool:
        """Update one prompt. Return True if the socket should have reported what the instance says."""
        prompt_run.last_update_at = loop_time()
        if queue.is_running(prompt_run.prompt_id):
            prompt_run.stalled_since = None
            prompt_run.may_be_running = True
            self._current_prompt_id = prompt_run.prompt_id
            return prompt_run.tracker.has_all_messages and not prompt_run.tracker.has_started
        if queue.find(prompt_run.prompt_id) is not None:
            prompt_run.may_be_running = False
            self._detect_stall(prompt_run, queue)
            return False
        record = await self._client.get_history(prompt_run.prompt_id)
        if prompt_run.is_done:
            return False
        if record is None:
            self.lose_run(prompt_run, "the instance no longer knows the prompt")
            return False
        prompt_run.replay_history(record)
        return True

    def _detect_stall(self, prompt_run: PromptRun, queue: InstanceQueue) -> None:
        """Fail the prompt if the instance stays idle: with a dead worker thread it still accepts prompts."""
        if queue.running:
            prompt_run.stalled_since = None
        elif prompt_run.stalled_since is None:
            prompt_run.stalled_since = loop_time()
        elif loop_time() - prompt_run.stalled_since >= self._settings.stalled_after_s:
            self.lose_run(prompt_run, "the instance has prompts in its queue but runs none")

    def _handle_unreachable(self, gone: InstanceGone, asked_at: float) -> None:
        """Fail all prompts if the process is gone: the queue lives in its memory, so they are lost.

        A time in which this process could not ask says nothing about the instance and does not count.
        """
        if gone.self_inflicted:
            self._unreachable_since = None
            return
        if self._unreachable_since is None:
            self._unreachable_since = asked_at
        if gone.connection_refused or loop_time() - self._unreachable_since >= self._settings.gone_after_s:
            self.mark_running()
            for prompt_run in self.prompt_runs.values():
                if prompt_run.submitted:
                    self.lose_run(
                        prompt_run,
                        f"the instance is gone: {gone.message}",
                        connection_refused=gone.connection_refused,
                    )
