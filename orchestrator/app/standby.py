"""A scheduler that stands by opens all that it needs, so that it leads as soon as it is elected."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from comfy_instances.tasks import spawn
from orchestrator.app.build import Ground, open_ground
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

#: Pause after a failure, in seconds. What fails now, such as an S3 server, may work when this process leads.
PAUSE_SECONDS = 5.0


class StandbyGround:
    """Opens models, prices, store, S3 and the connection to Ray, and keeps them until `close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._is_elected = asyncio.Event()
        self._task = spawn(self._open(), "standby", awaited=True)

    async def take(self) -> Ground:
        """Return what was opened, once this process is elected; wait for what is missing.

        Raises SettingsError, FleetError, ServiceUnavailable, ObjectStoreError.
        """
        self._is_elected.set()
        return await self._task

    async def close(self) -> None:
        """Close everything."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stack.aclose()

    async def _open(self) -> Ground:
        failed = ""
        while True:
            try:
                return await open_ground(self._settings, self._stack, leads=False)
            except Exception as error:
                await self._stack.aclose()
                if self._is_elected.is_set():
                    raise
                if failed != str(error):
                    log.warning("this process could not lead now: %s", error)
                failed = str(error)
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._is_elected.wait()
            except TimeoutError:
                continue
