"""`/admin/v1/instances`: the instances, for operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from aiohttp import web

from comfy_instances.fleet.protocol import FleetError, UnknownInstance
from comfy_instances.protocol.server_log import LogSpan
from orchestrator.errors import Conflict, NotFound
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.jobs.events import JobEvent, ShardProgress
from orchestrator.web.admin.schemas import AssignedShardResponse, InstanceList, InstanceResponse
from orchestrator.web.auth import require_admin
from orchestrator.web.http.queries import EARLIEST, TIME_PARAM, parse_limit, parse_time
from orchestrator.web.http.response_model import json_response
from orchestrator.web.instance_status import InstanceRow, InstanceRows
from orchestrator.web.openapi.operation import ParameterSpec, openapi_operation
from orchestrator.web.protocols import Clock

#: Lines of the log: default and most.
LOG_LINES, MAX_LOG_LINES = 200, 500
LOG_LIMIT_PARAM = ParameterSpec(
    {"type": "integer", "minimum": 1, "maximum": MAX_LOG_LINES, "default": LOG_LINES}, "Number of lines."
)


class FleetControl(Protocol):
    """The part of the fleet that operators use."""

    async def drain(self, instance_id: str) -> None: ...

    async def resume(self, instance_id: str) -> None: ...

    async def restart(self, instance_id: str) -> None: ...

    async def log_tail(self, instance_id: str, lines: int, period: LogSpan | None = None) -> list[str]: ...


#: Returns the latest events of a running job.
LatestEvents = Callable[[str], Sequence[JobEvent]]


class InstanceAdminRoutes:
    """Routes of instances. All need the admin token."""

    def __init__(
        self,
        fleet: FleetControl,
        latest_events: LatestEvents,
        instance_rows: InstanceRows,
        clock: Clock,
        token: str,
    ) -> None:
        self._fleet = fleet
        self._latest_events = latest_events
        self._instance_rows = instance_rows
        self._clock = clock
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/instances", self.list_instances),
            web.get("/admin/v1/instances/{id}", self.get_instance),
            web.get("/admin/v1/instances/{id}/log", self.get_log),
            web.post("/admin/v1/instances/{id}/drain", self.drain_instance),
            web.post("/admin/v1/instances/{id}/resume", self.resume_instance),
            web.post("/admin/v1/instances/{id}/restart", self.restart_instance),
        ]

    @openapi_operation(
        summary="List instances",
        description="Returns all ComfyUI instances with state, GPU readings, loaded models and shards.",
        response=InstanceList,
    )
    async def list_instances(self, request: web.Request) -> web.Response:
        """Return all instances."""
        require_admin(request, self._token)
        await self._instance_rows.refresh_gpu_stats()
        now = self._clock()
        rows = self._instance_rows.iter_rows()
        responses = [to_instance_response(row, now, self._latest_events) for row in rows]
        return json_response(InstanceList(instances=responses))

    @openapi_operation(
        summary="Get an instance",
        description="Returns one ComfyUI instance with state, GPU readings, loaded models and shards.",
        response=InstanceResponse,
    )
    async def get_instance(self, request: web.Request) -> web.Response:
        """Return one instance."""
        require_admin(request, self._token)
        await self._instance_rows.refresh_gpu_stats()
        row = self._get_row(request)
        return json_response(to_instance_response(row, self._clock(), self._latest_events))

    @openapi_operation(
        summary="Drain an instance",
        description="Stops assigning work to the instance; its running shards finish.",
        response=InstanceResponse,
        response_description="The instance after the request.",
        other_responses={409: "The instance can not be drained in its present state."},
    )
    async def drain_instance(self, request: web.Request) -> web.Response:
        """Drain one instance."""
        require_admin(request, self._token)
        with _fleet_errors_as_conflicts():
            await self._fleet.drain(self._get_row(request).info.id)
        return await self.get_instance(request)

    @openapi_operation(
        summary="Resume an instance",
        description="Assigns work to a drained instance again.",
        response=InstanceResponse,
        response_description="The instance after the request.",
        other_responses={409: "The instance can not be resumed in its present state."},
    )
    async def resume_instance(self, request: web.Request) -> web.Response:
        """Resume one instance."""
        require_admin(request, self._token)
        with _fleet_errors_as_conflicts():
            await self._fleet.resume(self._get_row(request).info.id)
        return await self.get_instance(request)

    @openapi_operation(
        summary="Restart an instance",
        description="Restarts the instance's process. Its shards are retried on other instances.",
        response=InstanceResponse,
        response_description="The instance after the request.",
        other_responses={409: "The instance can not be restarted, for example because it is adopted."},
    )
    async def restart_instance(self, request: web.Request) -> web.Response:
        """Restart one instance."""
        require_admin(request, self._token)
        with _fleet_errors_as_conflicts():
            await self._fleet.restart(self._get_row(request).info.id)
        return await self.get_instance(request)

    @openapi_operation(
        summary="Get an instance's log",
        description="Returns the last lines that the instance's process printed, or with `since` and `until`"
        " those of a period, each with its time (UTC). The last 2000 lines are kept; an adopted ComfyUI keeps"
        " its last 300 pieces of text itself, with times that are taken to be in this machine's time zone.",
        response_description="The lines.",
        query={"limit": LOG_LIMIT_PARAM, "since": TIME_PARAM, "until": TIME_PARAM},
        content_types=("text/plain",),
        other_responses={409: "The instance is unreachable, or its server does not return its log."},
    )
    async def get_log(self, request: web.Request) -> web.Response:
        """Return the end of one instance's log."""
        require_admin(request, self._token)
        limit = parse_limit(request, LOG_LINES, MAX_LOG_LINES)
        since, until = parse_time(request, "since"), parse_time(request, "until")
        period = None if since is None and until is None else (since or EARLIEST, until or self._clock())
        row = self._get_row(request)
        with _fleet_errors_as_conflicts():
            lines = await self._fleet.log_tail(row.info.id, limit, period)
        return web.Response(text="".join(f"{line}\n" for line in lines))

    def _get_row(self, request: web.Request) -> InstanceRow:
        """Return the instance in the path. Raises NotFound."""
        instance_id = request.match_info["id"]
        try:
            return self._instance_rows.get_row(instance_id)
        except UnknownInstance as error:
            raise NotFound(
                f"Instance {instance_id[:100]!r} does not exist", code="instance_not_found"
            ) from error


