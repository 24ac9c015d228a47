"""`/admin/v1/fleet`: the fleet at a glance and as a stream, and what is done to all instances at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from aiohttp import web
from pydantic import Field

from comfy_instances.fleet.protocol import FleetError, InstanceState
from orchestrator.errors import Conflict
from orchestrator.execution.instances.fleet_history import FleetHistory
from orchestrator.execution.scheduler import Scheduler
from orchestrator.web.admin.account_names import AccountNames
from orchestrator.web.admin.instances import FleetControl, LatestEvents, to_instance_response
from orchestrator.web.admin.schemas import InstanceResponse
from orchestrator.web.auth import require_admin
from orchestrator.web.http.event_stream import EventStream, open_event_stream
from orchestrator.web.http.response_model import ResponseModel, json_response, to_json_dict
from orchestrator.web.instance_status import InstanceRow, InstanceRows
from orchestrator.web.openapi.operation import openapi_operation
from orchestrator.web.protocols import Clock

#: Seconds between two events of a stream, at least.
UPDATE_SECONDS = 1.0
#: After this time a stream ends, so that a browser connects again with a credential that is checked.
MAX_STREAM_SECONDS = 300.0
#: A stream has most as many viewers.
MAX_STREAMS = 50


class FleetSummary(ResponseModel):
    """The fleet in one line."""

    instances: int = Field(description="Number of instances.", examples=[8])
    by_state: dict[str, int] = Field(description="The same by state.", examples=[{"ready": 7, "failed": 1}])
    busy: float | None = Field(
        description="Mean share of the last minute in which the instances that can run prompts ran some, 0 to"
        " 1; null if none can.",
        examples=[0.82],
    )
    waiting: int = Field(description="Number of shards that wait for an instance.", examples=[3])
    waiting_seconds: float = Field(
        description="Seconds that they would take on the reference GPU.", examples=[12.5]
    )
    oldest_wait_seconds: float = Field(description="Seconds since the oldest was queued.", examples=[4.2])
    failures_last_hour: int = Field(description="Attempts that failed in the last hour.", examples=[0])
    usd_per_gpu_hour: float | None = Field(
        description="Amount charged in the last hour, by hour in which an instance could run prompts; null if"
        " none could.",
        examples=[3.18],
    )
    simulated: bool = Field(description="Whether an instance is a simulator.", examples=[False])


class FleetStatus(ResponseModel):
    """The fleet now."""

    summary: FleetSummary = Field(description="In one line.")
    instances: list[InstanceResponse] = Field(description="The instances, by id.")
    account_names: dict[str, str] = Field(
        description="Names of the accounts whose shards run, by id.", examples=[{"acct_9b0a4f7c": "Example"}]
    )


class FleetActionResult(ResponseModel):
    """What was done to all instances."""

    instances: list[str] = Field(description="Instances to which it was done.", examples=[["gpu-0", "gpu-1"]])
    refused: dict[str, str] = Field(
        description="Instances to which it could not be done, and why.", examples=[{}]
    )


class FleetAdminRoutes:
    """Routes of the whole fleet. All need the admin token."""

    def __init__(
        self,
        *,
        fleet: FleetControl,
        scheduler: Scheduler,
        instance_rows: InstanceRows,
        history: FleetHistory,
        latest_events: LatestEvents,
        names: AccountNames,
        clock: Clock,
        token: str,
    ) -> None:
        self._fleet = fleet
        self._scheduler = scheduler
        self._instance_rows = instance_rows
        self._history = history
        self._latest_events = latest_events
        self._names = names
        self._clock = clock
        self._token = token
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/fleet", self.get_fleet),
            web.get("/admin/v1/fleet/live", self.stream_fleet),
            web.post("/admin/v1/fleet/drain", self.drain_fleet),
            web.post("/admin/v1/fleet/resume", self.resume_fleet),
        ]

    @openapi_operation(
        summary="Get the fleet",
        description="Returns all instances, and a summary of fleet and queue.",
        response=FleetStatus,
    )
    async def get_fleet(self, request: web.Request) -> web.Response:
        """Return the fleet as it is now."""
        require_admin(request, self._token)
        return json_response(await self._build_status())

    @openapi_operation(
        summary="Follow the fleet",
        description="Sends the fleet as server-sent events: `fleet` with all of it first, then `changed` with"
        " `summary`, the `instances` that have changed, the ids that are `gone`, and `account_names`. At most"
        " one event a second. The stream ends after five minutes; connect again then.",
        response_description="A stream of events.",
        content_types=("text/event-stream",),
    )
    async def stream_fleet(self, request: web.Request) -> web.StreamResponse:
        """Send the fleet whenever it changes."""
        require_admin(request, self._token)
        if self._streams >= MAX_STREAMS:
            raise Conflict(f"There are {MAX_STREAMS} streams of the fleet already", code="too_many_streams")
        self._streams += 1
        try:
            async with open_event_stream(request, {}) as (response, stream):
                with suppress(ConnectionError):
                    await self._send_changes(stream)
            return response
        finally:
            self._streams -= 1

    async def _send_changes(self, stream: EventStream) -> None:
        """Send the fleet, and then what changes. Raises ConnectionError once the viewer has gone."""
        status = to_json_dict(await self._build_status())
        await stream.send("fleet", status, retry_milliseconds=2000)
        ends_at = monotonic() + MAX_STREAM_SECONDS
        while monotonic() < ends_at:
            await asyncio.sleep(UPDATE_SECONDS)
            before, status = status, to_json_dict(await self._build_status())
            if change := find_change(before, status):
                await stream.send("changed", change)

    @openapi_operation(
        summary="Drain all instances",
        description="Stops assigning work to every instance, for example before an upgrade. Running shards"
        " finish, others wait.",
        response=FleetActionResult,
        response_description="What was done.",
    )
    async def drain_fleet(self, request: web.Request) -> web.Response:
        """Drain every instance."""
        return await self._act_on_all(request, self._fleet.drain, lambda row: not _is_drained(row))

    @openapi_operation(
        summary="Resume all instances",
        description="Assigns work to every drained instance again.",
        response=FleetActionResult,
        response_description="What was done.",
    )
    async def resume_fleet(self, request: web.Request) -> web.Response:
        """Resume every drained instance."""
        return await self._act_on_all(request, self._fleet.resume, _is_drained)

    async def _act_on_all(
        self,
        request: web.Request,
        act: Callable[[str], Awaitable[None]],
        concerns: Callable[[InstanceRow], bool],
    ) -> web.Response:
        require_admin(request, self._token)
        done, refused = [], {}
        for row in list(self._instance_rows.iter_rows()):
            if not concerns(row):
                continue
            try:
                await act(row.info.id)
                done.append(row.info.id)
            except FleetError as error:
                refused[row.info.id] = str(error)
        return json_response(FleetActionResult(instances=done, refused=refused))

    async def _build_status(self) -> FleetStatus:
        await self._instance_rows.refresh_gpu_stats()
        rows, now = list(self._instance_rows.iter_rows()), self._clock()
        instances = [to_instance_response(row, now, self._latest_events) for row in rows]
        accounts = {shard.account for instance in instances for shard in instance.shards}
        names = await self._names.read(accounts)
        return FleetStatus(
            summary=self._build_summary(rows),
            instances=instances,
            account_names={id: names[id] for id in sorted(accounts) if id in names},
        )

    def _build_summary(self, rows: Sequence[InstanceRow]) -> FleetSummary:
        queue = self._scheduler.queue
        up = [row for row in rows if row.info.state in (InstanceState.READY, InstanceState.DRAINING)]
        oldest = min(queue.oldest_by_model().values(), default=None)
        earned = self._history.usd_per_gpu_hour()
        return FleetSummary(
            instances=len(rows),
            by_state=dict(Counter(row.state for row in rows)),
            busy=round(sum(row.busy_ratio for row in up) / len(up), 4) if up else None,
            waiting=len(queue),
            waiting_seconds=round(queue.total_backlog_seconds, 1),
            oldest_wait_seconds=0.0 if oldest is None else round(monotonic() - oldest, 1),
            failures_last_hour=self._history.count_failures(),
            usd_per_gpu_hour=None if earned is None else round(earned, 4),
            simulated=any(row.info.simulated for row in rows),
        )


def _is_drained(row: InstanceRow) -> bool:
    return row.info.state is InstanceState.DRAINING


def find_change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what of the fleet has changed; empty if nothing has."""
    if before == after:
        return {}
    known = {row["id"]: row for row in before["instances"]}
    now = {row["id"] for row in after["instances"]}
    return {
        "summary": after["summary"],
        "instances": [row for row in after["instances"] if row != known.get(row["id"])],
        "gone": sorted(known.keys() - now),
        "account_names": after["account_names"],
    }
