"""What anybody may see: is the service alive, is it ready, its metrics."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from comfy_instances.fleet.protocol import Fleet, InstanceState
from orchestrator.storage.object_store import ObjectStore
from orchestrator.web.auth import require_admin
from orchestrator.web.metrics import Metrics
from orchestrator.web.openapi.operation import Access, openapi_operation


class HealthRoutes:
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
            web.get("/healthz", self.get_liveness),
            web.get("/readyz", self.get_readiness),
            web.get("/metrics", self.export_metrics),
        ]

    @openapi_operation(access=Access.NONE, tag="service")
    async def get_liveness(self, request: web.Request) -> web.Response:
        """200 while the process answers at all."""
        return web.json_response({"status": "ok"})

    @openapi_operation(access=Access.NONE, tag="service", other_responses={503: "Not now."})
    async def get_readiness(self, request: web.Request) -> web.Response:
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

    @openapi_operation(access=Access.ADMIN, tag="service", content_types=("text/plain",))
    async def export_metrics(self, request: web.Request) -> web.Response:
        """What Prometheus reads; for operators, unless the settings open it."""
        if self._metrics_token is not None:
            require_admin(request, self._metrics_token)
        return web.Response(body=await self._metrics.export(), headers={"Content-Type": CONTENT_TYPE_LATEST})
