"""Requests as they come, by route and status."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class HttpMetrics:
    """Counts and times of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "pixelfactory_http_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pixelfactory_http_request_seconds",
            "Time to answer a request",
            ["method", "route"],
            buckets=BUCKETS,
            registry=registry,
        )

    def observe(self, request: web.Request, status: int, seconds: float) -> None:
        resource = request.match_info.route.resource
        # Unknown addresses share one label: their number is the callers' choice.
        route = resource.canonical if resource else "unknown"
        self._requests.labels(request.method, route, status).inc()
        self._seconds.labels(request.method, route).observe(seconds)
