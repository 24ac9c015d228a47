"""Instances that are started and stopped elsewhere: monitored, never restarted."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_instances.fleet.inventory import FILE_REFRESH_SECONDS
from comfy_instances.fleet.monitored import MonitoredFleet
from comfy_instances.fleet.protocol import FleetError, InstanceInfo, InstanceState
from comfy_instances.session.session import InstanceSession


class AdoptedFleet(MonitoredFleet):
    """Sessions with running ComfyUI servers at `urls`. Each may disappear and come back at any time."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        probe_seconds: float = 5.0,
        poll_seconds: float = 0.5,
        file_refresh_seconds: float = FILE_REFRESH_SECONDS,
    ) -> None:
        """Raises FleetError for an invalid or a repeated URL."""
        cleaned = [url.rstrip("/") for url in urls]
        if len(set(cleaned)) != len(cleaned):
            raise FleetError(f"each instance URL may be given only once (got {', '.join(cleaned)})")
        infos = [
            InstanceInfo(
                id=f"adopted-{number}",
                url=url,
                state=InstanceState.STARTING,
                simulated=False,
                device="unknown",
                adopted=True,
            )
            for number, url in enumerate(cleaned)
        ]
        super().__init__(
            infos,
            probe_seconds=probe_seconds,
            poll_seconds=poll_seconds,
            file_refresh_seconds=file_refresh_seconds,
        )
        try:
            self._sessions = {info.id: InstanceSession(info.url) for info in infos}
        except ValueError as error:
            raise FleetError(str(error)) from error

    async def start(self) -> None:
        for instance_id, session in self._sessions.items():
            self._start_watcher(instance_id, self._monitor(instance_id, session))

    async def restart(self, instance_id: str) -> None:
        self._get_member(instance_id)
        raise FleetError(
            f"{instance_id} is adopted and cannot be restarted here; restart it where it was started"
        )
