"""Watches over all prompts in flight on one instance: hands them their messages, and asks where none come.

Reconciliation asks `/queue` first and `/history` second. A prompt goes from the one into the other under a
lock of the server's, so what is in neither is unknown there: forgotten by a restart, or taken out by others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from comfy_instances.client import Client
from comfy_instances.errors import InstanceGone
from comfy_instances.flight import Flight
from comfy_instances.history import Queue
from comfy_instances.link import Link
from comfy_instances.messages import Executing, FeatureFlags, Message, Status, TextFrame, Unknown
from comfy_instances.session_settings import SessionSettings

logger = logging.getLogger(__name__)


class Watch:
    """The receiver of a link. `run()` is a task for the life of a session."""

    def __init__(self, client: Client, settings: SessionSettings) -> None:
        self.flights: dict[str, Flight] = {}
        self._client = client
        self._settings = settings
        self._roused = asyncio.Event()
        self._unreachable_since: float | None = None
        #: The prompt that nameless messages belong to.
        self._current = ""

    @property
    def expecting(self) -> bool:
        return bool(self.flights)

    def opened(self) -> None:
        self._roused.set()

    def lost(self) -> None:
        for flight in self.flights.values():
            flight.tracker.lose()
        self._roused.set()

    def received(self, message: Message) -> None:
        match message:
            case Status() | FeatureFlags() | Unknown() | Executing(node=None):
                return
            case TextFrame():
                prompt_id = self._current
            case _:
                prompt_id = message.prompt_id or self._current
        flight = self.flights.get(prompt_id)
        if flight is not None:
            self._current = prompt_id
            flight.hear(message)

    async def run(self, link: Link) -> None:
        while True:
            roused = await self._wait()
            due = self._due(everyone=roused)
            if due and await self._reconcile(due) and not roused and link.is_open:
                logger.warning("the socket is open and silent; leaving it for a new one")
                await link.reopen()

    async def _wait(self) -> bool:
        """Wait for the next round; True where the socket was opened or lost meanwhile."""
        try:
            async with asyncio.timeout(self._settings.silence_s / 2):
                await self._roused.wait()
        except TimeoutError:
            return False
        self._roused.clear()
        return True

    def _due(self, everyone: bool) -> list[Flight]:
        silent_since = _now() - self._settings.silence_s
        return [
            flight
            for flight in self.flights.values()
            if flight.posted and not flight.over and (everyone or flight.news_at <= silent_since)
        ]

    async def _reconcile(self, due: Sequence[Flight]) -> bool:
        """Ask the instance about these. True where an answer shows that the socket should have told us."""
        asked_at = _now()
        try:
            queue = await self._client.queue()
            untold = [await self._settle(flight, queue) for flight in due]
        except InstanceGone as gone:
            self._unreachable(gone, asked_at)
            return False
        self._unreachable_since = None
        return any(untold)

    async def _settle(self, flight: Flight, queue: Queue) -> bool:
        flight.news_at = _now()
        if queue.runs(flight.prompt_id):
            flight.stalled_since = None
            self._current = flight.prompt_id
            return flight.tracker.intact and not flight.tracker.started
        if queue.find(flight.prompt_id) is not None:
            self._suspect_stall(flight, queue)
            return False
        record = await self._client.history(flight.prompt_id)
        if flight.over:
            return False
        if record is None:
            flight.fail(InstanceGone("the instance does not know the prompt any more"))
            return False
        flight.replay(record)
        return True

    def _suspect_stall(self, flight: Flight, queue: Queue) -> None:
        """A server whose worker thread has died goes on taking prompts that it will never run."""
        if queue.running:
            flight.stalled_since = None
        elif flight.stalled_since is None:
            flight.stalled_since = _now()
        elif _now() - flight.stalled_since >= self._settings.stalled_after_s:
            flight.fail(InstanceGone("work waits on the instance and nothing runs"))

    def _unreachable(self, gone: InstanceGone, asked_at: float) -> None:
        """A queue lives in its process's memory: where nothing listens, nothing is left to wait for."""
        if self._unreachable_since is None:
            self._unreachable_since = asked_at
        if gone.refused or _now() - self._unreachable_since >= self._settings.gone_after_s:
            for flight in self.flights.values():
                if flight.posted:
                    flight.fail(InstanceGone(f"the instance is gone: {gone.message}", refused=gone.refused))


def _now() -> float:
    return asyncio.get_running_loop().time()
