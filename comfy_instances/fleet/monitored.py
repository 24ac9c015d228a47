"""Monitors instances over their sessions: the part that fleets of instances elsewhere share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from comfy_instances.fleet.fleet_base import FleetBase, lost
from comfy_instances.fleet.health import HealthReport, check_health
from comfy_instances.fleet.inventory import FILE_REFRESH_SECONDS, NodeFactsPoller
from comfy_instances.fleet.protocol import FleetError, InstanceInfo, InstanceState
from comfy_instances.process.restart_policy import MAX_MISSED_PROBES
from comfy_instances.protocol.errors import InstanceError, InstanceGone
from comfy_instances.protocol.node_facts import RECORDED_VERSION
from comfy_instances.protocol.server_log import LogSpan, select_lines
from comfy_instances.repeated_errors import RepeatedErrors
from comfy_instances.session.session import InstanceSession
from comfy_instances.tasks import loop_time

log = logging.getLogger(__name__)
#: Longest pause after errors of the monitoring itself.
MAX_ERROR_PAUSE_S = 5.0


class MonitoredFleet(FleetBase):
    """Instances that another process starts and stops. Each may disappear and come back at any time."""

    def __init__(
        self,
        infos: Iterable[InstanceInfo],
        *,
        probe_seconds: float = 5.0,
        poll_seconds: float = 0.5,
        file_refresh_seconds: float = FILE_REFRESH_SECONDS,
    ) -> None:
        super().__init__(infos)
        self._probe_seconds = probe_seconds
        self._poll_seconds = poll_seconds
        self._file_refresh_seconds = file_refresh_seconds

    async def log_tail(self, instance_id: str, lines: int = 200, period: LogSpan | None = None) -> list[str]:
        """Raises FleetError if the instance does not return its log."""
        self._get_member(instance_id)
        try:
            return await self._read_log(instance_id, lines, period)
        except (InstanceError, TimeoutError) as error:
            message = f"{instance_id} does not return its log; read it where it was started: {error}"
            raise FleetError(message) from error

    async def _read_log(self, instance_id: str, lines: int, period: LogSpan | None) -> list[str]:
        """Return what the server itself keeps of its log."""
        return select_lines(await self.session(instance_id).get_log(), lines, period)

    async def _monitor(self, instance_id: str, session: InstanceSession) -> None:
        """Monitor one instance until cancelled, then close its session."""
        await session.start()
        errors = RepeatedErrors(log, f"monitoring of {instance_id}")
        try:
            while True:
                try:
                    await self._monitor_once(instance_id, session, errors)
                except Exception as error:
                    # Whatever went wrong here, the instance stays monitored.
                    errors.record(error)
                    state = self.observed_state(instance_id)
                    self.update_state(instance_id, state, supervision_errors=errors.total)
                    await asyncio.sleep(errors.backoff(self._poll_seconds, MAX_ERROR_PAUSE_S))
        finally:
            self.set_session(instance_id, None)
            self.update_state(instance_id, InstanceState.DOWN, **lost("no longer monitored"))
            await session.close()

    async def _monitor_once(self, instance_id: str, session: InstanceSession, errors: RepeatedErrors) -> None:
        """Wait until the instance is ready, then until it is lost."""
        facts_poller = NodeFactsPoller(session, self._file_refresh_seconds)
        connection = await self._wait_until_ready(instance_id, session, facts_poller)
        errors.clear()
        detail = await self._poll_until_lost(instance_id, session, facts_poller, connection)
        self.update_state(instance_id, InstanceState.DOWN, **lost(detail))

    async def _wait_until_ready(
        self, instance_id: str, session: InstanceSession, facts_poller: NodeFactsPoller
    ) -> int:
        """Probe the instance until it responds, read its node facts and mark it ready.

        Return the number of the connection over which the facts were read.
        """
        while True:
            try:
                await session.wait_connected(self._connect_seconds)
                connection = session.connections
                report = await check_health(session, self._probe_seconds)
                facts = await facts_poller.load()
            except (InstanceError, TimeoutError):
                await self._mark_unreachable(instance_id)
                await asyncio.sleep(self._poll_seconds)
                continue
            self.set_session(instance_id, session, facts)
            await self._mark_ready(instance_id, report)
            return connection

    @property
    def _connect_seconds(self) -> float:
        """How long one look waits for the websocket."""
        return self._probe_seconds

    async def _poll_until_lost(
        self, instance_id: str, session: InstanceSession, facts_poller: NodeFactsPoller, connection: int
    ) -> str:
        """Probe health and model files until the socket closes or too many probes in a row are missed.

        A socket that closed and opened again counts as closed: another server may respond now. Return why
        the instance counts as lost.
        """
        missed, due = 0, loop_time() + self._probe_seconds
        while missed < MAX_MISSED_PROBES:
            await session.wait_disconnected(max(0.0, due - loop_time()))
            if not session.is_connected or session.connections != connection:
                return "websocket lost"
            if loop_time() < due:
                continue
            try:
                report = await check_health(session, self._probe_seconds)
                self.set_session(instance_id, session, await facts_poller.refresh_if_changed())
                await self._mark_ready(instance_id, report)
                missed = 0
            except InstanceGone as gone:
                # A lack of our own resources says nothing about the instance.
                missed += not gone.self_inflicted
            except (InstanceError, TimeoutError):
                missed += 1
            due = loop_time() + self._probe_seconds
        return "does not respond"

    async def _mark_ready(self, instance_id: str, report: HealthReport) -> None:
        """Record a successful probe."""
        self.update_state(
            instance_id,
            InstanceState.READY,
            device=report.device,
            simulated=report.simulated,
            version=report.version,
            vram_total=report.vram_total,
            vram_free=report.vram_free,
            detail=version_note(report.version),
        )

    async def _mark_unreachable(self, instance_id: str) -> None:
        """Record that an instance does not respond."""
        self.update_state(instance_id, InstanceState.DOWN, detail="not reachable")


def version_note(version: str | None) -> str | None:
    """Return what operators should know about a version of ComfyUI; None for the tested one."""
    return None if version == RECORDED_VERSION else f"tested with ComfyUI {RECORDED_VERSION}"
