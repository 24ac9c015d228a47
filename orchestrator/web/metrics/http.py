"""Metrics of HTTP requests by route and status."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

REQUEST_SECONDS_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class HttpMetrics:
    """Counts requests and measures their duration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "pixelfactory_http_requests",
            "HTTP requests",
            ["method", "route", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "pixelfactory_http_request_seconds",
            "Duration of HTTP requests in seconds",
            ["method", "route"],
            buckets=REQUEST_SECONDS_BUCKETS,
            registry=registry,
        )

    def observe_request(self, request: web.Request, status: int, seconds: float) -> None:
        """Record a request and the status of its response."""
        resource = request.match_info.route.resource
        # Unknown paths share one label, because callers could create any number of them.
        route = resource.canonical if resource else "unknown"
        self._requests.labels(request.method, route, status).inc()
        self._request_seconds.labels(request.method, route).observe(seconds)
