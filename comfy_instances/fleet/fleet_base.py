"""The members of a fleet and their state: the part of a `Fleet` that all kinds share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from comfy_instances.fleet.protocol import (
    InstanceInfo,
    InstanceListener,
    InstanceState,
    UnknownInstance,
)
from comfy_instances.hardware.gpus import GpuStats
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.protocol.server_log import LogSpan
from comfy_instances.session.session import FileRef, InstanceSession
from comfy_instances.tasks import spawn

log = logging.getLogger(__name__)


class InstanceChanges(TypedDict, total=False):
    """The fields of InstanceInfo that a watcher may change, besides the state."""

    url: str
    simulated: bool
    device: str
    vram_total: int | None
    vram_free: int | None
    version: str | None
    restarts: int
    failures: int
    started_at: datetime | None
    supervision_errors: int
    detail: str | None
    memory: int | None
    profile: str | None
    gpu: GpuStats | None
    retry_at: datetime | None


def lost(detail: str) -> InstanceChanges:
    """Return the changes of an instance that cannot be asked any more."""
    return InstanceChanges(detail=detail, vram_free=None, retry_at=None)


@dataclass(slots=True)
class FleetMember:
    """One instance and what its watcher last reported."""

    info: InstanceInfo
    #: The state reported by the watcher, before a drain is taken into account.
    observed_state: InstanceState
    session: InstanceSession | None = None
    node_facts: Mapping[str, Any] | None = None
    #: True if the listeners have not been notified of `node_facts` yet.
    has_unpublished_facts: bool = False
    #: True while an operator keeps new prompts away; survives restarts.
    draining: bool = False


class FleetBase:
    """Holds the members of a fleet. All changes to them go through its methods."""

    def __init__(self, infos: Iterable[InstanceInfo]) -> None:
        self._members = {info.id: FleetMember(info, info.state) for info in infos}
        self._listeners: list[InstanceListener] = []
        self._watchers: list[asyncio.Task[None]] = []

    async def stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()

    def instances(self) -> list[InstanceInfo]:
        return [member.info for member in self._members.values()]

    def session(self, instance_id: str) -> InstanceSession:
        session = self._get_member(instance_id).session
        if session is None:
            raise InstanceGone(f"instance {instance_id} is not reachable")
        return session

    def subscribe(self, listener: InstanceListener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def node_facts(self, instance_id: str) -> Mapping[str, Any] | None:
        return self._get_member(instance_id).node_facts

    async def reload_node_facts(self, instance_id: str) -> None:
        session = self.session(instance_id)
        node_facts = await session.get_object_info()
        member = self._get_member(instance_id)
        if member.session is not session:
            raise InstanceGone(f"{instance_id} was restarted while its node facts were read")
        self.set_session(instance_id, session, node_facts)
        self.update_state(instance_id, member.observed_state)

    async def log_tail(self, instance_id: str, lines: int = 200, period: LogSpan | None = None) -> list[str]:
        self._get_member(instance_id)
        return []

    async def drain(self, instance_id: str) -> None:
        self._set_draining(instance_id, True)

    async def resume(self, instance_id: str) -> None:
        self._set_draining(instance_id, False)

    def observed_state(self, instance_id: str) -> InstanceState:
        """Return the state that the watcher of an instance reported last."""
        return self._get_member(instance_id).observed_state

    def record_failure(self, instance_id: str) -> None:
        self._get_member(instance_id)

    def runs_foreign_prompt(self, instance_id: str) -> bool:
        """Return whether an instance runs a prompt of another session than the one of its watcher."""
        return False

    async def delete_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        self._get_member(instance_id)

    def set_session(
        self, instance_id: str, session: InstanceSession | None, node_facts: Mapping[str, Any] | None = None
    ) -> None:
        """Set the session that `session()` returns; None makes the instance unavailable."""
        member = self._get_member(instance_id)
        member.session = session
        if node_facts is not None:
            member.node_facts, member.has_unpublished_facts = self._share_facts(node_facts), True

    def _share_facts(self, node_facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a new mapping with the entries of an instance that has the same facts, if there is one.

        Facts take some megabytes, and the instances of a fleet mostly have the same.
        """
        known = (member.node_facts for member in self._members.values() if member.node_facts is not None)
        equal = next((facts for facts in known if facts == node_facts), None)
        return node_facts if equal is None else dict(equal)

    def update_state(
        self, instance_id: str, state: InstanceState, **changes: Unpack[InstanceChanges]
    ) -> None:
        """Record what a watcher observed, and notify the listeners of a change."""
        member = self._get_member(instance_id)
        member.observed_state = state
        shown = InstanceState.DRAINING if state is InstanceState.READY and member.draining else state
        since = member.info.since if shown is member.info.state else datetime.now(UTC)
        info = replace(member.info, state=shown, since=since, **changes)
        if info == member.info and not member.has_unpublished_facts:
            return
        member.has_unpublished_facts = False
        if shown is not member.info.state:
            log.info("%s is %s%s", instance_id, shown, f": {info.detail}" if info.detail else "")
        member.info = info
        for listener in list(self._listeners):
            self._notify_listener(listener, info)

    def _notify_listener(self, listener: InstanceListener, info: InstanceInfo) -> None:
        try:
            listener(info)
        except Exception:
            # A bug in a listener must not stop the watcher that called it.
            log.exception("a listener failed on a change of instance %s", info.id)

    def _start_watcher(self, instance_id: str, watch: Coroutine[Any, Any, None]) -> None:
        """Run `watch` for this instance until `stop`."""
        self._watchers.append(spawn(watch, "instance watcher", instance_id))

    def _get_member(self, instance_id: str) -> FleetMember:
        try:
            return self._members[instance_id]
        except KeyError:
            raise UnknownInstance(
                f"no instance {instance_id!r}; known are {', '.join(self._members)}"
            ) from None

    def _set_draining(self, instance_id: str, draining: bool) -> None:
        member = self._get_member(instance_id)
        member.draining = draining
        self.update_state(instance_id, member.observed_state)
