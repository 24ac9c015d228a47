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

from comfy_instances.client import Client, finding_lines
from comfy_instances.errors import BadGraph, InstanceGone, Interrupted, NoOutput
from comfy_instances.flight import Flight
from comfy_instances.graphs import Graph, with_fresh_prefix
from comfy_instances.history import Queue
from comfy_instances.link import Link
from comfy_instances.messages import ExecutionSuccess
from comfy_instances.outputs import FileRef, NodeOutput, RunResult
from comfy_instances.progress import Listener, NodeStarted, Note, Preview, Progress, ProgressEvent
from comfy_instances.session_settings import SessionSettings
from comfy_instances.stats import Device, SystemStats
from comfy_instances.tracker import Tracker
from comfy_instances.watch import Watch

__all__ = [
    "Device",
    "FileRef",
    "Listener",
    "NodeOutput",
    "NodeStarted",
    "Note",
    "Preview",
    "Progress",
    "ProgressEvent",
    "Queue",
    "RunResult",
    "Session",
    "SessionSettings",
    "SystemStats",
]

logger = logging.getLogger(__name__)

#: A history entry may appear some milliseconds after the server's last word. Seconds between questions.
_HISTORY_PAUSES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CANCEL_PAUSE_MIN_S, _CANCEL_PAUSE_MAX_S = 0.02, 0.5


