"""The application: every route, behind the edge."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry

from orchestrator.web.edge import edge
from orchestrator.web.metrics import HttpMetrics


def make_app(
    routes: Sequence[web.RouteDef], *, max_body_bytes: int, registry: CollectorRegistry
) -> web.Application:
    app = web.Application(client_max_size=max_body_bytes, middlewares=[edge(HttpMetrics(registry))])
    app.add_routes(routes)
    return app
