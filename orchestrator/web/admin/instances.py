"""`/admin/v1/...`: what operators see and do. Every request carries the admin token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from comfy_instances.fleet.protocol import FleetError, UnknownInstance
from orchestrator.errors import Conflict, NotFound
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.web.admin.instance_rows import InstanceRow, InstanceRows, to_instance_response
from orchestrator.web.auth import require_admin
from orchestrator.web.http.queries import parse_limit


class InstanceAdminRoutes:
    """Instances and queue of the running service."""

    def __init__(
        self, dispatcher: Dispatcher, instance_rows: InstanceRows, clock: Callable[[], datetime], token: str
    ) -> None:
        self._dispatcher = dispatcher
        self._fleet = dispatcher.fleet
        self._instance_rows = instance_rows
        self._clock = clock
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/instances", self.list_instances),
            web.get("/admin/v1/instances/{id}", self.get_instance),
            web.get("/admin/v1/instances/{id}/log", self.get_log),
            web.post("/admin/v1/instances/{id}/{verb:drain|resume|restart}", self.drain_resume_or_restart),
            web.get("/admin/v1/queue", self.get_queue),
        ]

    async def list_instances(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        await self._instance_rows.refresh_gpu_stats()
        return web.json_response(
            {
                "instances": [
                    to_instance_response(row, self._clock()) for row in self._instance_rows.iter_rows()
                ]
            }
        )

    async def get_instance(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        await self._instance_rows.refresh_gpu_stats()
        return web.json_response(to_instance_response(self._get_row(request), self._clock()))

    async def drain_resume_or_restart(self, request: web.Request) -> web.Response:
        """Drains, resumes or restarts one instance, and shows it as it is then."""
        require_admin(request, self._token)
        instance_id = self._get_row(request).info.id
        verbs = {"drain": self._fleet.drain, "resume": self._fleet.resume, "restart": self._fleet.restart}
        try:
            await verbs[request.match_info["verb"]](instance_id)
        except FleetError as error:
            raise Conflict(str(error), code="not_possible") from error
        return await self.get_instance(request)

    async def get_log(self, request: web.Request) -> web.Response:
        """The last lines that the instance printed: 200, or as many as `limit` says."""
        require_admin(request, self._token)
        lines = self._fleet.log_tail(self._get_row(request).info.id, parse_limit(request, 200, 500))
        return web.Response(text="".join(f"{line}\n" for line in lines))

    async def get_queue(self, request: web.Request) -> web.Response:
        """Waiting shards by model."""
        require_admin(request, self._token)
        queue = self._dispatcher.scheduler.queue
        return web.json_response({"waiting": len(queue), "by_model": queue.depth_by_model()})

    def _get_row(self, request: web.Request) -> InstanceRow:
        wanted = request.match_info["id"]
        try:
            return self._instance_rows.get_row(wanted)
        except UnknownInstance as error:
            raise NotFound(f"There is no instance {wanted!r}", code="instance_not_found") from error