class Session:
    """One per instance, for as long as the instance is ours; it outlives restarts of the server.

    To cancel the task that awaits `run` or `resume` stops the following, not the prompt: that is `cancel`'s.
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
        self._client = Client(root, self._settings)
        self._watch = Watch(self._client, self._settings)
        self._link = Link(root, self._settings, rng or SystemRandom(), self._watch)
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
        for work in (self._link.run(), self._watch.run(self._link)):
            task = asyncio.create_task(work)
            task.add_done_callback(_report_crash)
            self._tasks.append(task)

    async def close(self) -> None:
        """Let go of the instance; its prompts run on there. What awaits one of them gets InstanceGone."""
        for flight in self._watch.flights.values():
            flight.fail(InstanceGone("the session was closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._client.close()

    @property
    def connected(self) -> bool:
        """Whether the socket is open."""
        return self._link.is_open

    async def wait_connected(self, within_s: float) -> None:
        """Raises InstanceGone where the socket is not open within so many seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._link.wait_open()
        except TimeoutError:
            raise InstanceGone(f"no socket to the instance within {within_s:g} s") from None

    async def run(self, prompt_id: str, graph: Graph, listener: Listener | None = None) -> RunResult:
        """Run a graph under `prompt_id` (a UUID in canonical form, never used before) to its end.

        Every `filename_prefix` in it gets the prompt id appended. Several prompts may be in flight; the
        instance runs one at a time. Raises any InstanceError, ValueError for an id that is in flight.
        """
        await self.wait_connected(self._settings.connect_timeout_s)
        graph = with_fresh_prefix(graph, prompt_id)
        with self._in_flight(prompt_id, graph, listener) as flight:
            await self._post(flight, graph)
            return await self._land(flight)

    async def resume(self, prompt_id: str, listener: Listener | None = None) -> RunResult | None:
        """Follow a prompt that an earlier session sent. None where the instance knows nothing of it."""
        entry = (await self._client.queue()).find(prompt_id)
        record = await self._client.history(prompt_id) if entry is None else None
        if entry is None and record is None:
            return None
        alone = not self._watch.flights
        with self._in_flight(prompt_id, entry.graph if entry else {}, listener) as flight:
            flight.tracker.lose()
            flight.posted = True
            if record is not None:
                flight.replay(record)
            elif entry is not None and alone and entry.client_id not in (None, self._link.client_id):
                # The server talks to the earlier session: become it, and hear the rest.
                await self._link.reopen(entry.client_id)
            return await self._land(flight)

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue or stop it, and see that it is gone.

        A running prompt yields at its next step or at the end of its node. `run` of that prompt raises
        Interrupted, unless it ended first. Raises InstanceGone where the instance does not let go of it.
        """
        flight = self._watch.flights.get(prompt_id)
        if flight is not None:
            flight.unwanted = True
        await self._remove(prompt_id)
        if flight is None or flight.over:
            return
        # What was taken from the queue leaves no word; what was stopped, or came to its end first, does.
        record = await self._client.history(prompt_id)
        if record is not None:
            flight.replay(record)
        flight.fail(Interrupted("taken from the queue"))

    async def upload(self, name: str, data: bytes, content_type: str, subfolder: str = "") -> str:
        """Store an input file; returns the name for the graph, as the instance took it. Raises BadGraph."""
        return await self._client.upload(name, data, content_type, subfolder)

    async def fetch(self, file: FileRef) -> bytes:
        """Raises NoOutput where the file is not there or larger than `max_output_bytes`."""
        return await self._client.fetch(file)

    async def discard(self, prompt_id: str) -> None:
        """Delete the instance's record of a prompt, once its outputs are collected."""
        await self._client.forget(prompt_id)

    async def free(self) -> None:
        """Ask the instance to unload its models and free memory; it does so before the next prompt."""
        await self._client.free()

    async def stats(self) -> SystemStats:
        return await self._client.stats()

    async def object_info(self) -> dict[str, Any]:
        """What the instance says of its node classes, by class name."""
        return await self._client.object_info()

    async def model_files(self) -> dict[str, list[str]]:
        """The names of the model files that the instance lists, by folder."""
        return await self._client.model_files()

    async def queue(self) -> Queue:
        """What runs and what waits, of all its clients."""
        return await self._client.queue()

    async def queue_depth(self) -> int:
        """Number of prompts that run or wait."""
        return len(await self._client.queue())

    @contextmanager
    def _in_flight(self, prompt_id: str, graph: Graph, listener: Listener | None) -> Iterator[Flight]:
        flights = self._watch.flights
        if prompt_id in flights:
            raise ValueError(f"prompt {prompt_id} is in flight already")
        now = asyncio.get_running_loop().time()
        tracker = Tracker(prompt_id, graph, self._settings.socket_output_classes, now)
        flight = flights[prompt_id] = Flight(tracker, listener)
        try:
            yield flight
        finally:
            del flights[prompt_id]

    async def _post(self, flight: Flight, graph: Graph) -> None:
        findings: dict[str, Any] = {}
        try:
            findings = await self._client.submit(graph, flight.prompt_id, self._link.client_id)
        except InstanceGone as gone:
            # A lost answer says nothing of the prompt.
            if gone.refused or not await self._knows(flight.prompt_id):
                raise
        flight.posted = True
        if not findings and not flight.unwanted:
            return
        await self._remove(flight.prompt_id)
        if findings:
            lines = "; ".join(finding_lines(findings))
            raise BadGraph(f"a part of the graph is refused: {lines}", node_errors=findings)
        raise Interrupted("cancelled while it was sent")

    async def _knows(self, prompt_id: str) -> bool:
        if (await self._client.queue()).find(prompt_id) is not None:
            return True
        return await self._client.history(prompt_id) is not None

    async def _land(self, flight: Flight) -> RunResult:
        await flight.wait_over()
        if isinstance(flight.tracker.end, ExecutionSuccess) and not flight.tracker.complete:
            await self._recover(flight)
        return flight.tracker.result()

    async def _recover(self, flight: Flight) -> None:
        """Outputs from history: nodes that were not announced, or whose announcement fell into a gap."""
        for pause in _HISTORY_PAUSES:
            await asyncio.sleep(pause)
            record = await self._client.history(flight.prompt_id)
            if record is not None:
                flight.replay(record)
                return
        if not flight.tracker.intact:
            raise NoOutput("the instance has no record of the run, and its socket was lost meanwhile")

    async def _remove(self, prompt_id: str) -> None:
        """Look, act, look again: between the two a waiting prompt may have begun."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.cancel_timeout_s
        pause = _CANCEL_PAUSE_MIN_S
        while (queue := await self._client.queue()).find(prompt_id) is not None:
            if loop.time() > deadline:
                raise InstanceGone(f"the instance does not let go of prompt {prompt_id}")
            if queue.runs(prompt_id):
                await self._client.interrupt(prompt_id)
            else:
                await self._client.unqueue(prompt_id)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _CANCEL_PAUSE_MAX_S)


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a session's task crashed", exc_info=error)