@contextmanager
def _fleet_errors_as_conflicts() -> Iterator[None]:
    """Raise Conflict for what the fleet can not do."""
    try:
        yield
    except FleetError as error:
        raise Conflict(str(error), code="not_possible") from error


def to_instance_response(row: InstanceRow, now: datetime, latest_events: LatestEvents) -> InstanceResponse:
    """Return an instance as operators see it."""
    info, gpu = row.info, row.gpu_stats
    return InstanceResponse(
        id=info.id,
        url=info.url,
        state=row.state,
        since=info.since,
        started_at=info.started_at,
        detail=info.detail,
        retry_at=info.retry_at,
        history=row.history,
        device=info.device,
        profile=info.profile,
        pci_id=info.pci_id,
        simulated=info.simulated,
        adopted=info.adopted,
        version=info.version,
        busy=round(row.busy_ratio, 4),
        utilisation=gpu.utilisation if gpu else None,
        temperature=gpu.temperature if gpu else None,
        power=gpu.power if gpu else None,
        vram_total=info.vram_total,
        vram_free=info.vram_free,
        vram_used=row.vram_used,
        memory=info.memory,
        restarts=info.restarts,
        failures=info.failures,
        supervision_errors=info.supervision_errors,
        delivery=row.delivery,
        delivery_detail=row.delivery_detail,
        warming=row.warming,
        models_held=list(row.loaded_models),
        shards=[
            _to_assigned_shard(active, "waiting" if index else "running", now, latest_events)
            for index, active in enumerate(row.assigned_shards)
        ],
    )


def _to_assigned_shard(
    active: ActiveShard, state: str, now: datetime, latest_events: LatestEvents
) -> AssignedShardResponse:
    attempt = active.attempt
    progress = _find_progress(active, latest_events) if state == "running" else None
    return AssignedShardResponse(
        shard=active.shard.id,
        job=active.job.id,
        model=active.job.model,
        state=state,
        attempt=attempt.number if attempt else 0,
        age_seconds=round((now - attempt.started_at).total_seconds(), 3) if attempt else 0.0,
        account=active.job.account_id,
        progress=round(progress.fraction, 4) if progress else None,
        step=int(progress.value) if progress and progress.maximum > 1 else None,
        steps=int(progress.maximum) if progress and progress.maximum > 1 else None,
    )


def _find_progress(active: ActiveShard, latest_events: LatestEvents) -> ShardProgress | None:
    """Return how far a running shard is; None before it reports that."""
    for event in latest_events(active.job.id):
        if isinstance(event, ShardProgress) and event.index == active.shard.index:
            return event
    return None
