"""What the rest of the house may know of instances: their state, their sessions, and the few verbs.

starting ──> ready <──> draining       ready    takes prompts
   │  ^        │                       draining finishes what it has, takes nothing new
   v  │        v                       down     not reachable; comes back by itself
  down  <──────┘                       failed   ended too often; tried again after a long pause,
   │  ^                                         or at once by `restart`
   v  │
  failed
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from comfy_instances.session.session import FileRef, InstanceSession


class InstanceState(StrEnum):
    STARTING = "starting"  #: launched, not yet answering
    READY = "ready"  #: takes prompts
    DRAINING = "draining"  #: reachable, but takes no new prompts
    DOWN = "down"  #: not reachable at present
    FAILED = "failed"  #: ended too often in a row


class UnknownInstance(LookupError):
    """No instance of this fleet has that id."""


class FleetError(Exception):
    """The fleet can not be built or can not do what was asked; the text says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceInfo:
    """One instance as last seen. Sizes are bytes; None means not known (yet)."""

    id: str
    #: `http://host:port`; a local instance gets a new port at each start.
    url: str
    state: InstanceState
    simulated: bool
    #: Name of the GPU, `cpu` or `simulated`.
    device: str
    #: True where somebody else starts and stops it.
    adopted: bool
    vram_total: int | None = None
    vram_free: int | None = None
    #: Version of ComfyUI it says it is.
    version: str | None = None
    #: Starts beyond the first one, for whatever reason.
    restarts: int = 0
    #: Bad ends in a row.
    failures: int = 0
    #: When its process was launched; None where that was not our doing, or there is none.
    started_at: datetime | None = None
    #: Why it is in this state, for operators.
    detail: str | None = None
    #: Since when it has been in this state.
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Resident memory of the process.
    memory: int | None = None
    #: Name of its GPU profile, which says what weights it prefers; None where that is not known.
    profile: str | None = None
    #: PCI bus id of its GPU, by which its utilisation and temperature are read.
    pci_id: str | None = None


InstanceListener = Callable[[InstanceInfo], None]


class Fleet(Protocol):
    """A set of instances. Ids are fixed from `start` on; all methods raise UnknownInstance for others."""

    async def start(self) -> None:
        """Begin to launch or watch all instances; returns before they are ready."""

    async def stop(self) -> None:
        """Stop what was launched, close every session. Nothing of ours is left running."""

    def instances(self) -> list[InstanceInfo]:
        """All instances in the order of their ids."""

    def session(self, instance_id: str) -> InstanceSession:
        """The session with a reachable instance. Each start of a local instance makes a new one.
        Raises InstanceGone while there is none."""

    def subscribe(self, listener: InstanceListener) -> Callable[[], None]:
        """Call `listener` after each change of an instance, its node facts included; returns the way to end
        that."""

    def node_facts(self, instance_id: str) -> Mapping[str, Any] | None:
        """Its `/object_info`, read each time it becomes ready and soon after its model files have changed;
        None before the first time. The same object until it is read again."""

    async def reload_node_facts(self, instance_id: str) -> None:
        """Read the `/object_info` of an instance now and call the listeners. Raises InstanceError."""

    def log_tail(self, instance_id: str, lines: int = 200) -> list[str]:
        """The last lines that it printed; empty where we do not hold its output."""

    async def drain(self, instance_id: str) -> None:
        """Give it no new prompts until `resume`."""

    async def resume(self, instance_id: str) -> None:
        """End a drain."""

    async def restart(self, instance_id: str) -> None:
        """Stop it now, whatever it runs, and start it anew; closes an open circuit breaker.
        Raises FleetError for an adopted instance."""

    async def delete_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        """Delete collected output and input files where we own the directory. Missing ones are fine."""


async def wait_until_ready(fleet: Fleet, count: int | None = None, timeout_seconds: float = 120.0) -> None:
    """Wait until `count` instances (default: all) are ready. Raises FleetError where that takes longer."""
    wanted = len(fleet.instances()) if count is None else count
    changed = asyncio.Event()
    unsubscribe = fleet.subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(timeout_seconds):
            while sum(info.state is InstanceState.READY for info in fleet.instances()) < wanted:
                changed.clear()
                await changed.wait()
    except TimeoutError:
        states = ", ".join(f"{info.id} {info.state}" for info in fleet.instances())
        raise FleetError(f"not all instances were ready after {timeout_seconds:g} s: {states}") from None
    finally:
        unsubscribe()
