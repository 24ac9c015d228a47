"""Instances that somebody else starts and stops: watched, never touched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from comfy_instances.errors import InstanceError
from comfy_instances.fleet import FleetError, InstanceInfo, InstanceState
from comfy_instances.health import Report, ask
from comfy_instances.inventory import LOOK_SECONDS, Inventory
from comfy_instances.node_facts import RECORDED_VERSION
from comfy_instances.policy import MISSES
from comfy_instances.roster import Roster
from comfy_instances.session import Session

log = logging.getLogger(__name__)


class AdoptedFleet(Roster):
    """Sessions with running ComfyUI servers at `urls`; each may vanish and come back at any time."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        probe_seconds: float = 5.0,
        look_seconds: float = 0.5,
        files_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Raises FleetError for what is no address of a server, and for one that is named twice."""
        cleaned = [url.rstrip("/") for url in urls]
        if len(set(cleaned)) != len(cleaned):
            raise FleetError(f"an instance is named twice: {', '.join(cleaned)}")
        super().__init__(
            InstanceInfo(
                id=f"adopted-{number}",
                url=url,
                state=InstanceState.STARTING,
                simulated=False,
                device="unknown",
                adopted=True,
            )
            for number, url in enumerate(cleaned)
        )
        self._probe_seconds = probe_seconds
        self._look_seconds = look_seconds
        self._files_seconds = files_seconds
        try:
            self._sessions = {info.id: Session(info.url) for info in self.instances()}
        except ValueError as error:
            raise FleetError(str(error)) from error

    async def start(self) -> None:
        for instance_id, session in self._sessions.items():
            self._begin(instance_id, self._watch(instance_id, session))

    async def restart(self, instance_id: str) -> None:
        self._member(instance_id)
        raise FleetError(f"{instance_id} is adopted: restart it where it was started")

    async def _watch(self, instance_id: str, session: Session) -> None:
        await session.start()
        try:
            while True:
                inventory = Inventory(session, self._files_seconds)
                await self._meet(instance_id, session, inventory)
                await self._stay(instance_id, session, inventory)
        finally:
            self.hold(instance_id, None)
            self.report(instance_id, InstanceState.DOWN, detail="not watched", vram_free=None)
            await session.close()

    async def _meet(self, instance_id: str, session: Session, inventory: Inventory) -> None:
        """Wait until it is there, learn what it can do and make it ready."""
        while True:
            try:
                report = await self._ask_when_connected(session)
                facts = await inventory.first()
            except (InstanceError, TimeoutError):
                self.report(instance_id, InstanceState.DOWN, detail="not reachable")
                await asyncio.sleep(self._look_seconds)
                continue
            self.hold(instance_id, session, facts)
            self._take_over(instance_id, report)
            return

    async def _ask_when_connected(self, session: Session) -> Report:
        await session.wait_connected(self._probe_seconds)
        return await ask(session, self._probe_seconds)

    async def _stay(self, instance_id: str, session: Session, inventory: Inventory) -> None:
        """Ask now and then how it is and what files it has, until its socket is lost or it falls silent."""
        loop = asyncio.get_running_loop()
        missed, due = 0, loop.time() + self._probe_seconds
        while session.connected and missed < MISSES:
            await asyncio.sleep(min(self._look_seconds, max(0.0, due - loop.time())))
            if loop.time() < due:
                continue
            try:
                report = await ask(session, self._probe_seconds)
                self.hold(instance_id, session, await inventory.news())
                self._take_over(instance_id, report)
                missed = 0
            except (InstanceError, TimeoutError):
                missed += 1
            due = loop.time() + self._probe_seconds
        detail = "does not answer" if session.connected else "its socket is lost"
        self.report(instance_id, InstanceState.DOWN, detail=detail, vram_free=None)

    def _take_over(self, instance_id: str, report: Report) -> None:
        self.report(
            instance_id,
            InstanceState.READY,
            device=report.device,
            simulated=report.simulated,
            version=report.version,
            vram_total=report.vram_total,
            vram_free=report.vram_free,
            detail=None if report.version == RECORDED_VERSION else f"tested is ComfyUI {RECORDED_VERSION}",
        )
