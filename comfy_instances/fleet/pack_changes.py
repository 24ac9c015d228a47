"""Lets the instances of a machine load changed node packs: one after the other, each once it is idle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from comfy_instances.process.launch import LaunchSpec
from comfy_instances.tasks import loop_time

log = logging.getLogger(__name__)
#: Returns the spec of an instance's next start. Runs in a thread.
RefreshLaunchSpec = Callable[[LaunchSpec], LaunchSpec]


class RestartTurn:
    """Who of the instances of a machine may be restarted for changed packs.

    An instance keeps its turn until it is ready with the new packs. If it does not become ready, the others
    go on with the packs that they have.
    """

    def __init__(self) -> None:
        self._holder: str | None = None

    def take(self, instance_id: str) -> bool:
        """Take the turn if no other instance has it; return whether the instance has it."""
        if self._holder is None:
            self._holder = instance_id
        return self._holder == instance_id

    def release(self, instance_id: str) -> None:
        if self._holder == instance_id:
            self._holder = None


class PackChanges:
    """Looks whether the next start of one instance would load other packs than it runs with."""

    def __init__(self, refresh: RefreshLaunchSpec | None, turn: RestartTurn, check_seconds: float) -> None:
        self._refresh = refresh
        self._turn = turn
        self._check_seconds = check_seconds
        self._next_check_at = 0.0
        #: Whether the packs have changed since the instance was started.
        self.is_outdated = False

    async def next_spec(self, spec: LaunchSpec) -> LaunchSpec:
        """Return the spec to start with now."""
        if self._refresh is not None:
            spec = await asyncio.to_thread(self._refresh, spec)
        self.is_outdated = False
        return spec

    async def check(self, spec: LaunchSpec) -> bool:
        """Return whether the instance, which was started with `spec`, is to be restarted now."""
        if self._refresh is not None and loop_time() >= self._next_check_at:
            self._next_check_at = loop_time() + self._check_seconds
            try:
                self.is_outdated = await asyncio.to_thread(self._refresh, spec) != spec
            except (OSError, ValueError, LookupError) as error:
                log.warning("cannot see which node packs %s should load: %s", spec.id, error)
        if not self.is_outdated:
            self._turn.release(spec.id)
            return False
        return self._turn.take(spec.id)
