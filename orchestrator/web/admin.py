"""`/admin/v1/...`: what operators see and do. Every request carries the admin token."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from comfy_instances.fleet import FleetError, InstanceInfo, UnknownInstance
from orchestrator.dispatcher import Dispatcher
from orchestrator.errors import Conflict, NotFound
from orchestrator.web.auth import require_admin


class Admin:
    """Instances and queue of the running service."""

    def __init__(self, dispatcher: Dispatcher, token: str) -> None:
        self._dispatcher = dispatcher
        self._fleet = dispatcher.fleet
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/instances", self.instances),
            web.get("/admin/v1/instances/{id}/log", self.log),
            web.post("/admin/v1/instances/{id}/{verb:drain|resume|restart}", self.change),
            web.get("/admin/v1/queue", self.queue),
        ]

    async def instances(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        rows = [self._view(info) for info in self._fleet.instances()]
        return web.json_response({"instances": rows})

    async def change(self, request: web.Request) -> web.Response:
        """Drains, resumes or restarts one instance, and shows it as it is then."""
        require_admin(request, self._token)
        info = self._find(request)
        verbs = {"drain": self._fleet.drain, "resume": self._fleet.resume, "restart": self._fleet.restart}
        try:
            await verbs[request.match_info["verb"]](info.id)
        except FleetError as error:
            raise Conflict(str(error), code="not_possible") from error
        return web.json_response(self._view(self._find(request)))

    async def log(self, request: web.Request) -> web.Response:
        """The last lines that the instance printed."""
        require_admin(request, self._token)
        return web.Response(
            text="".join(f"{line}\n" for line in self._fleet.log_tail(self._find(request).id))
        )

    async def queue(self, request: web.Request) -> web.Response:
        """Waiting shards by model."""
        require_admin(request, self._token)
        queue = self._dispatcher.scheduler.queue
        return web.json_response({"waiting": len(queue), "by_model": queue.depths()})

    def _find(self, request: web.Request) -> InstanceInfo:
        wanted = request.match_info["id"]
        for info in self._fleet.instances():
            if info.id == wanted:
                return info
        raise NotFound(f"There is no instance {wanted!r}", code="instance_not_found") from UnknownInstance(
            wanted
        )

    def _view(self, info: InstanceInfo) -> dict[str, Any]:
        card = self._dispatcher.scheduler.cards.get(info.id)
        return {
            "id": info.id,
            "url": info.url,
            "state": info.state.value,
            "since": info.since.isoformat() if info.since else None,
            "detail": info.detail,
            "device": info.device,
            "simulated": info.simulated,
            "adopted": info.adopted,
            "version": info.version,
            "vram_total": info.vram_total,
            "vram_free": info.vram_free,
            "memory": info.memory,
            "restarts": info.restarts,
            "models_held": list(card.held) if card else [],
            "shards": [
                {
                    "shard": active.shard.id,
                    "model": active.job.model,
                    "attempt": active.attempt.number if active.attempt else 0,
                }
                for active in self._dispatcher.assigned(info.id)
            ],
        }
