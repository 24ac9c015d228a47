"""The interface of a fleet: the state of its instances, their sessions, and the operations on them.

starting ──> ready <──> draining       ready    accepts prompts
   │  ^        │                       draining finishes its prompts, accepts no new ones
   v  │        v                       down     not reachable; recovers by itself
  down  <──────┘                       failed   failed too often; started again after a long pause,
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

from comfy_instances.hardware.gpus import GpuStats
from comfy_instances.protocol.server_log import LogSpan
from comfy_instances.session.session import FileRef, InstanceSession


class InstanceState(StrEnum):
    """Whether an instance accepts prompts, and if not, why."""

    STARTING = "starting"  #: launched, does not respond yet
    READY = "ready"  #: accepts prompts
    DRAINING = "draining"  #: reachable, but accepts no new prompts
    DOWN = "down"  #: not reachable at present
    FAILED = "failed"  #: failed too often in a row


class UnknownInstance(LookupError):
    """The fleet has no instance with that id."""


class FleetError(Exception):
    """The fleet cannot be created or cannot do what was requested; the text says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceInfo:
    """The last known facts of one instance. Sizes are bytes; None means unknown."""

    id: str
    #: `http://host:port`; a local instance gets a new port at each start.
    url: str
    state: InstanceState
    simulated: bool
    #: The GPU's name, `cpu` or `simulated`.
    device: str
    #: True if the instance is started and stopped elsewhere.
    adopted: bool
    vram_total: int | None = None
    vram_free: int | None = None
    #: The ComfyUI version that it reports.
    version: str | None = None
    #: Number of starts after the first one, planned or not.
    restarts: int = 0
    #: Unplanned ends in a row that count as failures of the instance, not of a prompt.
    failures: int = 0
    #: Errors of its supervision or monitoring since the start, such as a lack of descriptors.
    supervision_errors: int = 0
    #: When its process was launched; None for an adopted instance and while no process runs.
    started_at: datetime | None = None
    #: Why it is in this state, for operators.
    detail: str | None = None
    #: When it entered this state.
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Resident memory of the process.
    memory: int | None = None
    #: Name of its GPU profile, which names the preferred weight variants; None if unknown.
    profile: str | None = None
    #: PCI bus id of its GPU in this machine, by which its utilisation and temperature are read.
    pci_id: str | None = None
    #: Load of its GPU in another machine, as reported from there.
    gpu: GpuStats | None = None
    #: When its process is started again; None while one runs, and for adopted instances.
    retry_at: datetime | None = None


InstanceListener = Callable[[InstanceInfo], None]


class Fleet(Protocol):
    """A set of instances, which may come and go. All methods raise UnknownInstance for an id that was never
    among them; one that has gone is unreachable."""

    async def start(self) -> None:
        """Start to launch or monitor all instances. Returns before they are ready."""

    async def stop(self) -> None:
        """Close every session and stop every launched process."""

    def instances(self) -> list[InstanceInfo]:
        """Return all instances, in the order in which the fleet was given them."""

    def session(self, instance_id: str) -> InstanceSession:
        """Return the session with a reachable instance. Each start of a local instance creates a new one.
        Raises InstanceGone while there is none."""

    def subscribe(self, listener: InstanceListener) -> Callable[[], None]:
        """Call `listener` after each change of an instance or its node facts. Return a function that ends
        the subscription."""

    def node_facts(self, instance_id: str) -> Mapping[str, Any] | None:
        """Return the instance's `/object_info`, or None before it was first ready.

        It is read each time the instance becomes ready and soon after its model files have changed. The
        same object is returned until the next read.
        """

    async def reload_node_facts(self, instance_id: str) -> None:
        """Read the `/object_info` of an instance now and call the listeners. Raises InstanceError."""

    async def log_tail(self, instance_id: str, lines: int = 200, period: LogSpan | None = None) -> list[str]:
        """Return the last lines of its output, or of those that it printed in a period.

        Empty for an adopted instance, and for one elsewhere that cannot be asked now."""

    async def drain(self, instance_id: str) -> None:
        """Send no new prompts to the instance until `resume`."""

    async def resume(self, instance_id: str) -> None:
        """End a drain."""

    async def restart(self, instance_id: str) -> None:
        """Request a restart of the instance, whatever it runs; this also closes an open circuit breaker.
        Returns before the process has stopped. Raises FleetError for an adopted instance."""

    def record_failure(self, instance_id: str) -> None:
        """Count the last unplanned end of a local instance as its failure.

        An end while a prompt ran counts only by this call, once the prompt has proved not to be the cause.
        Has no effect on adopted instances."""

    async def delete_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        """Delete input and output files of a local instance; missing files are no error. Has no effect on
        adopted instances."""


async def wait_until_ready(fleet: Fleet, count: int | None = None, timeout_seconds: float = 120.0) -> None:
    """Wait until `count` instances (default: all) are ready. Raises FleetError after `timeout_seconds`."""
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
        raise FleetError(
            f"fewer than {wanted} instances were ready within {timeout_seconds:g} s: {states}"
        ) from None
    finally:
        unsubscribe()
