"""What anybody may see: is the service alive, is it ready, its metrics."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from comfy_instances.fleet.protocol import Fleet, InstanceState
from orchestrator.storage.object_store import ObjectStore
from orchestrator.web.auth import require_admin
from orchestrator.web.metrics import Metrics
from orchestrator.web.openapi.operation import Access, describes


class Public:
    """Routes without a key."""

    def __init__(
        self, fleet: Fleet, objects: ObjectStore, metrics: Metrics, metrics_token: str | None
    ) -> None:
        """`metrics_token` is asked for by `/metrics`; None leaves it open."""
        self._fleet = fleet
        self._objects = objects
        self._metrics = metrics
        self._metrics_token = metrics_token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.alive),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
        ]

    @describes(access=Access.NONE, tag="service")
    async def alive(self, request: web.Request) -> web.Response:
        """200 while the process answers at all."""
        return web.json_response({"status": "ok"})

    @describes(access=Access.NONE, tag="service", also={503: "Not now."})
    async def ready(self, request: web.Request) -> web.Response:
        """200 when a request would be served: an instance is ready and the object store answers."""
        instances = sum(info.state is InstanceState.READY for info in self._fleet.instances())
        store = await self._objects.is_healthy()
        ready = instances > 0 and store
        body = {
            "status": "ready" if ready else "not ready",
            "instances_ready": instances,
            "object_store": store,
        }
        return web.json_response(body, status=200 if ready else 503)

    @describes(access=Access.ADMIN, tag="service", media=("text/plain",))
    async def metrics(self, request: web.Request) -> web.Response:
        """What Prometheus reads; for operators, unless the settings open it."""
        if self._metrics_token is not None:
            require_admin(request, self._metrics_token)
        return web.Response(body=await self._metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})
