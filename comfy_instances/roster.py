"""Who is in a fleet and what is known of each: the half of a `Fleet` that is the same for every kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from comfy_instances.errors import InstanceGone
from comfy_instances.fleet import InstanceInfo, InstanceState, Listener, UnknownInstance
from comfy_instances.session import FileRef, Session

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Member:
    """One instance as its watcher left it."""

    info: InstanceInfo
    #: State without regard to a drain.
    seen: InstanceState
    session: Session | None = None
    facts: Mapping[str, Any] | None = None
    #: The listeners have not heard of these facts.
    news: bool = False
    #: An operator wants no new prompts on it; outlives restarts.
    draining: bool = False


class Roster:
    """The members of a fleet, and the one place where they change."""

    def __init__(self, infos: Iterable[InstanceInfo]) -> None:
        self._members = {info.id: Member(info, info.state) for info in infos}
        self._listeners: list[Listener] = []
        self._watchers: list[asyncio.Task[None]] = []

    async def stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()

    def instances(self) -> list[InstanceInfo]:
        return [member.info for member in self._members.values()]

    def session(self, instance_id: str) -> Session:
        session = self._member(instance_id).session
        if session is None:
            raise InstanceGone(f"{instance_id} is not reachable")
        return session

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def node_facts(self, instance_id: str) -> Mapping[str, Any] | None:
        return self._member(instance_id).facts

    def log_tail(self, instance_id: str, lines: int = 200) -> list[str]:
        self._member(instance_id)
        return []

    async def drain(self, instance_id: str) -> None:
        self._set_draining(instance_id, True)

    async def resume(self, instance_id: str) -> None:
        self._set_draining(instance_id, False)

    async def forget_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        self._member(instance_id)

    def hold(self, instance_id: str, session: Session | None, facts: Mapping[str, Any] | None = None) -> None:
        """Hand out `session` from now on (None: there is none)."""
        member = self._member(instance_id)
        member.session = session
        if facts is not None:
            member.facts, member.news = facts, True

    def report(self, instance_id: str, state: InstanceState, **changes: Any) -> None:
        """Take over what a watcher saw: `state` and further fields of InstanceInfo."""
        member = self._member(instance_id)
        member.seen = state
        shown = InstanceState.DRAINING if state is InstanceState.READY and member.draining else state
        since = member.info.since if shown is member.info.state else datetime.now(UTC)
        info = replace(member.info, state=shown, since=since, **changes)
        if info == member.info and not member.news:
            return
        member.news = False
        if shown is not member.info.state:
            log.info("%s is %s%s", instance_id, shown, f": {info.detail}" if info.detail else "")
        member.info = info
        for listener in list(self._listeners):
            self._tell(listener, info)

    def _tell(self, listener: Listener, info: InstanceInfo) -> None:
        try:
            listener(info)
        except Exception:
            # A listener's mistake must not leave a child without its keeper.
            log.exception("a listener failed on %s", info.id)

    def _begin(self, instance_id: str, watching: Coroutine[Any, Any, None]) -> None:
        """Have `watching` for this instance run until `stop`."""
        watcher = asyncio.create_task(watching, name=instance_id)
        watcher.add_done_callback(_report_crash)
        self._watchers.append(watcher)

    def _member(self, instance_id: str) -> Member:
        try:
            return self._members[instance_id]
        except KeyError:
            raise UnknownInstance(f"no instance {instance_id!r}") from None

    def _set_draining(self, instance_id: str, draining: bool) -> None:
        member = self._member(instance_id)
        member.draining = draining
        self.report(instance_id, member.seen)


def _report_crash(watcher: asyncio.Task[None]) -> None:
    if not watcher.cancelled() and (error := watcher.exception()) is not None:
        log.error("nobody watches %s any more", watcher.get_name(), exc_info=error)
