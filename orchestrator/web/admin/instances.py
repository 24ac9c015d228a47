"""`/admin/v1/...`: what operators see and do. Every request carries the admin token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from comfy_instances.fleet.protocol import FleetError, UnknownInstance
from orchestrator.errors import Conflict, NotFound
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.web.admin.instance_rows import InstanceRows, Row, view
from orchestrator.web.auth import require_admin
from orchestrator.web.http.queries import limit


class Admin:
    """Instances and queue of the running service."""

    def __init__(
        self, dispatcher: Dispatcher, rows: InstanceRows, clock: Callable[[], datetime], token: str
    ) -> None:
        self._dispatcher = dispatcher
        self._fleet = dispatcher.fleet
        self._rows = rows
        self._clock = clock
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/instances", self.instances),
            web.get("/admin/v1/instances/{id}", self.instance),
            web.get("/admin/v1/instances/{id}/log", self.log),
            web.post("/admin/v1/instances/{id}/{verb:drain|resume|restart}", self.change),
            web.get("/admin/v1/queue", self.queue),
        ]

    async def instances(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        await self._rows.refresh()
        return web.json_response({"instances": [view(row, self._clock()) for row in self._rows.all()]})

    async def instance(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        await self._rows.refresh()
        return web.json_response(view(self._find(request), self._clock()))

    async def change(self, request: web.Request) -> web.Response:
        """Drains, resumes or restarts one instance, and shows it as it is then."""
        require_admin(request, self._token)
        instance_id = self._find(request).info.id
        verbs = {"drain": self._fleet.drain, "resume": self._fleet.resume, "restart": self._fleet.restart}
        try:
            await verbs[request.match_info["verb"]](instance_id)
        except FleetError as error:
            raise Conflict(str(error), code="not_possible") from error
        return await self.instance(request)

    async def log(self, request: web.Request) -> web.Response:
        """The last lines that the instance printed: 200, or as many as `limit` says."""
        require_admin(request, self._token)
        lines = self._fleet.log_tail(self._find(request).info.id, limit(request, 200, 500))
        return web.Response(text="".join(f"{line}\n" for line in lines))

    async def queue(self, request: web.Request) -> web.Response:
        """Waiting shards by model."""
        require_admin(request, self._token)
        queue = self._dispatcher.scheduler.queue
        return web.json_response({"waiting": len(queue), "by_model": queue.depths()})

    def _find(self, request: web.Request) -> Row:
        wanted = request.match_info["id"]
        try:
            return self._rows.one(wanted)
        except UnknownInstance as error:
            raise NotFound(f"There is no instance {wanted!r}", code="instance_not_found") from error
