"""`/admin/v1/instances` and `/admin/v1/queue`: the fleet and the queue, for operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from aiohttp import web

from comfy_instances.fleet.protocol import FleetError, UnknownInstance
from orchestrator.errors import Conflict, NotFound
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.web.admin.schemas import (
    AssignedShardResponse,
    InstanceList,
    InstanceResponse,
    QueueStatus,
)
from orchestrator.web.auth import require_admin
from orchestrator.web.http.queries import parse_limit
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

    async def log_tail(self, instance_id: str, lines: int) -> list[str]: ...


class QueueDepth(Protocol):
    """The part of the scheduler's queue that counts waiting shards."""

    def __len__(self) -> int: ...

    def depth_by_model(self) -> Mapping[str, int]: ...


class InstanceAdminRoutes:
    """Routes of instances and queue. All need the admin token."""

    def __init__(
        self, fleet: FleetControl, queue: QueueDepth, instance_rows: InstanceRows, clock: Clock, token: str
    ) -> None:
        self._fleet = fleet
        self._queue = queue
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
            web.get("/admin/v1/queue", self.get_queue),
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
        return json_response(InstanceList(instances=[to_instance_response(row, now) for row in rows]))

    @openapi_operation(
        summary="Get an instance",
        description="Returns one ComfyUI instance with state, GPU readings, loaded models and shards.",
        response=InstanceResponse,
    )
    async def get_instance(self, request: web.Request) -> web.Response:
        """Return one instance."""
        require_admin(request, self._token)
        await self._instance_rows.refresh_gpu_stats()
        return json_response(to_instance_response(self._get_row(request), self._clock()))

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
        description="Returns the last lines that the instance's process printed.",
        response_description="The lines.",
        query={"limit": LOG_LIMIT_PARAM},
        content_types=("text/plain",),
    )
    async def get_log(self, request: web.Request) -> web.Response:
        """Return the end of one instance's log."""
        require_admin(request, self._token)
        limit = parse_limit(request, LOG_LINES, MAX_LOG_LINES)
        lines = await self._fleet.log_tail(self._get_row(request).info.id, limit)
        return web.Response(text="".join(f"{line}\n" for line in lines))

    @openapi_operation(
        summary="Get the queue",
        description="Returns the number of shards that wait for an instance, in all and by model.",
        response=QueueStatus,
    )
    async def get_queue(self, request: web.Request) -> web.Response:
        """Return the depth of the scheduler's queue."""
        require_admin(request, self._token)
        by_model = dict(self._queue.depth_by_model())
        return json_response(QueueStatus(waiting=len(self._queue), by_model=by_model))

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


def to_instance_response(row: InstanceRow, now: datetime) -> InstanceResponse:
    """Return an instance as operators see it."""
    info, gpu = row.info, row.gpu_stats
    return InstanceResponse(
        id=info.id,
        url=info.url,
        state=info.state.value,
        since=info.since,
        started_at=info.started_at,
        detail=info.detail,
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
            _to_assigned_shard(active, "waiting" if index else "running", now)
            for index, active in enumerate(row.assigned_shards)
        ],
    )


def _to_assigned_shard(active: ActiveShard, state: str, now: datetime) -> AssignedShardResponse:
    attempt = active.attempt
    return AssignedShardResponse(
        shard=active.shard.id,
        job=active.job.id,
        model=active.job.model,
        state=state,
        attempt=attempt.number if attempt else 0,
        age_seconds=round((now - attempt.started_at).total_seconds(), 3) if attempt else 0.0,
    )
