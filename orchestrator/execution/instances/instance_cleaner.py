"""Deletes from instances what ended prompts left there, so that it does not accumulate.

That is the history entry of a prompt, what the node pack holds for it, and its files. No result and no retry
waits for it: an instance that does not respond would keep both for as long as a request may take. What is
left over when this process ends is small, and goes with the instance's next restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from comfy_instances.fleet.protocol import Fleet
from comfy_instances.protocol.errors import InstanceError
from comfy_instances.session.session import FileRef, InstanceSession
from comfy_instances.tasks import end_tasks, spawn

log = logging.getLogger(__name__)

#: How long leftovers are gathered, so that the prompts of a busy instance share requests, in seconds.
GATHER_SECONDS = 0.1
#: How long the last requests may take once the service stops, in seconds.
STOP_WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What an ended prompt left on its instance."""

    prompt_id: str
    #: Input and output files.
    files: Sequence[FileRef] = ()
    #: Whether the node pack of the instance holds results or input files for it.
    needs_release: bool = False


class InstanceCleaner:
    """Cleans each instance in a task of its own, while there is something to delete."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        #: By instance id; an entry exists while the task of the instance runs.
        self._waiting: dict[str, list[Leftovers]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def add(self, instance_id: str, leftovers: Leftovers) -> None:
        """Delete leftovers soon."""
        waiting = self._waiting.get(instance_id)
        if waiting is not None:
            waiting.append(leftovers)
            return
        self._waiting[instance_id] = [leftovers]
        spawn(self._run(instance_id), "instance clean-up", instance_id, group=self._tasks)

    async def stop(self) -> None:
        """Delete at once what waits, up to a limit of time."""
        self._stopping.set()
        await end_tasks(self._tasks, STOP_WAIT_SECONDS)

    async def _run(self, instance_id: str) -> None:
        try:
            while self._waiting[instance_id]:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), GATHER_SECONDS)
                ended, self._waiting[instance_id] = self._waiting[instance_id], []
                await self._clean(instance_id, ended)
        finally:
            del self._waiting[instance_id]

    async def _clean(self, instance_id: str, ended: Sequence[Leftovers]) -> None:
        try:
            await _forget(self._fleet.session(instance_id), ended)
        except InstanceError as error:
            log.info("could not clean up after %d prompt(s) on %s: %s", len(ended), instance_id, error)
        # The files of a local instance are there although it does not respond.
        if files := [file for one in ended for file in one.files]:
            await self._fleet.delete_files(instance_id, files)


async def _forget(session: InstanceSession, ended: Sequence[Leftovers]) -> None:
    """Release what the node pack holds, and delete the history. Raises InstanceError."""
    held = [one.prompt_id for one in ended if one.needs_release]
    others = [one.prompt_id for one in ended if not one.needs_release]
    if held and not await session.deliveries.forget(held):
        await asyncio.gather(*map(session.deliveries.release, held))
        others = [one.prompt_id for one in ended]
    if others:
        await session.delete_history(others)
