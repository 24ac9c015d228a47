"""Metrics of the HTTP server: connections, and clients that it had to turn away."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ServerMetrics:
    """Counts connections and what went wrong before there was a request."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge(
            "pixelfactory_http_connections", "Open HTTP connections by state", ["state"], registry=registry
        )
        self.closed_connections = Counter(
            "pixelfactory_http_connections_over_limit",
            "HTTP connections closed because there were too many",
            registry=registry,
        )
        self.slow_clients = Counter(
            "pixelfactory_http_slow_requests",
            "HTTP requests whose header or body did not arrive in time",
            ["part"],
            registry=registry,
        )
        for part in ("header", "body"):
            self.slow_clients.labels(part)
        self.malformed_requests = Counter(
            "pixelfactory_http_malformed_requests", "Requests that are no valid HTTP", registry=registry
        )
        self.accept_errors = Counter(
            "pixelfactory_http_accept_errors",
            "Failures to accept HTTP connections for lack of descriptors or memory",
            registry=registry,
        )
