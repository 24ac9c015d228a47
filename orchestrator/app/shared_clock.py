"""The time by which the service decides: that of the database where processes of several hosts use one.

What one process writes another one compares with its own time: when a job was accepted and has to have
started, when a message is due, when a link or a key ends. Clocks of hosts may differ, so all of them use that
of the PostgreSQL database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from comfy_instances.tasks import keep_running, spawn
from orchestrator.errors import ServiceUnavailable

log = logging.getLogger(__name__)

#: Interval at which the clock of the database is read again, in seconds.
READ_SECONDS = 15.0
#: A difference that operators should know about.
NOTABLE = timedelta(seconds=2)

#: Reads the clock of a database, between two readings of that of this host.
ReadClock = Callable[[], Awaitable[tuple[datetime, datetime, datetime]]]


class SharedClock:
    """The clock of this host, corrected by what it differs from the database's."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC) + self._offset

    def compare(self, before: datetime, there: datetime, after: datetime) -> None:
        """Correct this clock, if the database's, read between `before` and `after`, proves it to be wrong."""
        least, most = there - after, there - before
        if least <= self._offset <= most:
            return
        changed, self._offset = abs(self._offset - least), (least + most) / 2
        if changed >= NOTABLE:
            seconds = -self._offset.total_seconds()
            log.warning(
                "the clock of this host is %.1f s %s that of the database, which counts",
                abs(seconds),
                "ahead of" if seconds > 0 else "behind",
            )

    @asynccontextmanager
    async def following(self, read: ReadClock) -> AsyncIterator[None]:
        """Keep this clock equal to that of a database; it goes on alone while the database cannot be read."""

        async def follow() -> None:
            while True:
                await asyncio.sleep(READ_SECONDS)
                await self._read(read)

        await self._read(read)
        task = spawn(keep_running(follow, "shared clock"), "shared clock")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _read(self, read: ReadClock) -> None:
        try:
            self.compare(*await read())
        except ServiceUnavailable as error:
            log.info("the clock of the database cannot be read now: %s", error)


#: The clock of this process.
clock = SharedClock()
