"""The session with one instance: run prompts, follow them to their end, and never lose one on the way.

A prompt runs under an id of ours. Its messages come by the socket; where the socket broke, or is open and
has gone silent, the instance is asked: does the prompt run, wait, has it ended, or is it unknown? Only the
server's three last words about a prompt, or its history, end it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random, SystemRandom
from types import TracebackType
from typing import Any, Self

from yarl import URL

from comfy_instances.protocol.errors import BadGraph, InstanceGone, NoOutput, PromptCancelled
from comfy_instances.protocol.graphs import Graph, with_unique_filename_prefix
from comfy_instances.protocol.history import InstanceQueue
from comfy_instances.protocol.messages import ExecutionSuccess
from comfy_instances.protocol.outputs import FileRef, NodeOutput, RunResult
from comfy_instances.protocol.progress import (
    NodeStarted,
    NodeText,
    Preview,
    ProgressEvent,
    ProgressListener,
    StepProgress,
)
from comfy_instances.protocol.system_stats import DeviceStats, SystemStats
from comfy_instances.session.client import ComfyUIClient, format_node_errors
from comfy_instances.session.event_socket import EventSocket
from comfy_instances.session.prompt_run import PromptRun
from comfy_instances.session.reconciler import Reconciler
from comfy_instances.session.settings import SessionSettings
from comfy_instances.session.tracker import PromptTracker

__all__ = [
    "DeviceStats",
    "FileRef",
    "InstanceQueue",
    "InstanceSession",
    "NodeOutput",
    "NodeStarted",
    "NodeText",
    "Preview",
    "ProgressEvent",
    "ProgressListener",
    "RunResult",
    "SessionSettings",
    "StepProgress",
    "SystemStats",
]

logger = logging.getLogger(__name__)

#: A history entry may appear some milliseconds after the server's last word. Seconds between questions.
_HISTORY_RETRY_DELAYS_S = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CANCEL_POLL_MIN_S, _CANCEL_POLL_MAX_S = 0.02, 0.5


class InstanceSession:
    """One per instance, for as long as the instance is ours; it outlives restarts of the server.

    To cancel the task that awaits `run` or `resume_prompt` stops the following, not the prompt: that is
    `cancel_prompt`'s.
    """

    def __init__(
        self, url: str, *, settings: SessionSettings | None = None, rng: Random | None = None
    ) -> None:
        """`url` is the server's root, `http(s)://host[:port][/path]`. Raises ValueError for anything else."""
        root = URL(url)
        if root.scheme not in ("http", "https") or not root.host:
            raise ValueError(f"not the address of a ComfyUI server: {url!r}")
        self.url = url
        self._settings = settings or SessionSettings()
        self._client = ComfyUIClient(root, self._settings)
        self._reconciler = Reconciler(self._client, self._settings)
        self._event_socket = EventSocket(root, self._settings, rng or SystemRandom(), self._reconciler)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to connect. The server need not be there yet."""
        self._client.open()
        for work in (self._event_socket.run(), self._reconciler.run(self._event_socket)):
            task = asyncio.create_task(work)
            task.add_done_callback(_log_crash)
            self._tasks.append(task)

    async def close(self) -> None:
        """Let go of the instance; its prompts run on there. What awaits one of them gets InstanceGone."""
        for flight in self._reconciler.prompt_runs.values():
            flight.fail(InstanceGone("the session was closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._client.close()

    @property
    def is_connected(self) -> bool:
        """Whether the socket is open."""
        return self._event_socket.is_open

    async def wait_connected(self, timeout_s: float) -> None:
        """Raises InstanceGone where the socket is not open within so many seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event_socket.wait_open()
        except TimeoutError:
            raise InstanceGone(f"no socket to the instance within {timeout_s:g} s") from None

    async def run_prompt(
        self, prompt_id: str, graph: Graph, listener: ProgressListener | None = None
    ) -> RunResult:
        """Run a graph under `prompt_id` (a UUID in canonical form, never used before) to its end.

        Every `filename_prefix` in it gets the prompt id appended. Several prompts may be in flight; the
        instance runs one at a time. Raises any InstanceError, ValueError for an id that is in flight.
        """
        await self.wait_connected(self._settings.connect_timeout_s)
        graph = with_unique_filename_prefix(graph, prompt_id)
        with self._track_run(prompt_id, graph, listener) as flight:
            await self._submit(flight, graph)
            return await self._await_result(flight)

    async def resume_prompt(
        self, prompt_id: str, listener: ProgressListener | None = None
    ) -> RunResult | None:
        """Follow a prompt that an earlier session sent. None where the instance knows nothing of it."""
        entry = (await self._client.get_queue()).find(prompt_id)
        record = await self._client.get_history(prompt_id) if entry is None else None
        if entry is None and record is None:
            return None
        alone = not self._reconciler.prompt_runs
        with self._track_run(prompt_id, entry.graph if entry else {}, listener) as flight:
            flight.tracker.mark_messages_lost()
            flight.submitted = True
            if record is not None:
                flight.replay_history(record)
            elif entry is not None and alone and entry.client_id not in (None, self._event_socket.client_id):
                # The server talks to the earlier session: become it, and hear the rest.
                await self._event_socket.reconnect(entry.client_id)
            return await self._await_result(flight)

    async def cancel_prompt(self, prompt_id: str) -> None:
        """Take a prompt out of the queue or stop it, and see that it is gone.

        A running prompt yields at its next step or at the end of its node. `run` of that prompt raises
        Interrupted, unless it ended first. Raises InstanceGone where the instance does not let go of it.
        """
        flight = self._reconciler.prompt_runs.get(prompt_id)
        if flight is not None:
            flight.cancel_requested = True
        await self._cancel_until_gone(prompt_id)
        if flight is None or flight.is_done:
            return
        # What was taken from the queue leaves no word; what was stopped, or came to its end first, does.
        record = await self._client.get_history(prompt_id)
        if record is not None:
            flight.replay_history(record)
        flight.fail(PromptCancelled("taken from the queue"))

    async def upload_input(self, name: str, data: bytes, content_type: str, subfolder: str = "") -> str:
        """Store an input file; returns the name for the graph, as the instance took it. Raises BadGraph."""
        return await self._client.upload_input(name, data, content_type, subfolder)

    async def fetch_file(self, file: FileRef) -> bytes:
        """Raises NoOutput where the file is not there or larger than `max_output_bytes`."""
        return await self._client.fetch_file(file)

    async def delete_history(self, prompt_id: str) -> None:
        """Delete the instance's record of a prompt, once its outputs are collected."""
        await self._client.delete_history(prompt_id)

    async def free_memory(self) -> None:
        """Ask the instance to unload its models and free memory; it does so before the next prompt."""
        await self._client.free_memory()

    async def get_system_stats(self) -> SystemStats:
        return await self._client.get_system_stats()

    async def get_object_info(self) -> dict[str, Any]:
        """What the instance says of its node classes, by class name."""
        return await self._client.get_object_info()

    async def list_model_files(self) -> dict[str, list[str]]:
        """The names of the model files that the instance lists, by folder."""
        return await self._client.list_model_files()

    async def get_queue(self) -> InstanceQueue:
        """What runs and what waits, of all its clients."""
        return await self._client.get_queue()

    async def get_queue_depth(self) -> int:
        """Number of prompts that run or wait."""
        return len(await self._client.get_queue())

    @contextmanager
    def _track_run(
        self, prompt_id: str, graph: Graph, listener: ProgressListener | None
    ) -> Iterator[PromptRun]:
        flights = self._reconciler.prompt_runs
        if prompt_id in flights:
            raise ValueError(f"prompt {prompt_id} is in flight already")
        now = asyncio.get_running_loop().time()
        tracker = PromptTracker(prompt_id, graph, self._settings.socket_output_classes, now)
        flight = flights[prompt_id] = PromptRun(tracker, listener)
        try:
            yield flight
        finally:
            del flights[prompt_id]

    async def _submit(self, prompt_run: PromptRun, graph: Graph) -> None:
        findings: dict[str, Any] = {}
        try:
            findings = await self._client.submit(graph, prompt_run.prompt_id, self._event_socket.client_id)
        except InstanceGone as gone:
            # A lost answer says nothing of the prompt.
            if gone.connection_refused or not await self._is_known(prompt_run.prompt_id):
                raise
        prompt_run.submitted = True
        if not findings and not prompt_run.cancel_requested:
            return
        await self._cancel_until_gone(prompt_run.prompt_id)
        if findings:
            lines = "; ".join(format_node_errors(findings))
            raise BadGraph(f"a part of the graph is refused: {lines}", node_errors=findings)
        raise PromptCancelled("cancelled while it was sent")

    async def _is_known(self, prompt_id: str) -> bool:
        if (await self._client.get_queue()).find(prompt_id) is not None:
            return True
        return await self._client.get_history(prompt_id) is not None

    async def _await_result(self, prompt_run: PromptRun) -> RunResult:
        await prompt_run.wait_done()
        if (
            isinstance(prompt_run.tracker.final_message, ExecutionSuccess)
            and not prompt_run.tracker.has_all_outputs
        ):
            await self._recover_outputs(prompt_run)
        return prompt_run.tracker.build_result()

    async def _recover_outputs(self, prompt_run: PromptRun) -> None:
        """Outputs from history: nodes that were not announced, or whose announcement fell into a gap."""
        for pause in _HISTORY_RETRY_DELAYS_S:
            await asyncio.sleep(pause)
            record = await self._client.get_history(prompt_run.prompt_id)
            if record is not None:
                prompt_run.replay_history(record)
                return
        if not prompt_run.tracker.has_all_messages:
            raise NoOutput("the instance has no record of the run, and its socket was lost meanwhile")

    async def _cancel_until_gone(self, prompt_id: str) -> None:
        """Look, act, look again: between the two a waiting prompt may have begun."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.cancel_timeout_s
        pause = _CANCEL_POLL_MIN_S
        while (queue := await self._client.get_queue()).find(prompt_id) is not None:
            if loop.time() > deadline:
                raise InstanceGone(f"the instance does not let go of prompt {prompt_id}")
            if queue.is_running(prompt_id):
                await self._client.interrupt(prompt_id)
            else:
                await self._client.delete_from_queue(prompt_id)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _CANCEL_POLL_MAX_S)


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a session's task crashed", exc_info=error)
