"""Requests as they come, by route and status."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

REQUEST_SECONDS_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class HttpMetrics:
    """Counts and times of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "pixelfactory_http_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "pixelfactory_http_request_seconds",
            "Time to answer a request",
            ["method", "route"],
            buckets=REQUEST_SECONDS_BUCKETS,
            registry=registry,
        )

    def observe_request(self, request: web.Request, status: int, seconds: float) -> None:
        resource = request.match_info.route.resource
        # Unknown addresses share one label: their number is the callers' choice.
        route = resource.canonical if resource else "unknown"
        self._requests.labels(request.method, route, status).inc()
        self._request_seconds.labels(request.method, route).observe(seconds)
