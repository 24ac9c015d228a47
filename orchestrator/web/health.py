"""Liveness, readiness and Prometheus metrics."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Literal, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from comfy_instances.fleet.protocol import InstanceState
from orchestrator.errors import ServiceUnavailable
from orchestrator.web.auth import require_admin
from orchestrator.web.http.response_model import ResponseModel, json_response
from orchestrator.web.instance_status import FleetInstances
from orchestrator.web.metrics import Metrics
from orchestrator.web.openapi.operation import Access, openapi_operation

log = logging.getLogger(__name__)

#: How long a readiness probe waits for the database, in seconds.
STORE_SECONDS = 3.0


class StorageHealth(Protocol):
    """The part of the object store that readiness needs."""

    async def is_healthy(self) -> bool: ...


class StoreHealth(Protocol):
    """The part of the store that readiness needs."""

    async def check_available(self) -> None:
        """Raise ServiceUnavailable if new jobs could not be stored now."""
        ...


class ExpectedInstances(Protocol):
    """The part of the scheduler that readiness needs."""

    def expects_instance(self, now: float) -> bool:
        """Whether an instance is available, or returns shortly by itself."""
        ...


class LivenessResponse(ResponseModel):
    """The process is alive."""

    status: Literal["ok"] = Field(description="Always `ok`.")


class ReadinessResponse(ResponseModel):
    """Whether the service can run jobs now."""

    status: Literal["ready", "not ready"] = Field(description="Overall readiness.")
    instances_ready: int = Field(description="Number of ComfyUI instances that accept work.", examples=[2])
    object_store: bool = Field(description="Whether object storage is available.")
    database: bool = Field(description="Whether the database responds.")
    missing: list[str] = Field(
        description="What is missing, in words; empty if the service is ready.",
        examples=[["object storage does not respond"]],
    )


class HealthRoutes:
    """`/healthz`, `/readyz` and `/metrics`. None of them needs an API key."""

    def __init__(
        self,
        fleet: FleetInstances,
        expected: ExpectedInstances,
        dependencies: tuple[StorageHealth, StoreHealth],
        metrics: Metrics,
        metrics_token: str | None,
    ) -> None:
        """`dependencies`: storage and store. `metrics_token` protects `/metrics`; None leaves it open."""
        self._fleet = fleet
        self._expected = expected
        self._storage, self._store = dependencies
        self._metrics = metrics
        self._metrics_token = metrics_token
        #: What the last probe found missing.
        self._missing: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.get_liveness),
            web.get("/readyz", self.get_readiness),
            web.get("/metrics", self.export_metrics),
        ]

    @openapi_operation(
        summary="Check liveness",
        description="Answers 200 as long as the process handles requests. Use it as a liveness probe.",
        response=LivenessResponse,
        response_description="The process is alive.",
        access=Access.NONE,
        tag="service",
    )
    async def get_liveness(self, request: web.Request) -> web.Response:
        """Return 200 while the process answers."""
        return json_response(LivenessResponse(status="ok"))

    @openapi_operation(
        summary="Check readiness",
        description="Answers 200 if a job submitted now would run: an instance is ready or restarts, "
        "and object storage and the database respond. Use it as a readiness probe.",
        response=ReadinessResponse,
        response_description="The service can run jobs.",
        other_responses={503: "No instance is ready, or object storage or the database is unavailable."},
        access=Access.NONE,
        tag="service",
    )
    async def get_readiness(self, request: web.Request) -> web.Response:
        """Return 200 if requests are accepted and what they need responds, else 503."""
        instances_ready = sum(info.state is InstanceState.READY for info in self._fleet.instances())
        storage_healthy, database_healthy = await asyncio.gather(
            self._storage.is_healthy(), self._does_store_respond()
        )
        # Instances that restart for some seconds must not make a load balancer turn callers away.
        checks = {
            "no instance is ready or restarts": self._expected.expects_instance(monotonic()),
            "object storage does not respond": storage_healthy,
            "the database does not respond": database_healthy,
        }
        missing = [problem for problem, is_fine in checks.items() if not is_fine]
        self._log_changes(missing)
        ready = not missing
        body = ReadinessResponse(
            status="ready" if ready else "not ready",
            instances_ready=instances_ready,
            object_store=storage_healthy,
            database=database_healthy,
            missing=missing,
        )
        return json_response(body, status=200 if ready else 503)

    def _log_changes(self, missing: list[str]) -> None:
        """Log what probes find, but not each of them."""
        if missing == self._missing:
            return
        self._missing = missing
        if missing:
            log.warning("not ready: %s", "; ".join(missing))
        else:
            log.info("ready again")

    async def _does_store_respond(self) -> bool:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._store.check_available()
        except (ServiceUnavailable, TimeoutError):
            return False
        return True

    @openapi_operation(
        summary="Export Prometheus metrics",
        description="Metrics in Prometheus' text format. Needs the admin token unless the operator made "
        "metrics public.",
        response_description="The metrics.",
        access=Access.ADMIN,
        content_types=("text/plain",),
        tag="service",
    )
    async def export_metrics(self, request: web.Request) -> web.Response:
        """Return all metrics in Prometheus' text format."""
        if self._metrics_token is not None:
            require_admin(request, self._metrics_token)
        return web.Response(body=await self._metrics.export(), headers={"Content-Type": CONTENT_TYPE_LATEST})
